// `coloctl vm ...`: definitions, and what is wanted of them.

import {
  CoordinatorServiceService as service,
  type ChangeVmRequest,
  type Vm,
  type VmStatus,
} from '../../shared/gen/colo/v1/coordinator.js';
import { fail } from '../../shared/core/result.js';
import type { SpecProblem } from '../../shared/core/spec-rules.js';
import { describeProblems } from '../../shared/io/config.js';
import type { RpcMethod } from '../../shared/io/rpc/client.js';
import { locateProblems, parseVmFile, writeVmFile } from '../../shared/io/vm-file.js';
import { specFromWire, specToWire } from '../../shared/io/wire/spec.js';
import { EXIT } from './exit-codes.js';
import type { Session } from './session.js';
import { definitionShape } from './shapes.js';
import { coloursOf } from './text.js';
import { renderVm, renderVms } from './vm-view.js';
import { waitForGoal, type Goal } from './wait.js';
import { failure, type CliWorld, type Failure } from './world.js';

export const LIST_OUTPUTS = ['table', 'json', 'name'] as const;
export const SHOW_OUTPUTS = ['table', 'json', 'yaml'] as const;

export interface ChangeOptions {
  readonly dryRun: boolean;
  /** Null = do not wait. */
  readonly waitMs: number | null;
}

export async function defineVm(
  world: CliWorld,
  session: Session,
  file: string,
  options: ChangeOptions & { readonly start: boolean; readonly identicalImages: boolean; readonly uid: string | null },
): Promise<number | Failure> {
  const name = file === '-' ? 'standard input' : file;
  // Where a known VM is defined again its QEMUs may be running, on hosts that are not heard just now.
  if (options.uid !== null && options.start)
    return failure(
      EXIT.usage,
      '--uid and --start exclude each other: coloctl recover adopts what runs, and only then is there anything to start',
    );
  let content: string;
  try {
    content = world.readFile(file);
  } catch (error) {
    return failure(EXIT.error, `cannot read ${name}: ${error instanceof Error ? error.message : String(error)}`);
  }
  const spec = parseVmFile(name, content);
  if (!spec.ok) return failure(EXIT.error, refusedFile(name, describeProblems(spec.error)));
  // The seed's cold start, steps 1 to 4: the operator's promise about the images, which no file can make for every host.
  const wanted = options.identicalImages ? { ...spec.value, method: 'identical-images' as const } : spec.value;
  const request = { spec: specToWire(wanted), dryRun: options.dryRun, uid: options.uid ?? world.id(), start: options.start };
  const answer = await session.change(service.defineVm, request);
  if (!answer.ok)
    return answer.error.exit === EXIT.error ? failure(EXIT.error, located(name, content, answer.error.message)) : answer.error;
  const vm = spec.value.name;
  if (options.dryRun) world.out(`VM ${vm} may be defined. Nothing was changed (--dry-run).\n`);
  else if (options.start) world.out(`VM ${vm} is defined and will be started.\n`);
  else if (options.uid !== null) world.out(`VM ${vm} is defined with its uid of before. Adopt what runs: coloctl recover\n`);
  else world.out(`VM ${vm} is defined. Start it: coloctl vm start ${vm}\n`);
  if (spec.value.hosts.length === 1)
    world.err(`note: hosts names only ${spec.value.hosts[0] ?? ''}, so ${vm} can run but not be protected; add a second host\n`);
  if (options.dryRun || options.waitMs === null || !options.start) return EXIT.ok;
  return waitForGoal(world, session, running(answer.value), options.waitMs);
}

export async function listVms(world: CliWorld, session: Session, output: (typeof LIST_OUTPUTS)[number]): Promise<number | Failure> {
  const answer = await session.read(service.listVms, {});
  if (!answer.ok) return answer.error;
  const { vms } = answer.value;
  if (output === 'json') world.out(`${JSON.stringify(vms.map(definitionShape), null, 2)}\n`);
  else if (output === 'name') world.out(vms.map((vm) => `${vm.spec?.name ?? ''}\n`).join(''));
  else world.out(renderVms(vms, coloursOf(world.colour)));
  return EXIT.ok;
}

export async function showVm(
  world: CliWorld,
  session: Session,
  name: string,
  output: (typeof SHOW_OUTPUTS)[number],
): Promise<number | Failure> {
  const answer = await session.read(service.getVm, { name });
  if (!answer.ok) return answer.error;
  if (output === 'json') world.out(`${JSON.stringify(definitionShape(answer.value), null, 2)}\n`);
  else if (output === 'table') world.out(renderVm(answer.value, world.clock.wallMs(), coloursOf(world.colour)));
  else {
    const spec = answer.value.spec === undefined ? fail(['spec: is missing']) : specFromWire(answer.value.spec);
    if (!spec.ok) return failure(EXIT.error, `the definition of ${name} cannot be written as a VM file: ${spec.error.join('; ')}`);
    world.out(writeVmFile(spec.value));
  }
  return EXIT.ok;
}

export type Wish = 'start' | 'stop' | 'delete' | 'protect' | 'unprotect' | 'release';

interface WishPlan {
  readonly method: RpcMethod<ChangeVmRequest, Vm>;
  /** After `VM x `. */
  readonly asked: string;
  goal(vm: Vm): Goal;
}

export const WISHES: Readonly<Record<Wish, WishPlan>> = {
  start: { method: service.startVm, asked: 'will be started', goal: running },
  stop: { method: service.stopVm, asked: 'will be stopped', goal: (vm) => goalOf(vm, 'stopped', (status) => status?.phase === 'stopped') },
  delete: { method: service.deleteVm, asked: 'will be deleted', goal: (vm) => goalOf(vm, 'deleted', (status) => status === null) },
  protect: { method: service.protectVm, asked: 'is to be protected whenever it runs', goal: running },
  release: { method: service.releaseVm, asked: 'is released: its failovers until now count no more', goal: running },
  unprotect: { method: service.unprotectVm, asked: 'is not to be protected', goal: running },
};

export async function changeVm(
  world: CliWorld,
  session: Session,
  name: string,
  wish: Wish,
  options: ChangeOptions,
): Promise<number | Failure> {
  const plan = WISHES[wish];
  const answer = await session.change(plan.method, { name, dryRun: options.dryRun });
  if (!answer.ok) return answer.error;
  world.out(`VM ${name} ${plan.asked}.${options.dryRun ? ' Nothing was changed (--dry-run).' : ''}\n`);
  if (options.dryRun || options.waitMs === null) {
    if (!options.dryRun && wish !== 'delete') world.out(`Follow it: coloctl status -w\n`);
    return EXIT.ok;
  }
  return waitForGoal(world, session, plan.goal(answer.value), options.waitMs);
}

/** The best that the VM can be, as it is wanted now. */
function running(vm: Vm): Goal {
  if (vm.wanted !== 'running') return goalOf(vm, 'stopped, as wanted', (status) => status?.phase === 'stopped');
  if (vm.protect) return goalOf(vm, 'protected', (status) => status?.phase === 'protected');
  return goalOf(vm, 'running unprotected', (status) => status?.phase === 'solo');
}

function goalOf(vm: Vm, word: string, reached: (status: VmStatus | null) => boolean): Goal {
  return { vm: vm.spec?.name ?? '', word, reached, sinceEpoch: vm.status?.epoch ?? 0 };
}

/** The coordinator's problems, one a line as `key: what`, with the file and line that they come from. */
function located(file: string, content: string, detail: string): string {
  const problems: SpecProblem[] = [];
  const others: string[] = [];
  for (const line of detail.split('\n')) {
    const match = /^([a-z][A-Za-z]*(?:\.[A-Za-z0-9]+)*): (.*)$/.exec(line);
    if (match?.[1] === undefined || match[2] === undefined) others.push(line);
    else problems.push({ path: match[1].split('.').map((part) => (/^\d+$/.test(part) ? Number(part) : part)), problem: match[2] });
  }
  const lines = [describeProblems(locateProblems(file, content, problems)), ...others].filter((each) => each !== '');
  return refusedFile(file, lines.join('\n'));
}

/** Each problem begins its own line with file and line, so that an editor can jump there. */
function refusedFile(file: string, problems: string): string {
  return `${file} is refused:\n${problems}\nNothing was changed.`;
}
