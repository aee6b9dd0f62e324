// The journal's files: safe after each write, whatever a crash leaves of the last one.

import { mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openJournals } from '../../../agent/io/journal.js';
import { SlotFile } from '../../../agent/io/slot-file.js';
import { epoch } from '../../../shared/core/ids.js';
import { fakeLog, fakeRandom } from '../../fakes/clock.js';
import { aJournal } from './builders.js';

describe('a journal on disk', () => {
  let folder: string;
  const path = (ending: string): string => join(folder, `vms/web/journal.${ending}.json`);
  const open = () => openJournals(folder, fakeRandom(), fakeLog());

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'colo-journal-'));
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  async function written(count: number): Promise<void> {
    const { store } = await open();
    for (let k = 1; k <= count; k += 1) expect(await store.saveVm(aJournal({ epoch: epoch(k) }))).toEqual({ ok: true, value: null });
  }

  it.each([1, 2, 3, 8])('written %i times -> gives the last', async (count) => {
    await written(count);
    expect((await open()).vms).toEqual([aJournal({ epoch: epoch(count) })]);
  });

  it('-> keeps the id of its host', async () => {
    const { agent } = await open();
    expect((await openJournals(folder, fakeRandom(9), fakeLog())).agent).toEqual(agent);
  });

  it.each([
    ['torn in its middle', (file: string) => truncateSync(file, 20)],
    ['with a flipped byte', (file: string) => writeFileSync(file, readFileSync(file, 'utf8').replace('"term":5', '"term":6'))],
    ['with the end of an older one', (file: string) => writeFileSync(file, `{"sequence":9}${readFileSync(file, 'utf8').slice(14)}`)],
  ])('whose last write is %s -> gives the one before', async (_what, breakIt) => {
    await written(3);
    breakIt(path('b'));
    expect((await open()).vms).toEqual([aJournal({ epoch: epoch(2) })]);
  });

  it('of which nothing is whole -> is none, and is put aside', async () => {
    await written(2);
    for (const ending of ['a', 'b']) writeFileSync(path(ending), 'x');
    expect((await open()).vms).toEqual([]);
    expect(statSync(`${path('a')}.broken`).isFile()).toBe(true);
  });

  it('after a crash and a new start -> goes on without losing what it has', async () => {
    await written(3);
    truncateSync(path('b'), 10);
    const { store } = await open();
    await store.saveVm(aJournal({ epoch: epoch(9) }));
    expect((await open()).vms).toEqual([aJournal({ epoch: epoch(9) })]);
  });

  it('that grows and shrinks -> stays readable', async () => {
    const file = new SlotFile(join(folder, 'value'));
    for (const length of [10, 40_000, 10, 10, 20_000, 5]) {
      await file.write('x'.repeat(length));
      expect(new SlotFile(join(folder, 'value')).read().value).toHaveLength(length);
    }
  });
});
