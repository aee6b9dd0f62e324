// What the tests ask of a cluster and how they wait for it: everything by the operator's own program, coloctl, and by signals to processes.

import { tryRun } from '../../../deploy/lab/command.js';
import { coloctlEnvironment, type HostPlan, type LabPlan } from '../../../deploy/lab/plan.js';
import { livingQemus } from '../../../deploy/lab/qemus.js';
import { programs } from '../../../deploy/lab/tree.js';
import type { HistoryShape, StatusShape, VmShape } from '../../../coordinator/cli/shapes.js';
import { waitFor } from '../../support/wait.js';

/** An attempt, with room for a few that fail and for a machine with other work. */
export const PROTECT_MS = 180_000;
export const ANSWER_MS = 60_000;
/** A guest that boots in lock-step under TCG takes its time. */
export const BOOT_MS = 120_000;
const CALL_MS = 30_000;

export interface Outcome {
  readonly exit: number;
  readonly out: string;
  readonly err: string;
}

export async function coloctl(plan: LabPlan, args: readonly string[], deadlineMs = CALL_MS): Promise<Outcome> {
  const environment = coloctlEnvironment(plan);
  const ran = await tryRun(process.execPath, [programs.coloctl, ...args], { deadlineMs, environment });
  return { exit: ran.status, out: ran.stdout, err: ran.stderr };
}

/** Throws unless it ends well. */
export async function order(plan: LabPlan, args: readonly string[], deadlineMs = CALL_MS): Promise<string> {
  const { exit, out, err } = await coloctl(plan, args, deadlineMs);
  if (exit !== 0) throw new Error(`coloctl ${args.join(' ')}: exit ${exit}\n${out}${err}`);
  return out;
}

export interface Seen {
  readonly exit: number;
  readonly status: StatusShape;
}

/** Null: no coordinator answered. */
export async function statusOf(plan: LabPlan): Promise<Seen | null> {
  const { exit, out } = await coloctl(plan, ['status', '-o', 'json']);
  return out.trim() === '' ? null : { exit, status: JSON.parse(out) as StatusShape };
}

export async function vmOf(plan: LabPlan, vm: string): Promise<VmShape | null> {
  return (await statusOf(plan))?.status.vms.find((each) => each.name === vm) ?? null;
}

/** Oldest first; only what is newer than `afterEpoch`. */
export async function historyOf(plan: LabPlan, vm: string, afterEpoch = 0): Promise<readonly HistoryShape[]> {
  const entries = JSON.parse(await order(plan, ['history', vm, '-o', 'json'])) as readonly HistoryShape[];
  return entries.filter((entry) => entry.epoch > afterEpoch);
}

/** Until the VM is in that phase, at an epoch above the one given: a status that is older than a blow says nothing of it. */
export async function untilPhase(plan: LabPlan, vm: string, phase: string, boundMs: number, aboveEpoch = -1): Promise<VmShape> {
  let last = 'no coordinator answered';
  return waitFor(
    async () => {
      const seen = await vmOf(plan, vm);
      if (seen !== null) last = `${seen.phase}, epoch ${seen.epoch}: ${seen.reason}; last error: ${seen.lastError ?? 'none'}`;
      return seen !== null && seen.phase === phase && seen.epoch > aboveEpoch ? seen : null;
    },
    { what: `VM ${vm} ${phase} after epoch ${aboveEpoch}`, boundMs, everyMs: 100, context: () => last },
  );
}

/** Until nothing is left to be wished for: every VM that is to run is protected and every host is there. */
export async function untilWell(plan: LabPlan, boundMs: number): Promise<StatusShape> {
  let last = 'no coordinator answered';
  return waitFor(
    async () => {
      const seen = await statusOf(plan);
      if (seen === null) return null;
      const hosts = seen.status.hosts.map((each) => `${each.name} ${each.state}`);
      last = `exit ${seen.exit}, problem ${seen.status.problem ?? 'none'}, ${hosts.join(', ')}`;
      return seen.exit === 0 && seen.status.hosts.every((each) => each.state === 'ready') ? seen.status : null;
    },
    { what: 'all VMs protected and all hosts ready', boundMs, everyMs: 100, context: () => last },
  );
}

/** A pair by all that would change if anything were done to it: the record's epoch, and the two processes by pid and start time. */
export interface Pair {
  readonly phase: string;
  readonly epoch: number;
  readonly primary: string | null;
  readonly secondary: string | null;
  readonly qemus: readonly string[];
}

export async function pairOf(plan: LabPlan, vm: string): Promise<Pair> {
  const seen = await waitFor(() => vmOf(plan, vm), { what: `status of VM ${vm}`, boundMs: CALL_MS });
  const { phase, epoch, primary, secondary } = seen;
  return { phase, epoch, primary, secondary, qemus: qemusOf(plan, vm) };
}

export function qemusOf(plan: LabPlan, vm: string): readonly string[] {
  return livingQemus(plan)
    .filter((each) => each.vm === vm)
    .map((each) => `${each.host} ${each.pid} ${each.startTime}`)
    .sort();
}

export function hostNamed(plan: LabPlan, name: string | null): HostPlan {
  const host = plan.hosts.find((each) => each.name === name);
  if (host === undefined) throw new Error(`there is no host ${name ?? '(none)'}`);
  return host;
}
