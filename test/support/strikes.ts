// What is done to a lab to see whether it holds, for the bench and the chaos alike: each blow is one call, and what undoes it is another.
// Only processes that the lab started are touched, by pid and start time.

import { LabError, waitFor } from '../../deploy/lab/command.js';
import { recordOf } from '../../deploy/lab/lab.js';
import { cutLinks, mendLinks } from '../../deploy/lab/network.js';
import { LINKS, type HostPlan, type LabPlan } from '../../deploy/lab/plan.js';
import { isAlive, sendSignal, type ProcessIdentity } from '../../deploy/lab/process-identity.js';
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

const everythingOn = (plan: LabPlan, host: HostPlan): readonly ProcessIdentity[] => [
  ...livingQemus(plan).filter((each) => each.host === host.name),
  ...recordOf(plan.name).processes.filter((each) => each.host === host.name),
];

/** The dark host's processes die while nobody can hear it, as with a power failure; then it is there again, without any QEMU. */
export async function rebootHost(plan: LabPlan, host: HostPlan): Promise<void> {
  for (const each of everythingOn(plan, host)) sendSignal(each, 'SIGKILL');
  await waitFor({ what: `the end of all of ${host.name}`, boundMs: END_MS }, () => (everythingOn(plan, host).some(isAlive) ? null : true));
  await mendLinks(plan, host, LINKS);
  for (const daemon of daemonsOf(host)) await startDaemon(plan, host, daemon);
}
