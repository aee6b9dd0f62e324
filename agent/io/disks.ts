// Disk images with qemu-img and plain files. Raw images get their space when they are made: a full disk under a pair is an error that
// QEMU swallows (SAFETY 1). Nothing here judges whether an image may be used; that is core/disk-rules.ts.

import { copyFile, open, readdir, readFile, rename, rm, stat, statfs, truncate } from 'node:fs/promises';
import { constants, type Stats } from 'node:fs';
import { dirname, join } from 'node:path';
import { parseStamp, type Stamp } from '../core/disk-rules.js';
import type { Disks, Image } from '../ports.js';
import { fail, ok, type Result } from '../../shared/core/result.js';
import { makeFolder, messageOf, writeDurably } from './files.js';
import { run } from './run.js';

const IMG_MS = 30_000;
/** What stat counts blocks in, whatever the file system's are. */
const STAT_BLOCK = 512;
/** Copies and commits move whole disks. */
const COPY_MS = 3_600_000;

export function systemDisks(qemuImg: string, stateDir: string): Disks {
  return {
    look: (image) =>
      attempt<Image>(async () => {
        const found = await statOrNull(image);
        if (found === null) return { kind: 'missing' };
        const sizeBytes = found.isBlockDevice() ? await deviceBytes(image) : found.size;
        return { kind: 'present', sizeBytes, stamp: await readStamp(image) };
      }),
    create: (image, sizeBytes, source) => make(image, sizeBytes, source, true),
    recreate: (image, sizeBytes) => make(image, sizeBytes, null, false),
    grow: (image, sizeBytes) => attempt(() => truncate(image, sizeBytes).then(() => null)),
    reserve,
    writeStamp: (image, stamp) => attempt(() => writeDurably(stampFile(image), `${JSON.stringify(stamp)}\n`).then(() => null)),
    makeOverlay: async (path, sizeBytes) => {
      await makeFolder(dirname(path), 0o700);
      await rm(path, { force: true });
      return toNull(await run(qemuImg, ['create', '-q', '-f', 'qcow2', '-o', 'lazy_refcounts=on', path, String(sizeBytes)], IMG_MS));
    },
    merged: (chain) => attempt(() => isMerged(chain)),
    flatten: (chain) => flatten(qemuImg, chain),
    remove: async (paths) => {
      for (const path of paths) await rm(path, { force: true });
    },
    sweepOverlays: async (folder, keep) => {
      const names = await readdir(folder).catch((): string[] => []);
      const overlays = names.filter((name) => /^(active|hidden)\d+-\d+\.qcow2$/.test(name)).map((name) => join(folder, name));
      for (const path of overlays) if (!keep.includes(path)) await rm(path, { force: true });
    },
    freeBytes: async () => {
      const found = await statfs(join(stateDir, 'vms')).catch(() => statfs(stateDir));
      return found.bavail * found.bsize;
    },
  };

  async function make(image: string, sizeBytes: number, source: string | null, fresh: boolean): Promise<Result<null, string>> {
    const beside = `${image}.new`;
    try {
      await makeFolder(dirname(image), 0o700);
      if (fresh && (await statOrNull(image)) !== null) return fail(`${image} exists already`);
      await rm(beside, { force: true });
      if (source !== null) {
        const bytes = (await stat(source)).size;
        if (bytes > sizeBytes) return fail(`the source ${source} has ${bytes} bytes, more than the ${sizeBytes} of the disk`);
        await copyFile(source, beside, constants.COPYFILE_FICLONE);
        await truncate(beside, sizeBytes);
        const reserved = await run('fallocate', ['--keep-size', '--length', String(sizeBytes), beside], IMG_MS);
        if (!reserved.ok) return fail(`no space for ${image}: ${reserved.error}`);
      } else {
        const made = await run(qemuImg, ['create', '-q', '-f', 'raw', '-o', 'preallocation=falloc', beside, String(sizeBytes)], IMG_MS);
        if (!made.ok) return fail(`no space for ${image}: ${made.error}`);
      }
      await rename(beside, image);
      return ok(null);
    } catch (error) {
      await rm(beside, { force: true });
      return fail(messageOf(error));
    }
  }
}

/** Holes get their blocks; where the file system cannot do that, only an image without holes is good enough. */
async function reserve(image: string, sizeBytes: number): Promise<Result<null, string>> {
  const found = await statOrNull(image).catch(() => null);
  if (found === null) return fail(`${image} is not there`);
  if (!found.isFile()) return ok(null);
  const reserved = await run('fallocate', ['--keep-size', '--length', String(sizeBytes), image], IMG_MS);
  if (reserved.ok || found.blocks * STAT_BLOCK >= sizeBytes) return ok(null);
  return fail(`no space for all of ${image}: ${reserved.error}`);
}

/** Offset of `incompatible_features` in a qcow2 header, 8 bytes big-endian; bit 0 of it = dirty. */
const FEATURES_AT = 72;

/**
 * Overlays are made with lazy refcounts: QEMU marks them dirty with the first write and clean again when it closes them. It closes them
 * when the merge has ended, and writes on in the parent; so overlays that are clean and older than the parent are done with. A QEMU that
 * was ended gracefully in the middle of a merge closes them too, and then they are the newer ones.
 */
async function isMerged(chain: readonly string[]): Promise<boolean> {
  const parent = chain.at(-1);
  if (parent === undefined) return false;
  const writtenAt = (await stat(parent)).mtimeMs;
  for (const overlay of chain.slice(0, -1)) {
    const found = await statOrNull(overlay);
    if (found === null) continue;
    if (found.mtimeMs >= writtenAt || (await isDirty(overlay))) return false;
  }
  return true;
}

async function isDirty(overlay: string): Promise<boolean> {
  const file = await open(overlay, 'r');
  try {
    const { buffer } = await file.read(Buffer.alloc(8), 0, 8, FEATURES_AT);
    return (buffer.readBigUInt64BE() & 1n) !== 0n;
  } finally {
    await file.close();
  }
}

/**
 * Top into the next, and so on down to the raw parent. An overlay is removed only when all that it held is below it, so that a crash
 * at any point leaves a chain that reads the same.
 */
async function flatten(qemuImg: string, chain: readonly string[]): Promise<Result<null, string>> {
  const parent = chain.at(-1);
  const overlays = chain.slice(0, -1);
  if (parent === undefined) return fail('an empty chain');
  const present: string[] = [];
  for (const overlay of overlays) if ((await statOrNull(overlay)) !== null) present.push(overlay);
  // QEMU was told the chain on its command line; the headers do not know it.
  for (const [k, overlay] of present.entries()) {
    const below = present[k + 1];
    const backing = below === undefined ? ['-b', parent, '-F', 'raw'] : ['-b', below, '-F', 'qcow2'];
    const based = await run(qemuImg, ['rebase', '-u', '-f', 'qcow2', ...backing, overlay], IMG_MS);
    if (!based.ok) return based;
  }
  for (const overlay of present) {
    const committed = await run(qemuImg, ['commit', '-q', '-d', '-f', 'qcow2', overlay], COPY_MS);
    if (!committed.ok) return committed;
    await rm(overlay, { force: true });
  }
  return ok(null);
}

const stampFile = (image: string): string => `${image}.colo-stamp`;

async function readStamp(image: string): Promise<Stamp | null> {
  let text: string;
  try {
    text = await readFile(stampFile(image), 'utf8');
  } catch (error) {
    if (isMissing(error)) return null;
    throw error;
  }
  const stamp = parseStamp(stampFile(image), text);
  if (!stamp.ok) throw new Error(stamp.error);
  return stamp.value;
}

async function statOrNull(path: string): Promise<Stats | null> {
  try {
    return await stat(path);
  } catch (error) {
    if (isMissing(error)) return null;
    throw error;
  }
}

async function deviceBytes(path: string): Promise<number> {
  const device = await open(path, 'r');
  try {
    const sized = await run('blockdev', ['--getsize64', path], IMG_MS);
    if (!sized.ok) throw new Error(sized.error);
    return Number(sized.value);
  } finally {
    await device.close();
  }
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}

async function attempt<T>(work: () => Promise<T>): Promise<Result<T, string>> {
  try {
    return ok(await work());
  } catch (error) {
    return fail(messageOf(error));
  }
}

function toNull(result: Result<string, string>): Result<null, string> {
  return result.ok ? ok(null) : result;
}
