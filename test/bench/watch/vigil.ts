// Watches beside a bench that a pair is left as it is: the same two QEMU processes, in the same roles, running, and the same epoch by every
// coordinator that answers. Processes are looked up in /proc, roles and run states are the agents' own words, so that all this is seen
// while no coordinator could tell. It only looks.

import { VERDICT_PHASES, type PairSeen } from './pair.js';
import { LabError, waitFor } from '../../../deploy/lab/command.js';
import type { LabPlan } from '../../../deploy/lab/plan.js';
import { monoMs } from '../../../deploy/lab/probes.js';
import { livingQemus } from '../../../deploy/lab/qemus.js';
import { AgentServiceService as agentService, type VmReport } from '../../../shared/gen/colo/v1/agent.js';
import { systemClock } from '../../../shared/io/clock.js';
import { systemRandom } from '../../../shared/io/random.js';
import { dial, type Line } from '../../../shared/io/rpc/client.js';
import { Told } from '../told.js';

const LOOK_EVERY_MS = 200;
const CALL_MS = 500;
/**
 * Run states of a pair that takes checkpoints. They alternate faster than they are looked at: whether the guest stood still is told by its own
 * clock, and not by how often it was found in the middle of one.
 */
const OF_CHECKPOINTS: ReadonlySet<string> = new Set(['running', 'colo', 'finish-migrate']);
/** Any other state for so long is a guest that somebody stopped. */
const STANDS_MS = 3_000;
const PAIR_MS = 60_000;
const LONGEST_WATCH_MS = 24 * 3_600_000;

export interface Vigil {
  /** What was seen against the law that nobody touches a healthy pair; each once, empty = nothing. */
  wrong(): readonly string[];
  /** How often the agents' words were heard, by host. */
  looks(): number;
  /** Safe to repeat. */
  stop(): Promise<void>;
}

/** Both sides and both processes of a protected pair. */
export async function pairNow(plan: LabPlan, told: Told, vm: string): Promise<PairSeen> {
  const seen = await told.untilVm(vm, 'protected', PAIR_MS, (each) => each.phase === 'protected' && each.sides.length === 2);
  if (seen.primary === null || seen.secondary === null) throw new LabError(`VM ${vm} has not two sides`);
  return { vm, epoch: seen.epoch, primary: seen.primary, secondary: seen.secondary, qemus: qemusOf(plan, vm) };
}

export function openVigil(plan: LabPlan, pair: PairSeen): Vigil {
  const ports = { clock: systemClock(), random: systemRandom() };
  const sides = plan.hosts.filter((host) => host.name === pair.primary || host.name === pair.secondary);
  const lines = new Map(sides.map((host) => [host.name, dial(ports, host.agentAddress)]));
  const told = new Told(plan);
  const wrong = new Set<string>();
  const standsSince = new Map<string, number>();
  let looks = 0;
  let stopped = false;

  async function lookAtSide(host: string, line: Line): Promise<void> {
    const answer = await line.call(agentService.getHost, {}, CALL_MS);
    // An agent that is killed, stopped or cut off says nothing; its QEMU is seen in /proc all the same.
    const report = answer.ok ? answer.value.vms.find((each) => each.vm === pair.vm) : undefined;
    if (report === undefined) return void standsSince.delete(host);
    looks += 1;
    const role = host === pair.primary ? 'primary' : 'secondary';
    for (const each of againstRole(report, role)) wrong.add(`${host}: ${each}`);
    if (report.qemu?.kind !== 'alive' || OF_CHECKPOINTS.has(report.qemu.runstate)) return void standsSince.delete(host);
    const since = standsSince.get(host) ?? monoMs();
    standsSince.set(host, since);
    if (monoMs() - since > STANDS_MS)
      wrong.add(`${host}: the guest stands still ("${report.qemu.runstate}") for more than ${STANDS_MS} ms`);
  }

  async function look(): Promise<void> {
    const qemus = qemusOf(plan, pair.vm);
    if (qemus.join() !== pair.qemus.join()) wrong.add(`QEMUs are ${qemus.join(', ') || 'gone'} and were ${pair.qemus.join(', ')}`);
    await Promise.all([...lines].map(([host, line]) => lookAtSide(host, line)));
    for (const status of await told.statuses()) {
      const vm = status.vms.find((each) => each.name === pair.vm);
      if (vm === undefined) continue;
      if (vm.epoch !== pair.epoch || vm.phase !== 'protected')
        wrong.add(
          `epoch ${pair.epoch}, protected -> epoch ${vm.epoch}, ${vm.phase}${VERDICT_PHASES.has(vm.phase) ? ', A VERDICT' : ''}: ${vm.reason}`,
        );
      else if (vm.primary !== pair.primary || vm.secondary !== pair.secondary)
        wrong.add(`primary ${pair.primary} -> ${vm.primary ?? 'none'}, secondary ${pair.secondary} -> ${vm.secondary ?? 'none'}`);
    }
  }

  const watching = waitFor({ what: 'end of the watch', boundMs: LONGEST_WATCH_MS, everyMs: LOOK_EVERY_MS }, async () => {
    if (stopped) return true;
    await look();
    return null;
  }).catch((error: unknown) => {
    wrong.add(`the watch itself ended: ${String(error)}`);
  });

  return {
    wrong: () => [...wrong],
    looks: () => looks,
    stop: async () => {
      stopped = true;
      await watching;
      for (const line of lines.values()) line.close();
      told.close();
    },
  };
}

function againstRole(report: VmReport, role: 'primary' | 'secondary'): readonly string[] {
  const { qemu, aloneSince } = report;
  const found: string[] = [];
  if (qemu?.kind === 'dead') found.push(`QEMU is dead: ${qemu.why}`);
  if (qemu?.kind === 'alive' && qemu.role !== role) found.push(`QEMU was ${role} and is ${qemu.role}`);
  if (aloneSince !== undefined) found.push(`runs alone since epoch ${aloneSince}`);
  return found;
}

function qemusOf(plan: LabPlan, vm: string): readonly string[] {
  return livingQemus(plan)
    .filter((each) => each.vm === vm)
    .map((each) => `${each.host} ${each.pid} ${each.startTime}`)
    .sort();
}
