// Broken values in etcd, at every kind of key, under the real loops in virtual time. What is broken is named by its key; the VM that it is about
// is left alone and its value is not written over; every other VM is carried on as if nothing were.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readRecord, readWord } from '../../../agent/loop/store.js';
import { followStore } from '../../../coordinator/catalogue.js';
import { createStoreReader } from '../../../coordinator/io/picture.js';
import { vmRecordCodec } from '../../../shared/core/codec.js';
import type { Snapshot } from '../../../shared/ports.js';
import { fakeClock, fakeLog } from '../../fakes/clock.js';
import { fakeEtcd } from '../../fakes/store.js';
import { controlWorld, keys } from '../../support/control.js';
import { record } from '../shared/arbitrary.js';
import { cases, json, mutated, patienceMs } from './fuzz.js';

const broken = fc
  .oneof(mutated(record.map((each) => vmRecordCodec.encode(each))), json, fc.string())
  .filter((text) => !vmRecordCodec.decode('k', text).ok);

/** Of another VM, of hosts that are not there, of coordinators, and of what nobody knows. */
const PLACES = [
  keys.spec('other'),
  keys.record('other'),
  keys.record('demo/x'),
  keys.spec(''),
  keys.host('ghost'),
  keys.inventoryOf('ghost'),
  keys.member('ghost'),
  keys.historyOf('other', 'u', 3),
  `${keys.all}unheard-of`,
] as const;
const NAMED: readonly string[] = [
  keys.spec('other'),
  keys.record('other'),
  keys.host('ghost'),
  keys.inventoryOf('ghost'),
  keys.member('ghost'),
];

describe('a broken value in etcd', () => {
  it('anywhere beside a VM -> the VM starts, is protected and fails over all the same', { timeout: patienceMs }, async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(fc.constantFrom(...PLACES), broken), { minLength: 1, maxLength: 4 }), async (values) => {
        const world = controlWorld();
        try {
          for (const [key, text] of values) world.etcd.put(key, text);
          world.define();
          await world.phase('protected');
          const primary = world.record()?.primary?.host ?? '';
          world.agents.host(primary).killQemu('demo');
          await world.phase('solo');
          await world.phase('protected');
          expect(world.record()?.primary?.host).not.toBe(primary);
          // Nobody has "mended" what was not understood.
          for (const [key, text] of new Map(values)) expect(world.etcd.read(key)?.value).toBe(text);
        } finally {
          world.close();
        }
      }),
      cases(15),
    );
  });

  it(
    'in the place of its own record -> nothing is ordered, nothing written over, and all goes on when it is whole again',
    { timeout: patienceMs },
    async () => {
      await fc.assert(
        fc.asyncProperty(broken, async (text) => {
          const world = controlWorld();
          try {
            world.define();
            await world.phase('protected');
            const whole = world.etcd.read(keys.record('demo'))?.value ?? '';
            const orders = (): number => world.agents.host('host1').orders.length + world.agents.host('host2').orders.length;
            world.etcd.put(keys.record('demo'), text);
            await world.clock.advance(200);
            const before = orders();
            world.agents.host('host1').killQemu('demo');
            await world.clock.advance(10_000);
            expect(world.etcd.read(keys.record('demo'))?.value).toBe(text);
            expect(orders()).toBe(before);
            world.etcd.put(keys.record('demo'), whole);
            await world.phase('solo');
            await world.phase('protected');
            expect(world.record()?.primary?.host).toBe('host2');
          } finally {
            world.close();
          }
        }),
        cases(10),
      );
    },
  );

  it('-> is named by its key, in the log and in the status', { timeout: patienceMs }, async () => {
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...NAMED), broken, async (key, text) => {
        const clock = fakeClock();
        const etcd = fakeEtcd(clock);
        const log = fakeLog();
        const store = etcd.connect();
        const catalogue = followStore({ clock, store, log }, keys, { changed: () => undefined });
        etcd.put(key, text);
        await clock.advance(100);
        const snapshot: Snapshot = catalogue.snapshot() ?? { revision: 0, keys: new Map() };
        expect(createStoreReader(keys).read(snapshot).unreadable).toEqual([expect.stringMatching(`^${key}: `)]);
        if (key !== keys.member('ghost'))
          expect(log.lines).toContainEqual(
            expect.objectContaining({ event: 'value-unreadable', fields: expect.objectContaining({ key }) as object }),
          );
        catalogue.close();
      }),
      cases(60),
    );
  });

  it('that an agent asks for -> no answer, with the key, and never "there is none"', { timeout: patienceMs }, async () => {
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(keys.record('demo'), keys.cluster), broken, async (key, text) => {
        const clock = fakeClock();
        const etcd = fakeEtcd(clock);
        etcd.put(key, text);
        const ask = key === keys.cluster ? readWord(etcd.connect(), keys, 'demo') : readRecord(etcd.connect(), keys, 'demo');
        await clock.advance(100);
        expect(await ask).toMatchObject({ ok: false, error: expect.stringMatching(`^${key}: `) as string });
      }),
      cases(60),
    );
  });
});
