// One strike of each kind of the table of faults that no other file strikes, on one cluster under one client: the right side goes on, by
// one verdict, and all is well again afterwards. How soon is a matter of `npm run bench -- faults`, on a machine that does nothing else.

import { describe, expect, it } from 'vitest';
import { endChapter, startClient } from '../../bench/faults/chapter.js';
import { strikeOnce } from '../../bench/faults/strike.js';
import { ALL_CLASSES, nameOf, type FaultName, type Place } from '../../bench/faults/table.js';
import type { Prober } from '../../../deploy/lab/prober.js';
import type { Role } from '../../../deploy/lab/sides.js';
import { missing, useCluster, VM } from '../cluster/stage.js';

const STRIKE_MS = 120_000;

/** Killed and stopped QEMUs, dark hosts and a cut link are struck under capture by the tests of the cluster. */
const STRIKES: readonly (readonly [FaultName, Role | null, Place])[] = [
  ['host dark', 'primary', 'both'],
  ['replication cut one way, out', 'primary', 'elsewhere'],
  ['both links cut', 'primary', 'elsewhere'],
  ['agent SIGSTOP', 'secondary', 'elsewhere'],
  ['management link cut', 'primary', 'coordinator'],
  ['guest network cut', 'primary', 'elsewhere'],
  ['coordinator leader SIGSTOP', null, 'elsewhere'],
];

const why = missing();
if (why !== null) console.warn(`skipped: ${why}`);

describe.skipIf(why !== null)('a protected VM and its client', () => {
  const cluster = useCluster(import.meta.url);
  let client: Prober | null = null;

  it.each(STRIKES)(
    '%s (%s, leaders: %s) -> the right side goes on, once, and all is well again',
    async (fault, role, place) => {
      const found = ALL_CLASSES.find((each) => each.fault === fault && each.role === role && each.place === place);
      if (found === undefined) throw new Error(`no such class: ${fault}, ${role ?? '-'}, ${place}`);
      client ??= await startClient(cluster());
      const struck = await strikeOnce({ plan: cluster(), vm: VM, client, signal: new AbortController().signal }, found);
      console.log(`${nameOf(found)}: ${JSON.stringify(struck.timeline)}, gap ${Math.round(struck.gapMs)} ms`);
      expect(struck.wrong).toEqual([]);
    },
    STRIKE_MS,
  );

  it('after all of them -> one connection, no counter missing, every acknowledged record on the disk', async () => {
    if (client === null) throw new Error('no client was started');
    const end = await endChapter(cluster(), VM, client);
    console.log(`${end.answers} answers, ${end.records} records looked for`);
    expect(end.problems).toEqual([]);
  });
});
