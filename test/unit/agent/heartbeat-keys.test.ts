// The file of the heartbeats' keys: what is read in it, and that a file which is not whole changes nothing.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { keysFrom, MOST_KEYS } from '../../../agent/core/heartbeat-seals.js';
import { keepHeartbeatKeys } from '../../../agent/io/heartbeat-keys.js';
import { systemClock } from '../../../shared/io/clock.js';
import { fakeLog } from '../../fakes/clock.js';
import { waitFor } from '../../support/wait.js';

const cleanups: (() => void)[] = [];
afterEach(() => cleanups.splice(0).forEach((each) => each()));

describe('a file of keys', () => {
  it.each<[what: string, text: string, keys: readonly string[] | string]>([
    ['with one line', 'abc\n', ['abc\n']],
    ['with two lines', 'new\nold\n', ['new\n', 'old\n']],
    ['without the end of its line', 'abc', ['abc']],
    ['with empty lines', '\nabc\n\n', ['abc\n']],
    ['that is no text', 'a\n\x00b\n', ['a\n\x00b\n']],
    ['that is empty', '', 'is empty'],
    ['of nothing but lines', '\n\n', 'is empty'],
    ['with too many', 'k\n'.repeat(MOST_KEYS + 1), 'has 5 keys; at most 4'],
  ])('%s -> its keys, or what is wrong', (_what, text, keys) => {
    const found = keysFrom(Buffer.from(text));
    expect(typeof found === 'string' ? found : found.map((key) => Buffer.from(key).toString())).toEqual(keys);
  });
});

describe('the keeper of the keys', () => {
  it('whose file changes -> takes up what is whole, keeps the old ones while it is not, and says so once', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'heartbeat-keys-'));
    cleanups.push(() => rmSync(folder, { recursive: true }));
    const file = join(folder, 'heartbeat.key');
    const log = fakeLog();
    const ports = { clock: systemClock(), log };
    expect(keepHeartbeatKeys(ports, file)).toMatchObject({ ok: false });
    writeFileSync(file, 'old\n');
    const kept = keepHeartbeatKeys(ports, file, 5);
    if (!kept.ok) throw new Error(kept.error);
    cleanups.push(() => kept.value.close());
    const texts = (): string =>
      kept.value
        .current()
        .map((key) => Buffer.from(key).toString())
        .join('');
    const events = (event: string): number => log.lines.filter((line) => line.event === event).length;

    writeFileSync(file, '');
    await waitFor(() => events('heartbeat-keys-refused') > 0, { what: 'the refusal', boundMs: 5_000, everyMs: 5 });
    expect(texts()).toBe('old\n');
    writeFileSync(file, 'new\nold\n');
    await waitFor(() => texts() === 'new\nold\n', { what: 'the new keys', boundMs: 5_000, everyMs: 5 });
    expect(kept.value.ids()).toHaveLength(2);
    expect([events('heartbeat-keys-refused'), events('heartbeat-keys-changed')]).toEqual([1, 1]);
    expect(JSON.stringify(log.lines)).not.toMatch(/new|old/);
  });
});
