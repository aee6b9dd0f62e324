// The proof of protection: what must be true on one side before it may say that the pair protects the guest. query-colo-status alone is
// no proof: with a filter missing, or without vnet_hdr_support, it says the same and every packet leaves uncompared.

import type { QemuFacts } from './facts.js';
import type { VmNames } from './names.js';
import type { Seen } from './seen.js';

/** The first ends the transfer of the whole state, the second is the checkpoint that was forced on the finished pair. */
const CHECKPOINTS = 2;

/**
 * What speaks against it, for people; empty = proven. An error of the primary's own disk does not: it came after the attachment, or there would
 * be no pair, so the secondary has the write and this disk lacks it. The pair must be called protected, because from there the secondary is
 * promoted; an attempt that is given up leaves the guest with a disk that it believes to be whole.
 */
export function proofFailures(side: 'primary' | 'secondary', facts: QemuFacts, seen: Seen, names: VmNames): readonly string[] {
  const { nics } = names;
  const filters =
    side === 'primary'
      ? nics.flatMap((nic) => [nic.mirrorFilter, nic.redirectIn, nic.redirectOut, nic.compare])
      : nics.flatMap((nic) => [nic.filterIn, nic.filterOut, nic.rewriter]);
  const chardevs =
    side === 'primary'
      ? nics.flatMap((nic) => [nic.mirror, nic.compareSecondary, nic.compareIn, nic.compareInClient, nic.compareOut, nic.compareOutClient])
      : nics.flatMap((nic) => [nic.redIn, nic.redOut]);
  return [
    ...(facts.colo.mode === side ? [] : [`COLO mode is ${facts.colo.mode}`]),
    ...(seen.coloExit === null ? [] : [`COLO_EXIT ${seen.coloExit.reason} was seen`]),
    ...seen.breaks.map((each) => each.what),
    ...filters.flatMap((id) => filterFailures(id, facts)),
    ...chardevs
      .filter((id) => !facts.chardevs.some((each) => each.id === id && each.connected))
      .map((id) => `chardev ${id} is not connected`),
    ...diskFailures(side, facts, names),
    ...(seen.peerDiskError || (side === 'secondary' && seen.localDiskError) ? ['a disk error was reported'] : []),
    ...(seen.checkpoints >= CHECKPOINTS ? [] : [`${seen.checkpoints} of ${CHECKPOINTS} checkpoints seen`]),
  ];
}

function filterFailures(id: string, facts: QemuFacts): readonly string[] {
  const filter = facts.filters.find((each) => each.id === id);
  if (filter === undefined) return [`${id} is missing`];
  return [...(filter.on ? [] : [`${id} is off`]), ...(filter.vnetHdr ? [] : [`${id} has no vnet_hdr_support`])];
}

function diskFailures(side: 'primary' | 'secondary', facts: QemuFacts, names: VmNames): readonly string[] {
  if (facts.replication === 'error') return ['query-xen-replication-status says error'];
  if (side === 'secondary') {
    const missing = names.disks.filter((disk) => !facts.exports.includes(disk.parent)).map((disk) => `${disk.parent} is not exported`);
    return facts.replication === 'clean' || names.disks.length === 0 ? missing : [...missing, 'no replication driver is at work'];
  }
  return names.disks.flatMap((disk, k) =>
    facts.disks[k]?.peer !== 'none' && facts.disks[k] !== undefined ? [] : [`${disk.quorum} has no second child`],
  );
}
