// The tiny guest's words, as the client side needs them: its answers, the hash of uploads, the bytes of downloads. The guest's own side
// is in guest/connections.c and guest/lines.c.

export const LINE_PORT = 7000;
export const UPLOAD_PORT = 7001;
export const DOWNLOAD_PORT = 7002;

export interface CounterAnswer {
  readonly counter: number;
  readonly boot: string;
  readonly diskErrno: number;
  readonly echo: string;
}

/** Null: not the answer to a request. */
export function parseAnswer(line: string): CounterAnswer | null {
  const found = /^(\d{1,15}) ([0-9a-f]{8}) (\d{1,5}) (.*)$/.exec(line);
  if (found === null) return null;
  const [, counter, boot, diskErrno, echo] = found;
  return { counter: Number(counter), boot: boot ?? '', diskErrno: Number(diskErrno), echo: echo ?? '' };
}

export interface GuestState extends Pick<CounterAnswer, 'counter' | 'boot'> {
  /** The guest's own monotonic clock, milliseconds. It stands still while its QEMU is stopped, also for a checkpoint. */
  readonly upMs: number;
}

/** The answer to `stat`. Null: it is not one. */
export function parseState(line: string): GuestState | null {
  const found = /^stat (\d{1,15}) ([0-9a-f]{8}) up=(\d{1,9})\.(\d{3}) wall=\d+\.\d+$/.exec(line);
  return found === null ? null : { counter: Number(found[1]), boot: found[2] ?? '', upMs: Number(found[3]) * 1_000 + Number(found[4]) };
}

export const HASH_START = 0x811c9dc5;

/** 32-bit FNV-1a, going on from what came before. */
export function hashOn(hash: number, bytes: Uint8Array): number {
  let value = hash;
  for (const byte of bytes) value = Math.imul(value ^ byte, 0x01000193);
  return value >>> 0;
}

export function hashText(hash: number): string {
  return (hash >>> 0).toString(16).padStart(8, '0');
}

/** Byte number `offset` of every download. */
export function patternByte(offset: number): number {
  const word = Math.imul(Math.floor(offset / 4), 0x9e3779b1);
  return (word >>> (8 * (offset % 4))) & 0xff;
}

/** Position within `bytes` of the first byte that is not as it has to be, or -1. `offset` is that of the first byte. */
export function firstWrongByte(bytes: Uint8Array, offset: number): number {
  return bytes.findIndex((byte, position) => byte !== patternByte(offset + position));
}
