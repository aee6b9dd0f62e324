// Reads the facts of a QEMU once, within an action whose next step depends on them.

import { COMMAND_MS } from '../core/bounds.js';
import { readFacts } from '../read-facts.js';
import type { Vm } from './vm.js';

/** The last facts stay when QEMU does not answer. */
export async function lookNow(vm: Vm): Promise<void> {
  const { link } = vm;
  if (link === null) return;
  const read = await readFacts(link.monitor, vm.counts, COMMAND_MS);
  if (read.ok && vm.link === link) vm.facts = read.value;
}
