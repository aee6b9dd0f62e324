// Runs the operator's own program, coloctl, against a lab: the lab does nothing that an operator could not do.

import { LabError, tryRun, waitFor } from './command.js';
import { coloctlEnvironment, type LabPlan } from './plan.js';
import { programs } from './tree.js';

/** The parts of `coloctl status -o json` that the lab reads. */
export interface ClusterStatus {
  readonly leader: string | null;
  readonly vms: readonly VmState[];
  readonly hosts: readonly { readonly name: string; readonly state: string }[];
}

export interface VmState {
  readonly name: string;
  readonly phase: string;
  readonly epoch: number;
  readonly primary: string | null;
  readonly secondary: string | null;
  readonly reason: string;
  readonly lastError?: string | null;
}

const CALL_MS = 15_000;
const ASK_AGAIN_MS = 100;

export interface Call {
  readonly deadlineMs?: number;
  readonly signal?: AbortSignal;
}

/** Standard output. */
export async function coloctl(plan: LabPlan, args: readonly string[], call: Call = {}): Promise<string> {
  const ran = await tryRun(process.execPath, [programs.coloctl, ...args], options(plan, call));
  if (ran.status === 0) return ran.stdout;
  throw new LabError(`coloctl ${args.join(' ')}: ${ran.stderr.trim() === '' ? `exit status ${ran.status}` : ran.stderr.trim()}`);
}

/** Null: no coordinator answers. A degraded cluster makes coloctl's exit status differ from 0, and is an answer all the same. */
export async function clusterStatus(plan: LabPlan, call: Call = {}): Promise<ClusterStatus | null> {
  const ran = await tryRun(process.execPath, [programs.coloctl, 'status', '-o', 'json'], options(plan, call));
  try {
    return JSON.parse(ran.stdout) as ClusterStatus;
  } catch {
    return null;
  }
}

function options(plan: LabPlan, call: Call) {
  return { deadlineMs: CALL_MS, environment: coloctlEnvironment(plan), ...call };
}

export async function waitForVm(plan: LabPlan, vm: string, phase: string, boundMs: number, call: Call = {}): Promise<VmState> {
  let last = 'no coordinator answered';
  try {
    return await waitFor({ what: phase, boundMs, everyMs: ASK_AGAIN_MS, ...call }, async () => {
      const status = await clusterStatus(plan, call);
      const found = status?.vms.find((each) => each.name === vm);
      if (found !== undefined) last = `${found.phase}: ${found.reason}${found.lastError ? `; last error: ${found.lastError}` : ''}`;
      return found?.phase === phase ? found : null;
    });
  } catch (error) {
    if (call.signal?.aborted === true) throw error;
    throw new LabError(`VM ${vm} was not ${phase} within ${boundMs} ms; it is ${last}`);
  }
}

/** Until a coordinator leads and every host is there. `mustHold` throws when it makes no sense to wait any longer. */
export async function waitForCluster(plan: LabPlan, boundMs: number, mustHold: () => void, call: Call = {}): Promise<ClusterStatus> {
  let last = 'no coordinator answered';
  try {
    return await waitFor({ what: 'cluster', boundMs, everyMs: ASK_AGAIN_MS, ...call }, async () => {
      mustHold();
      const status = await clusterStatus(plan, call);
      if (status === null) return null;
      last = `leader ${status.leader ?? 'none'}, hosts ${status.hosts.map((host) => `${host.name}=${host.state}`).join(' ')}`;
      const ready =
        status.leader !== null && plan.hosts.every((host) => status.hosts.some((each) => each.name === host.name && isReady(each.state)));
      return ready ? status : null;
    });
  } catch (error) {
    mustHold();
    if (call.signal?.aborted === true) throw error;
    throw new LabError(`the cluster was not complete within ${boundMs} ms: ${last}`);
  }
}

const isReady = (state: string): boolean => state === 'ready';
