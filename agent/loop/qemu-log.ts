// Reads on in a QEMU's own log. QEMU says only there that a checkpoint did not load, and such a QEMU must never run the guest.

import { saysColoLeft, saysUnpromotable } from '../core/qemu-log.js';
import type { Epoch } from '../../shared/core/ids.js';
import type { Vm } from './vm.js';

/** What was written since the last look is read before this returns; answers when the journal has taken in what this and earlier looks found. */
export async function readQemuLog(vm: Vm, born: Epoch): Promise<void> {
  const read = vm.ports.qemus.readLog(vm.paths(born).logFile, vm.logOffset);
  vm.logOffset = read.offset;
  if (saysColoLeft(read.text)) vm.coloLeftInLog = true;
  const line = saysUnpromotable(read.text);
  if (line !== null && vm.qemu?.unpromotable === null) {
    vm.ports.log.error({ vm: vm.name, line }, 'unpromotable');
    vm.logTaken = vm.saveQemu(born, () => ({ unpromotable: line }));
  }
  // Another look may have read the line, and its journal be still on its way to the disk: who releases must not overtake it.
  await vm.logTaken;
}
