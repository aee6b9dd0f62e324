// A guest that runs alone stands still when a write fails for want of space (QEMU's werror), and QEMU makes the write again when the guest
// is let go on. Nobody else does that, so it is done here, again and again until the disk takes the write. Never on half of a pair, where
// letting the guest go on is a step of a procedure, nor on a QEMU that is held, nor beside a task.

import { COMMAND_MS, FAILED_WRITE_AGAIN_MS } from '../core/bounds.js';
import { OWN_DISK_WELL } from '../core/seen.js';
import type { Vm } from './vm.js';

/** Called in every tick. */
export function makeFailedWriteAgain(vm: Vm): void {
  const { link, facts, qemu, task } = vm;
  const { clock, log } = vm.ports;
  if (link === null || qemu === null || task !== null || facts?.runstate !== 'io-error') return;
  if (vm.situation() !== 'alone' || qemu.aloneSince === null || qemu.held) return;
  if (vm.writeMadeAgainAt !== null && clock.now() - vm.writeMadeAgainAt < FAILED_WRITE_AGAIN_MS) return;
  vm.writeMadeAgainAt = clock.now();
  log.warn({ vm: vm.name, born: qemu.born }, 'failed-write-made-again');
  if (vm.seen !== null) vm.seen = { ...vm.seen, ...OWN_DISK_WELL };
  void link.monitor.execute('cont', {}, { deadlineMs: COMMAND_MS, oob: false }).then((answer) => {
    if (!answer.ok) log.warn({ vm: vm.name, born: qemu.born, error: answer.error.description }, 'failed-write-cont-refused');
    vm.lookSoon();
  });
}
