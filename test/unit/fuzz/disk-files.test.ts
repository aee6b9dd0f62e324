// The agent's own files, after whatever a crash, a full disk or a hand has made of them: a journal is what was written or none, a stamp is
// read whole or refused by its file's name, and an agent starts all the same.

import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openJournals } from '../../../agent/io/journal.js';
import { systemDisks } from '../../../agent/io/disks.js';
import { SlotFile } from '../../../agent/io/slot-file.js';
import { diskId, epoch, vmUid } from '../../../shared/core/ids.js';
import { fakeLog, fakeRandom } from '../../fakes/clock.js';
import { aJournal } from '../agent-loop/builders.js';
import { cases, json, mutated, patienceMs } from './fuzz.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'colo-fuzz-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const WRITTEN = [1, 2, 3].map((each) => aJournal({ epoch: epoch(each) }));
const ENDINGS = ['a', 'b'] as const;

/** What became of a file: cut at a part of its length, one byte changed, mutated as text, or replaced. */
type Damage =
  | { readonly kind: 'none' }
  | { readonly kind: 'cut'; readonly part: number }
  | { readonly kind: 'byte'; readonly part: number; readonly byte: number }
  | { readonly kind: 'replaced'; readonly bytes: Uint8Array };
const part = fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true });
const damage: fc.Arbitrary<Damage> = fc.oneof(
  fc.constant({ kind: 'none' as const }),
  fc.record({ kind: fc.constant('cut' as const), part }),
  fc.record({ kind: fc.constant('byte' as const), part: part.map((each) => each / 20), byte: fc.nat(255) }),
  fc.record({
    kind: fc.constant('replaced' as const),
    bytes: fc.oneof(
      fc.uint8Array({ maxLength: 40 }),
      json.map((each) => Buffer.from(each)),
    ),
  }),
);

function apply(file: string, how: Damage): void {
  const bytes = readFileSync(file);
  switch (how.kind) {
    case 'none':
      return;
    case 'cut':
      return writeFileSync(file, bytes.subarray(0, Math.floor(how.part * bytes.length)));
    case 'byte':
      bytes[Math.floor(how.part * bytes.length)] = how.byte;
      return writeFileSync(file, bytes);
    case 'replaced':
      return writeFileSync(file, how.bytes);
  }
}

describe('journals', () => {
  it(
    'damaged in any way -> each is one that was written, or none, and an agent that starts can write again',
    { timeout: patienceMs },
    async () => {
      await fc.assert(
        fc.asyncProperty(damage, damage, damage, async (a, b, host) => {
          rmSync(folder, { recursive: true, force: true });
          const { store } = await openJournals(folder, fakeRandom(), fakeLog());
          for (const each of WRITTEN) await store.saveVm(each);
          const vm = join(folder, 'vms', WRITTEN[0]?.vm ?? '');
          for (const [k, how] of [a, b].entries()) apply(join(vm, `journal.${ENDINGS[k] ?? ''}.json`), how);
          apply(join(folder, 'host.json'), host);
          const log = fakeLog();
          const { vms, agent, store: again } = await openJournals(folder, fakeRandom(9), log);
          expect(agent.hostId).not.toBe('');
          expect(vms.length).toBeLessThanOrEqual(1);
          for (const each of vms) expect(WRITTEN).toContainEqual(each);
          // The newest is lost only if its own file was touched, and that is told of by the VM's name.
          const touched = [a, b].some((how) => how.kind !== 'none');
          if (!touched) expect(vms).toEqual([WRITTEN[2]]);
          if (vms.length === 0) expect(log.lines.some((each) => each.fields['vm'] === WRITTEN[0]?.vm)).toBe(true);
          const next = aJournal({ epoch: epoch(9) });
          expect(await again.saveVm(next)).toEqual({ ok: true, value: null });
          expect((await openJournals(folder, fakeRandom(), fakeLog())).vms).toEqual([next]);
        }),
        cases(40),
      );
    },
  );

  it.each([[null], [7], [{ format: 2, vm: 'web' }], [[]]])('whole, of %j -> of an unknown format, named, and not obeyed', async (value) => {
    mkdirSync(join(folder, 'vms/web'), { recursive: true });
    await new SlotFile(join(folder, 'vms/web/journal')).write(value);
    const log = fakeLog();
    expect((await openJournals(folder, fakeRandom(), log)).vms).toEqual([]);
    expect(log.lines).toContainEqual(
      expect.objectContaining({ event: 'journal-of-unknown-format', fields: expect.objectContaining({ vm: 'web' }) as object }),
    );
  });

  it('beside folders and files of any name -> found', async () => {
    const { store } = await openJournals(folder, fakeRandom(), fakeLog());
    await store.saveVm(aJournal());
    for (const name of ['a b', '..x', 'ünï', 'x'.repeat(200)]) mkdirSync(join(folder, 'vms', name));
    writeFileSync(join(folder, 'vms/file'), 'x');
    expect((await openJournals(folder, fakeRandom(), fakeLog())).vms).toHaveLength(1);
    expect(readdirSync(join(folder, 'vms'))).toHaveLength(6);
  });
});

describe('a stamp', () => {
  const stamp = {
    format: 1,
    uid: vmUid('u'),
    diskId: diskId('d'),
    epoch: epoch(3),
    state: 'clean',
    images: ['/i'],
    offline: false,
  } as const;

  it('damaged in any way -> read whole, or refused by the name of its file', { timeout: patienceMs }, async () => {
    const disks = systemDisks('qemu-img', folder);
    const image = join(folder, 'disk0.raw');
    writeFileSync(image, 'x');
    const text = fc.oneof({ weight: 6, arbitrary: mutated(fc.constant(JSON.stringify(stamp))) }, json, fc.string());
    await fc.assert(
      fc.asyncProperty(text, async (written) => {
        writeFileSync(`${image}.colo-stamp`, written);
        const seen = await disks.look(image);
        if (!seen.ok) {
          expect(seen.error).toMatch(/^\S+disk0\.raw\.colo-stamp /);
          return;
        }
        if (seen.value.kind !== 'present' || seen.value.stamp === null) throw new Error('the image has a stamp');
        const { uid, diskId: disk, epoch: since, state, images, offline } = seen.value.stamp;
        expect([typeof uid, typeof disk, typeof since, typeof offline]).toEqual(['string', 'string', 'number', 'boolean']);
        expect(['clean', 'merging', 'stale']).toContain(state);
        expect(images.every((each) => typeof each === 'string')).toBe(true);
      }),
      cases(200),
    );
  });
});
