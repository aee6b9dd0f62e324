// What a heartbeat's seal is made of: a datagram is the text, and for each key that the host has a newline and the HMAC of the text in hex. It is
// heard when one of its seals is right by one of the receiver's keys. So a key is replaced without a heartbeat lost: first every host gets
// the new one beside the old one, then the old one goes. The HMAC itself is done by whoever calls.

/** A datagram with so many seals still fits into one Ethernet frame. */
export const MOST_KEYS = 4;
const SEAL_DIGITS = 64;

export type Seal = (key: Uint8Array, text: string) => string;
export type SameSeal = (one: string, other: string) => boolean;

/**
 * Keys from their file: one a line, each with the end of its line as `coloctl cluster init` writes it. A file that is no text is one key as it is.
 * The text is what is wrong with the file.
 */
export function keysFrom(bytes: Uint8Array): readonly Uint8Array[] | string {
  if (bytes.length === 0) return 'is empty';
  const lines = linesOf(bytes);
  const isText = lines.every((line) => line.every((byte) => byte === 0x0a || byte === 0x0d || (byte > 0x20 && byte < 0x7f)));
  if (!isText) return [bytes];
  const keys = lines.filter((line) => line.some((byte) => byte > 0x20));
  if (keys.length === 0) return 'is empty';
  return keys.length > MOST_KEYS ? `has ${keys.length} keys; at most ${MOST_KEYS}` : keys;
}

export function closeDatagram(text: string, keys: readonly Uint8Array[], seal: Seal): string {
  return [text, ...keys.map((key) => seal(key, text))].join('\n');
}

/** Null = not to be heard. Without keys everything is, sealed or not. */
export function openDatagram(datagram: string, keys: readonly Uint8Array[], seal: Seal, same: SameSeal): string | null {
  const [text = '', ...given] = datagram.split('\n');
  if (keys.length === 0) return text;
  if (given.length > MOST_KEYS) return null;
  const right = keys.map((key) => seal(key, text));
  return given.some((each) => right.some((one) => same(each, one))) ? text : null;
}

export function longestDatagram(textBytes: number): number {
  return textBytes + MOST_KEYS * (SEAL_DIGITS + 1);
}

function linesOf(bytes: Uint8Array): readonly Uint8Array[] {
  const lines: Uint8Array[] = [];
  for (let from = 0; from < bytes.length;) {
    const end = bytes.indexOf(0x0a, from);
    const to = end === -1 ? bytes.length : end + 1;
    lines.push(bytes.subarray(from, to));
    from = to;
  }
  return lines;
}
