// Why the QEMU that is here must not run its guest by itself. A secondary that did not load its last checkpoint says so in its log alone; a
// primary whose own disk failed a write while its secondary took it shows it by an event alone, and its guest was told that all is well.
// Both go into the journal, because neither can be asked for again, and hold until another copy of the guest is the whole one.

import { saysColoLeft, saysUnpromotable } from '../core/qemu-log.js';
import type { Vm } from './vm.js';
import type { Epoch } from '../../shared/core/ids.js';

export const LACKS_WRITES = 'its own disk failed a write of which its guest was told that it is written';

/** What was written since the last look is read before this returns; answers when the journal has taken in what this and earlier looks found. */
export async function readQemuLog(vm: Vm, born: Epoch): Promise<void> {
  const read = vm.ports.qemus.readLog(vm.paths(born).logFile, vm.logOffset);
  vm.logOffset = read.offset;
  if (saysColoLeft(read.text)) vm.coloLeftInLog = true;
  const line = saysUnpromotable(read.text);
  if (line !== null) noteUnfit(vm, born, line);
  // Another look may have read the line, and its journal be still on its way to the disk: who releases must not overtake it.
  await vm.unfitTaken;
}

/**
 * A copy beside the own one took what this one failed to take, and QEMU calls the write done. Without such a copy QEMU stops the guest
 * instead and makes the write again.
 */
export function noteLackingWrites(vm: Vm): void {
  const { qemu, seen, facts } = vm;
  if (qemu === null || facts === null || seen?.ownWriteFailed !== true) return;
  const situation = vm.situation();
  const isPrimary = situation === 'primary' || situation === 'attempt' || (situation === 'hung' && facts.role === 'primary');
  const hasCopy = seen.coloSince !== null || facts.disks.some((disk) => disk.peer !== 'none');
  if (isPrimary && hasCopy) noteUnfit(vm, qemu.born, LACKS_WRITES);
}

/** What was seen is in the journal when this answers; null = nothing speaks against it. */
export async function whyUnfit(vm: Vm): Promise<string | null> {
  noteLackingWrites(vm);
  const taken = await vm.unfitTaken;
  return taken.ok ? (vm.qemu?.unpromotable ?? null) : taken.error;
}

function noteUnfit(vm: Vm, born: Epoch, why: string): void {
  if (vm.qemu?.born !== born || vm.qemu.unpromotable !== null) return;
  vm.ports.log.error({ vm: vm.name, born, why }, 'unfit');
  vm.unfitTaken = vm.saveQemu(born, () => ({ unpromotable: why }));
}
