// The tiny guest's words and its records on disk, as the client's side reads them.

import { describe, expect, it } from 'vitest';
import { missingCounters, parseRecord, type DiskRecord } from '../../../deploy/lab/disk-records.js';
import { firstWrongByte, HASH_START, hashOn, hashText, parseAnswer, patternByte } from '../../../deploy/lab/guest-protocol.js';

describe('an answer of the guest', () => {
  it('that is whole -> tells counter, boot, disk error and what it was asked', () => {
    expect(parseAnswer('17 0badc0de 5 some words')).toEqual({ counter: 17, boot: '0badc0de', diskErrno: 5, echo: 'some words' });
    expect(parseAnswer('1 00000000 0 ')).toEqual({ counter: 1, boot: '00000000', diskErrno: 0, echo: '' });
  });

  it.each(['', 'ok', 'stat 3 0badc0de up=1.0 wall=2.0', 'r 512 N 1 0badc0de q', '17 0badc0d 5 x', 'x 0badc0de 0 q'])(
    'that is another word: "%s" -> is none',
    (line) => {
      expect(parseAnswer(line)).toBeNull();
    },
  );
});

describe('the hash of uploads', () => {
  it('of published examples of 32-bit FNV-1a -> is what they say', () => {
    const of = (text: string): string => hashText(hashOn(HASH_START, Buffer.from(text)));
    expect([of(''), of('a'), of('foobar')]).toEqual(['811c9dc5', 'e40c292c', 'bf9cf968']);
  });

  it('taken in parts -> is that of the whole', () => {
    const bytes = Buffer.from('in two parts');
    expect(hashOn(hashOn(HASH_START, bytes.subarray(0, 5)), bytes.subarray(5))).toBe(hashOn(HASH_START, bytes));
  });
});

describe('the bytes of downloads', () => {
  it('from any offset -> are right, and a single wrong one is found where it is', () => {
    for (const offset of [0, 1, 2, 3, 4, 65_537]) {
      const bytes = Uint8Array.from({ length: 64 }, (_, position) => patternByte(offset + position));
      expect(firstWrongByte(bytes, offset)).toBe(-1);
      bytes[41] = (bytes[41] ?? 0) ^ 1;
      expect(firstWrongByte(bytes, offset)).toBe(41);
    }
  });

  it('that come shifted by one -> are wrong at once', () => {
    const bytes = Uint8Array.from({ length: 64 }, (_, position) => patternByte(position + 1));
    expect(firstWrongByte(bytes, 0)).toBeGreaterThanOrEqual(0);
  });
});

describe('records on a disk', () => {
  const slot = (text: string): Buffer => Buffer.alloc(512, 0).fill(text, 0, text.length);

  it('a slot with a record -> tells counter and boot; an empty or foreign one -> none', () => {
    expect(parseRecord(slot('N 4711 0badc0de q7\n'))).toEqual({ counter: 4711, boot: '0badc0de' });
    expect(parseRecord(Buffer.alloc(512))).toBeNull();
    expect(parseRecord(slot('M 4711 0badc0de'))).toBeNull();
    expect(parseRecord(slot('N 4711 0bad'))).toBeNull();
  });

  const record = (counter: number, boot = '0000000a'): DiskRecord => ({ counter, boot });
  const cases: readonly { readonly what: string; readonly records: readonly (DiskRecord | null)[]; readonly missing: readonly number[] }[] =
    [
      { what: 'all there', records: [null, record(1), record(2), record(3)], missing: [] },
      { what: 'one never written', records: [null, record(1), null, record(3)], missing: [2] },
      { what: 'one of another boot', records: [null, record(1), record(2, '0000000b'), record(3)], missing: [2] },
      { what: 'one in a wrong slot', records: [null, record(1), record(3), record(3)], missing: [2] },
      { what: 'a disk that ends too early', records: [null, record(1)], missing: [2, 3] },
    ];
  it.each(cases)('$what -> $missing are missing of 1 to 3', ({ records, missing }) => {
    expect(missingCounters(records, '0000000a', 1, 3)).toEqual(missing);
  });

  it('that have gone round the slots -> are looked for where they lie now', () => {
    const records: (DiskRecord | null)[] = [record(100_000), record(100_001)];
    expect(missingCounters(records, '0000000a', 100_000, 100_001)).toEqual([]);
    expect(missingCounters(records, '0000000a', 1, 1)).toEqual([1]);
  });
});
