// A small form of `npm run bench -- outages`: etcd loses its leader, its majority, and its majority while a side dies. Nobody touches a healthy
// pair, the status says what is, and all goes on by itself when etcd answers again. All of etcd stopped and killed is in control-plane.test.ts.

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startProber, type Prober } from '../../../deploy/lab/prober.js';
import { endChapter, startClient } from '../../bench/faults/chapter.js';
import { faultInOutage } from '../../bench/outages/fault.js';
import { oneOutage, type Stage } from '../../bench/outages/outage.js';
import { nameOfOutage, type Manner, type OutageKind } from '../../bench/outages/table.js';
import { Told } from '../../bench/told.js';
import { openEye } from '../../bench/watch/eye.js';
import type { PairSeen } from '../../bench/watch/pair.js';
import { openReads } from '../../bench/watch/reads.js';
import { pairNow } from '../../bench/watch/vigil.js';
import { missing, useCluster, VM } from './stage.js';

const SECONDS = 6;
const OUTAGES: readonly OutageKind[] = [
  { struck: 'the leader', manner: 'SIGSTOP' },
  { struck: 'the majority', manner: 'killed' },
];

const why = missing();
if (why !== null) console.warn(`skipped: ${why}`);

describe.skipIf(why !== null)('a protected pair beside an etcd', () => {
  const cluster = useCluster(import.meta.url);
  let stage: Stage;
  let clock: Prober;

  beforeAll(async () => {
    const plan = cluster();
    const told = new Told(plan);
    let pair: PairSeen = await pairNow(plan, told, VM);
    const client = await startClient(plan);
    clock = startProber(plan, { probe: 'read', periodMs: 1_000, reconnect: true });
    const eye = openEye(plan, () => pair);
    const reads = openReads(plan);
    stage = { plan, vm: VM, client, clock, told, reads, eye, expect: (next) => (pair = next), signal: new AbortController().signal };
  });

  afterAll(async () => {
    await Promise.all([stage.eye.stop(), stage.reads.stop()]);
    stage.told.close();
  });

  it.each(OUTAGES)('that loses $struck ($manner) -> stays, and all is right within 2 s of the return', async (kind) => {
    const seen = await oneOutage(stage, kind, SECONDS, 0);
    console.log(
      `${nameOfOutage(kind)}: said so after ${Math.round(seen.noticedMs)} ms, right ${Math.round(seen.rightMs)} ms after the return, client waited ${Math.round(seen.gapMs)} ms`,
    );
    expect(seen.wrong).toEqual([]);
  });

  it('whose majority is stopped while the primary dies -> is let go by one verdict, when the quorum is back and not before', async () => {
    const manner: Manner = 'SIGSTOP';
    const seen = await faultInOutage(stage, 'primary killed', manner, SECONDS, 0);
    console.log(`primary killed: verdict ${Math.round(seen.verdictMs)} ms, alone ${Math.round(seen.aloneMs)} ms after the quorum's return`);
    expect(seen.wrong).toEqual([]);
  });

  it('after all of them -> one connection, no counter missing, every acknowledged record on the disk', async () => {
    await clock.stop();
    const end = await endChapter(cluster(), VM, stage.client);
    expect(end.problems).toEqual([]);
  });
});
