// Reads the guest's records out of a raw image without a guest: record N is plain text at 1 MiB + (N modulo 100000) * 512. Only an image
// that no QEMU writes to says something.

import { open } from 'node:fs/promises';
import { run } from './command.js';

const SECTOR = 512;
const SLOTS = 100_000;
const FIRST_BYTE = 1024 * 1024;
const CHUNK_SLOTS = 2048;

export interface DiskRecord {
  readonly counter: number;
  readonly boot: string;
}

/** Null: this slot holds no record. */
export function parseRecord(slot: Buffer): DiskRecord | null {
  const found = /^N (\d{1,15}) ([0-9a-f]{8})/.exec(slot.toString('latin1', 0, 80));
  return found?.[1] === undefined || found[2] === undefined ? null : { counter: Number(found[1]), boot: found[2] };
}

/** The counters from `first` to `last` of that boot that are not in their slots. */
export function missingCounters(records: readonly (DiskRecord | null)[], boot: string, first: number, last: number): readonly number[] {
  const missing: number[] = [];
  for (let counter = first; counter <= last; counter += 1) {
    const record = records[counter % SLOTS];
    if (record?.counter !== counter || record.boot !== boot) missing.push(counter);
  }
  return missing;
}

/** Index = slot. */
export async function readRecords(image: string): Promise<readonly (DiskRecord | null)[]> {
  const file = await open(image, 'r');
  try {
    const records: (DiskRecord | null)[] = [];
    const chunk = Buffer.alloc(CHUNK_SLOTS * SECTOR);
    for (let slot = 0; slot < SLOTS;) {
      const { bytesRead } = await file.read(chunk, 0, chunk.length, FIRST_BYTE + slot * SECTOR);
      if (bytesRead < SECTOR) break;
      const count = Math.min(Math.floor(bytesRead / SECTOR), SLOTS - slot);
      for (let k = 0; k < count; k += 1) records.push(parseRecord(chunk.subarray(k * SECTOR, (k + 1) * SECTOR)));
      slot += count;
    }
    return records;
  } finally {
    await file.close();
  }
}

/** Makes one raw image of a chain of overlays (topmost first name), for a disk whose commit had not ended. The chain is only read. */
export async function flatten(qemuImg: string, topmost: string, format: 'raw' | 'qcow2', into: string): Promise<void> {
  await run(qemuImg, ['convert', '-U', '-f', format, '-O', 'raw', topmost, into], { deadlineMs: 120_000 });
}
