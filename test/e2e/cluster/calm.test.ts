// A small form of `npm run bench -- calm`: a healthy pair in bad times, where nobody may touch it. Half a minute of storm (processors taken,
// daemons that stand still for a moment, lost frames), and then all hosts lost to the leader at once.

import { availableParallelism } from 'node:os';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { members } from '../../../deploy/lab/plan.js';
import { monoMs } from '../../../deploy/lab/probes.js';
import { startProber, type Prober } from '../../../deploy/lab/prober.js';
import { actsFor } from '../../bench/calm/acts.js';
import { keptQuiet, type Watched } from '../../bench/calm/quiet.js';
import { endChapter, startClient } from '../../bench/faults/chapter.js';
import { untilMono } from '../../bench/outages/outage.js';
import { Told } from '../../bench/told.js';
import { openEye } from '../../bench/watch/eye.js';
import { pairNow } from '../../bench/watch/vigil.js';
import { Rng } from '../../sim/world/rng.js';
import { loseFrames, pauseAtRandom, takeProcessors } from '../../support/troubles.js';
import { missing, useCluster, VM } from './stage.js';

const STORM_MS = 20_000;
const SEED = 1;
const PAUSES = { pauseMs: 200, calmMs: 1_500 };
const LOSS_PERCENT = 5;
const BLIND_SECONDS = 5;
const RIGHT_MS = 60_000;
/** What the bench does for longer, and what faults.test.ts does, is left to them. */
const ACTS = actsFor(BLIND_SECONDS, BLIND_SECONDS).filter(
  (act) => act.what.startsWith('no agent heard') || act.what === 'all agents stopped',
);

const why = missing();
if (why !== null) console.warn(`skipped: ${why}`);

describe.skipIf(why !== null)('a healthy pair', () => {
  const cluster = useCluster(import.meta.url);
  let watched: Watched;
  let clock: Prober;
  let told: Told;

  beforeAll(async () => {
    const plan = cluster();
    told = new Told(plan);
    await pairNow(plan, told, VM);
    const client = await startClient(plan);
    clock = startProber(plan, { probe: 'read', periodMs: 1_000, reconnect: true });
    watched = { plan, client, clock, signal: new AbortController().signal };
  });
  afterAll(() => told.close());

  it('whose hosts have no processor left, lose frames, and whose daemons stand still at random -> stays', async () => {
    const plan = cluster();
    const daemons = [
      ...plan.hosts.map((host) => ({ host, daemon: 'agent' as const })),
      ...members(plan).map((host) => ({ host, daemon: 'coordinator' as const })),
    ];
    const seen = await keptQuiet(watched, await pairNow(plan, told, VM), async () => {
      const free = await takeProcessors(plan.hosts, availableParallelism());
      const loss = await loseFrames(plan, LOSS_PERCENT);
      const pausing = pauseAtRandom(plan, daemons, { ...PAUSES, rng: new Rng(SEED) });
      await untilMono(monoMs() + STORM_MS, watched.signal);
      await pausing.stop();
      const { seen: frames, dropped } = await loss.counts();
      await loss.stop();
      await free();
      console.log(`${pausing.lastedMs.length} pauses, ${dropped} of ${frames} frames dropped`);
      expect(pausing.lastedMs.length).toBeGreaterThan(0);
      expect(dropped).toBeGreaterThan(0);
    });
    console.log(`doubts: ${JSON.stringify(seen.suspicions)}, client waited ${Math.round(seen.gapMs)} ms`);
    expect(seen.wrong).toEqual([]);
  });

  it.each(ACTS)('of which the leader hears nothing: $what for $seconds s -> stays, and the status is right afterwards', async (act) => {
    const plan = cluster();
    const pair = await pairNow(plan, told, VM);
    const eye = openEye(plan, () => pair);
    try {
      await eye.until('status in which all is right', monoMs(), RIGHT_MS, (look) => look.right);
      const seen = await keptQuiet(watched, pair, async () => {
        const undo = await act.begin(plan, pair, (await told.leader()) ?? '');
        await untilMono(monoMs() + act.seconds * 1_000, watched.signal).finally(undo);
        await eye.until('status that is right again', monoMs(), RIGHT_MS, (look) => look.right);
      });
      console.log(`${act.what}: doubts: ${JSON.stringify(seen.suspicions)}, client waited ${Math.round(seen.gapMs)} ms`);
      expect(seen.wrong).toEqual([]);
    } finally {
      await eye.stop();
    }
  });

  it('after all of it -> one connection, no counter missing, every acknowledged record on the disk', async () => {
    await clock.stop();
    const end = await endChapter(cluster(), VM, watched.client);
    expect(end.problems).toEqual([]);
  });
});
