// What is done to a lab to see whether it holds, for the bench and the chaos alike: each blow is one call, and what undoes it is another.
// Only processes that the lab started are touched, by pid and start time.

import { LabError } from '../../deploy/lab/command.js';
import { cutLinks, mendLinks, processesIn } from '../../deploy/lab/network.js';
import { LINKS, type HostPlan, type LabPlan } from '../../deploy/lab/plan.js';
import { identify, sendSignal, waitForEnd, type ProcessIdentity } from '../../deploy/lab/process-identity.js';
import { startDaemon } from '../../deploy/lab/processes.js';
import { livingQemus } from '../../deploy/lab/qemus.js';
import { DAEMONS, type Daemon } from '../../deploy/lab/record.js';

const END_MS = 10_000;

/** Throws when this host has no living QEMU of that VM. */
export function qemuOf(plan: LabPlan, vm: string, host: HostPlan): ProcessIdentity {
  const found = livingQemus(plan).find((each) => each.vm === vm && each.host === host.name);
  if (found === undefined) throw new LabError(`no QEMU of ${vm} on ${host.name}`);
  return found;
}

export function daemonsOf(host: HostPlan): readonly Daemon[] {
  return host.member ? DAEMONS : ['agent'];
}

/** From now on nobody hears the host, and it hears nobody; all its processes run on. */
export async function darken(plan: LabPlan, host: HostPlan): Promise<void> {
  await cutLinks(plan, host, LINKS);
}

/** All that runs on the host, also a QEMU that its agent has started and not noted yet. */
async function everythingOn(host: HostPlan): Promise<readonly ProcessIdentity[]> {
  return (await processesIn(host.namespace)).map(identify).filter((each) => each !== null);
}

/** The dark host's processes die while nobody can hear it, as with a power failure; then it is there again, without any QEMU. */
export async function rebootHost(plan: LabPlan, host: HostPlan): Promise<void> {
  const struck = await everythingOn(host);
  for (const each of struck) sendSignal(each, 'SIGKILL');
  for (const each of struck) await waitForEnd(each, END_MS);
  await mendLinks(plan, host, LINKS);
  for (const daemon of daemonsOf(host)) await startDaemon(plan, host, daemon);
}
