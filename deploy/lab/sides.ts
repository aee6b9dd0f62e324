// The two QEMUs of a VM by their roles, and the ends that a test or the demo puts to them. A role is what the coordinators say; a process
// is what the agents noted. Both are looked up at the moment of the blow.

import { clusterStatus } from './coloctl.js';
import { LabError } from './command.js';
import type { LabPlan } from './plan.js';
import { isAlive, sendSignal } from './process-identity.js';
import { livingQemus, type QemuNote } from './qemus.js';

export type Role = 'primary' | 'secondary';

/** Throws when the VM has no living QEMU in that role. */
export async function sideOf(plan: LabPlan, vm: string, role: Role): Promise<QemuNote> {
  const status = await clusterStatus(plan);
  const host = status?.vms.find((each) => each.name === vm)?.[role] ?? null;
  if (host === null) throw new LabError(`VM ${vm} has no ${role}`);
  const side = livingQemus(plan).find((each) => each.vm === vm && each.host === host);
  if (side === undefined) throw new LabError(`the ${role} of VM ${vm} on ${host} is not alive`);
  return side;
}

/** When the signal was sent, on the monotonic clock that the probers also use (milliseconds), and on the wall clock. */
export interface Blow {
  readonly side: QemuNote;
  readonly monoMs: number;
  readonly wallMs: number;
}

/** SIGKILL, without waiting for its end: the fault is the moment of the signal. */
export function killSide(side: QemuNote): Blow {
  const wallMs = Date.now();
  const monoMs = Number(process.hrtime.bigint()) / 1e6;
  if (!isAlive(side) || !sendSignal(side, 'SIGKILL')) throw new LabError(`QEMU ${side.pid} on ${side.host} had ended already`);
  return { side, monoMs, wallMs };
}
