// The wire form of QMP: one JSON object a line. Cutting bytes into lines with a bound, and telling the kinds of message apart; no socket.

import type { Json, JsonObject } from '../core/procedures/port.js';

/** query-named-block-nodes of a VM with many disks has some 100 KiB; nothing that QEMU says comes near this. */
export const MAX_LINE_BYTES = 16 * 1024 * 1024;

const NEWLINE = 0x0a;

/** Collects bytes until lines are whole. Lines may come in pieces, or many at once. */
export class LineSplitter {
  readonly #maxLineBytes: number;
  #parts: Buffer[] = [];
  #bytes = 0;

  constructor(maxLineBytes: number) {
    this.#maxLineBytes = maxLineBytes;
  }

  /** The lines that this chunk completes, without their ends; `overflow` once a line is longer than the bound. */
  push(chunk: Buffer): { readonly lines: readonly string[]; readonly overflow: boolean } {
    const lines: string[] = [];
    let from = 0;
    for (let end = chunk.indexOf(NEWLINE, from); end !== -1; end = chunk.indexOf(NEWLINE, from)) {
      this.#keep(chunk.subarray(from, end));
      if (this.#bytes > this.#maxLineBytes) return { lines, overflow: true };
      lines.push(Buffer.concat(this.#parts).toString('utf8').trimEnd());
      this.#parts = [];
      this.#bytes = 0;
      from = end + 1;
    }
    this.#keep(chunk.subarray(from));
    return { lines, overflow: this.#bytes > this.#maxLineBytes };
  }

  #keep(part: Buffer): void {
    if (part.length === 0) return;
    this.#parts.push(part);
    this.#bytes += part.length;
  }
}

export type Message =
  /** `version` is the object of query-version; `oob` says whether the monitor offers out-of-band commands. */
  | { readonly kind: 'greeting'; readonly version: Json; readonly oob: boolean }
  | { readonly kind: 'event'; readonly name: string; readonly data: JsonObject }
  | { readonly kind: 'return'; readonly id: Json; readonly value: Json }
  | { readonly kind: 'error'; readonly id: Json; readonly errorClass: string; readonly description: string }
  | { readonly kind: 'garbage' };

/** `garbage` for everything that is not a QMP message. Never throws. */
export function parseMessage(line: string): Message {
  const object = parseObject(line);
  if (object === null) return { kind: 'garbage' };
  if ('QMP' in object) {
    const qmp = isObject(object['QMP']) ? object['QMP'] : {};
    const offered = qmp['capabilities'];
    return { kind: 'greeting', version: qmp['version'] ?? null, oob: Array.isArray(offered) && offered.includes('oob') };
  }
  if (typeof object['event'] === 'string') {
    const data = object['data'];
    return { kind: 'event', name: object['event'], data: isObject(data) ? data : {} };
  }
  const id = object['id'] ?? null;
  if ('return' in object) return { kind: 'return', id, value: object['return'] ?? null };
  const error = object['error'];
  if (isObject(error)) {
    return { kind: 'error', id, errorClass: text(error['class'], 'GenericError'), description: text(error['desc'], 'no description') };
  }
  return { kind: 'garbage' };
}

export function commandLine(command: string, args: JsonObject, id: string, oob: boolean): string {
  return `${JSON.stringify({ [oob ? 'exec-oob' : 'execute']: command, arguments: args, id })}\n`;
}

function parseObject(line: string): JsonObject | null {
  try {
    const value = JSON.parse(line) as Json;
    return isObject(value) ? value : null;
  } catch {
    return null;
  }
}

function isObject(value: Json | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function text(value: Json | undefined, otherwise: string): string {
  return typeof value === 'string' ? value : otherwise;
}
