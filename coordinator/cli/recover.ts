// `coloctl recover` and `coloctl failover --force`: what only an operator can know, said in so many words, and what follows from it.

import { CoordinatorServiceService as service, type RecoverReply } from '../../shared/gen/colo/v1/coordinator.js';
import { EXIT } from './exit-codes.js';
import type { Session } from './session.js';
import type { CliWorld, Failure } from './world.js';

export interface RecoverOptions {
  readonly vms: readonly string[];
  readonly without: readonly string[];
  readonly disk: string | null;
  readonly dryRun: boolean;
}

export async function recover(world: CliWorld, session: Session, options: RecoverOptions): Promise<number | Failure> {
  const { vms, without, disk, dryRun } = options;
  const answer = await session.change(service.recover, { vms: [...vms], without: [...without], disk: disk ?? '', dryRun });
  if (!answer.ok) return answer.error;
  world.out(renderRecovery(answer.value, dryRun));
  // What is left for the operator to decide is no success.
  const open = answer.value.unknown.length > 0 || answer.value.vms.some((each) => each.phase === 'failed');
  return open ? EXIT.failed : EXIT.ok;
}

function renderRecovery(reply: RecoverReply, dryRun: boolean): string {
  const lines: string[] = [];
  for (const vm of reply.vms) {
    lines.push(`VM ${vm.name} (${vm.uid})`);
    lines.push(...vm.found.map((line) => `  found    ${line}`));
    if (vm.found.length === 0) lines.push('  found    no host knows it');
    if (!vm.changed) lines.push('  record   agrees with the hosts; left as it is');
    else lines.push(`  record   ${dryRun ? 'would be' : 'is now'} ${vm.phase}, epoch ${vm.epoch}: ${vm.reason}`);
    if (vm.wantedRunning) lines.push(`  wanted   ${dryRun ? 'would be' : 'is now'} running, because a QEMU of it is there`);
  }
  lines.push(...reply.unknown);
  if (reply.incarnation === '') lines.push('Nothing is to be mended: etcd knows all that the hosts know.');
  else if (dryRun) lines.push('Nothing was changed (--dry-run).');
  else lines.push(`The cluster has a new incarnation, ${reply.incarnation}. Look: coloctl status`);
  return `${lines.join('\n')}\n`;
}

export async function forceFailover(
  world: CliWorld,
  session: Session,
  name: string,
  declaredOff: readonly string[],
  dryRun: boolean,
): Promise<number | Failure> {
  const answer = await session.change(service.forceFailover, { name, declaredOff: [...declaredOff], dryRun });
  if (!answer.ok) return answer.error;
  world.out(`VM ${name}: ${answer.value.decision}.${dryRun ? ' Nothing was changed (--dry-run).' : ''}\n`);
  if (!dryRun) world.out('Follow it: coloctl status -w\n');
  return EXIT.ok;
}
