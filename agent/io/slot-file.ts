// A small value on disk that is written often and must be safe after each write, in one flush. It has two files of fixed size, written in
// turn and in place: no file is made, renamed or grown, so the flush waits for one block and not for the file system's own journal, which
// on a busy disk (etcd is on it, too) costs ten times as much. A write that a crash tears leaves the other file, with the value before.

import { createHash } from 'node:crypto';
import { closeSync, constants, fdatasync, fstatSync, fsync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import { makeFolder } from './files.js';

const flushData = promisify(fdatasync);
const flush = promisify(fsync);

/** A file's size is a multiple of this; what the value leaves over is filled with blanks, so that people can read the files as JSON. */
const SLOT_BYTES = 16 * 1024;

/** `found`: the value, and the names of files that are there and do not hold one whole. */
export interface Found {
  readonly value: unknown;
  readonly broken: readonly string[];
}

interface Slot {
  readonly sequence: number;
  readonly sum: string;
  readonly value: unknown;
}

export class SlotFile {
  readonly #paths: readonly [string, string];
  readonly #files: [number | null, number | null] = [null, null];
  #sequence = 0;

  /** `path` without an ending; the files are `<path>.a.json` and `<path>.b.json`. */
  constructor(path: string) {
    this.#paths = [`${path}.a.json`, `${path}.b.json`];
  }

  /** The newest whole value; undefined = none. Reads synchronously: it is for a start. */
  read(): Found {
    const slots = this.#paths.map(readSlot);
    const whole = slots.flatMap((slot) => (slot.kind === 'whole' ? [slot.slot] : []));
    const newest = whole.sort((one, other) => other.sequence - one.sequence)[0];
    this.#sequence = newest?.sequence ?? 0;
    return { value: newest?.value, broken: this.#paths.filter((_, k) => slots[k]?.kind === 'broken') };
  }

  /** Puts broken files out of the way, for people to look at. */
  putAside(broken: readonly string[]): void {
    for (const path of broken) renameSync(path, `${path}.broken`);
  }

  /** The value is on disk when this resolves. Throws the system's error. One write at a time. */
  async write(value: unknown): Promise<void> {
    const sequence = this.#sequence + 1;
    const turn = sequence % 2 === 0 ? 0 : 1;
    const known = this.#files[turn];
    const file = known ?? (await this.#open(turn));
    const bytes = slotBytes({ sequence, sum: sumOf(sequence, value), value }, fstatSync(file).size);
    writeSync(file, bytes, 0, bytes.length, 0);
    if (known === null) await this.#keep(turn, file);
    else await flushData(file);
    // Only now: a write that failed is done again in the same file, and the other one stays whole.
    this.#sequence = sequence;
  }

  async #open(turn: 0 | 1): Promise<number> {
    const path = this.#paths[turn];
    await makeFolder(dirname(path), 0o700);
    return openSync(path, constants.O_RDWR | constants.O_CREAT, 0o600);
  }

  /** A file that may be new is in use only when its folder is on disk, too. */
  async #keep(turn: 0 | 1, file: number): Promise<void> {
    await flush(file);
    const folder = openSync(dirname(this.#paths[turn]), 'r');
    try {
      await flush(folder);
    } finally {
      closeSync(folder);
    }
    this.#files[turn] = file;
  }
}

type Read = { readonly kind: 'none' } | { readonly kind: 'broken' } | { readonly kind: 'whole'; readonly slot: Slot };

function readSlot(path: string): Read {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return { kind: 'none' };
    throw error;
  }
  try {
    const slot = JSON.parse(text) as Slot;
    return slot.sum === sumOf(slot.sequence, slot.value) ? { kind: 'whole', slot } : { kind: 'broken' };
  } catch {
    return { kind: 'broken' };
  }
}

/** Filled up to a multiple of the slot's size, and never shorter than what was there. */
function slotBytes(slot: Slot, atLeast: number): Buffer {
  const text = Buffer.from(JSON.stringify(slot));
  const size = Math.max(atLeast, Math.ceil((text.length + 1) / SLOT_BYTES) * SLOT_BYTES);
  const bytes = Buffer.alloc(size, ' ');
  text.copy(bytes);
  bytes[size - 1] = 0x0a;
  return bytes;
}

function sumOf(sequence: number, value: unknown): string {
  return createHash('sha256')
    .update(`${sequence} ${JSON.stringify(value)}`)
    .digest('hex');
}
