// Files that must be whole after a crash: written beside, flushed, renamed, and the folder flushed too, because a rename that is only in
// memory is forgotten by a power cut.

import { mkdir, open, rename } from 'node:fs/promises';
import { dirname } from 'node:path';

/** Throws the system's error. */
export async function writeDurably(path: string, text: string, mode = 0o600): Promise<void> {
  const beside = `${path}.new`;
  const file = await open(beside, 'w', mode);
  try {
    await file.writeFile(text);
    await file.datasync();
  } finally {
    await file.close();
  }
  await rename(beside, path);
  await syncFolder(dirname(path));
}

export async function makeFolder(path: string, mode: number): Promise<void> {
  await mkdir(path, { recursive: true, mode });
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
