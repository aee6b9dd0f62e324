// What a world must come to when nothing goes wrong any more: every VM as it is wanted, its client answered, nothing left over.

import type { World } from '../world/world.js';

/** Null = at rest; else what is missing. */
export function restProblem(world: World, vm: string, since: number): string | null {
  const wanted = world.wanted(vm);
  const record = world.record(vm);
  const running = world.qemusOf(vm);
  if (wanted === null) return record === null && running.length === 0 ? null : 'it is forgotten and something of it is left';
  if (wanted.wanted === 'deleted') return 'it is to be deleted and still known';
  if (record === null) return 'it has no record';
  const says = `${record.phase} (${record.row}): ${record.reason}`;
  if (wanted.wanted === 'stopped') {
    if (record.phase !== 'stopped') return `it is to be stopped and is ${says}`;
    return running.length === 0 ? null : `it is stopped and ${running.map((each) => each.name).join(', ')} still runs`;
  }
  const aim = wanted.protect ? 'protected' : 'solo';
  if (record.phase !== aim) return `it is to be ${aim} and is ${says}`;
  const sides = wanted.protect ? 2 : 1;
  if (running.length !== sides) return `it is ${aim} and ${running.length} QEMUs of it run`;
  // QEMU's replication driver remembers a failed write as long as the pair lasts, also when the disk has room again (SAFETY 1). Such a pair is
  // protected by its record's phase only, and to be taken apart as soon as somebody can.
  if (wanted.protect && running.some((each) => each.block.replicationError)) return `it is ${aim} and its secondary missed writes`;
  // The same of a primary whose own disk did, and whose agent has not been heard to say so yet.
  const isUnfit = running.some((each) => (each.machine.vmJournals.get(vm)?.qemu?.unpromotable ?? null) !== null);
  if (wanted.protect && isUnfit) return `it is ${aim} and one side of it must not go on alone`;
  const client = world.clients.get(vm);
  if (client === undefined || client.lastAnswerAt <= since) return `it is ${aim} and its client has no answer since the last fault`;
  return null;
}
