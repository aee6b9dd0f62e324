// Reads of a QEMU what cannot wait for the next regular look: all facts, within an action whose next step depends on them, and at each
// checkpoint of a primary whether its secondary has taken every write.

import { COMMAND_MS, LOOK_MS } from '../core/bounds.js';
import { REPLICATION_QUERY, replicationFrom } from '../core/facts.js';
import { seeMissedWrite } from '../core/seen.js';
import { readFacts } from '../read-facts.js';
import type { Vm } from './vm.js';

/** The last facts stay when QEMU does not answer. */
export async function lookNow(vm: Vm): Promise<void> {
  const { link } = vm;
  if (link === null) return;
  const read = await readFacts(link.monitor, vm.counts, COMMAND_MS);
  if (read.ok && vm.link === link) vm.facts = read.value;
}

/**
 * A write that the secondary refused is in its overlays as well, as long as its guest wrote the same, and gone from there when it has loaded
 * the next checkpoint. So the primary is asked when that checkpoint has stopped its guest, and not only four times a second.
 */
export async function lookForMissedWrites(vm: Vm): Promise<void> {
  const { link, seen } = vm;
  if (link === null || seen === null) return;
  const { command, args } = REPLICATION_QUERY;
  const answer = await link.monitor.execute(command, args, { deadlineMs: LOOK_MS, oob: false });
  if (!answer.ok || replicationFrom(answer.value, true) !== 'error') return;
  // The answer is about the pair that was asked.
  if (vm.link !== link || vm.seen === null || vm.seen.coloSince !== seen.coloSince) return;
  vm.seen = seeMissedWrite(vm.seen, vm.ports.clock.now());
  vm.changed();
}
