// Files that must be whole after a crash: written beside, flushed, renamed, and the folder flushed too, because a rename that is only in
// memory is forgotten by a power cut.

import { close, closeSync, fdatasync, fsync, openSync, renameSync, writeSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { promisify } from 'node:util';

const flushData = promisify(fdatasync);
const flush = promisify(fsync);

/**
 * Throws the system's error. Only the two flushes wait for the disk; all else happens in memory and is done at once, because each turn
 * through the event loop would cost more than it, and an order waits for this before QEMU hears of it.
 */
export async function writeDurably(path: string, text: string, mode = 0o600): Promise<void> {
  const beside = `${path}.new`;
  const file = openSync(beside, 'w', mode);
  try {
    writeSync(file, text);
    await flushData(file);
  } finally {
    closeSync(file);
  }
  const folder = openSync(dirname(path), 'r');
  try {
    renameSync(beside, path);
    await flush(folder);
  } finally {
    close(folder);
  }
}

export async function makeFolder(path: string, mode: number): Promise<void> {
  await mkdir(path, { recursive: true, mode });
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
