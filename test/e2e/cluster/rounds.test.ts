// One guest whose primary and secondary are killed in turn, six times, under every kind of traffic that a client can have. In the end its
// disk is read without a guest.

import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { readRecords } from '../../../deploy/lab/disk-records.js';
import { summarise, untoldCounters } from '../../../deploy/lab/probe-analysis.js';
import { startProber, type Prober } from '../../../deploy/lab/prober.js';
import { killSide, sideOf, type Role } from '../../../deploy/lab/sides.js';
import { ANSWER_MS, historyOf, hostNamed, order, PROTECT_MS, untilPhase, vmOf } from './cluster.js';
import { missing, useCluster, VM } from './stage.js';
import { lostRecords, reportOf, stopAll, tableOf, troubles, withoutHandshakes, type KindReport } from './traffic.js';
import type { ProbeLine } from '../../../deploy/lab/probe-log.js';

const ROUNDS = 6;
/** From the blow to protected again; measured are 3 to 10 s on a machine that does nothing else. */
const AGAIN_MS = 90_000;
/** So many answers before and after each blow, so that its gap has an edge on both sides. */
const CALM_ANSWERS = 40;
const BULK_BYTES = 64 * 1024;

const why = missing();
if (why !== null) console.warn(`skipped: ${why}`);

describe.skipIf(why !== null)('one guest under traffic', () => {
  const cluster = useCluster(import.meta.url);
  const probers: Prober[] = [];
  const logs: (readonly ProbeLine[])[] = [];
  afterAll(() => stopAll(probers));

  it(`whose primary and secondary are killed in turn, ${ROUNDS} times -> keeps its connection and all that it acknowledged`, async () => {
    const plan = cluster();
    await untilPhase(plan, VM, 'protected', PROTECT_MS);
    const early = startProber(plan, { probe: 'closed-loop' });
    const fresh = startProber(plan, { probe: 'new-connection', periodMs: 100, reconnect: true });
    probers.push(early, fresh);
    await early.waitForMore(CALM_ANSWERS, ANSWER_MS);
    const deathsOfPrimaries: number[] = [];
    for (let round = 0; round < ROUNDS; round += 1) {
      const role: Role = round % 2 === 0 ? 'primary' : 'secondary';
      const before = await untilPhase(plan, VM, 'protected', PROTECT_MS);
      // New ones each round, so that one that an earlier blow has wedged does not hide what this blow does.
      const bulk = (['upload', 'download'] as const).map((probe) => ({
        probe,
        prober: startProber(plan, { probe, bytes: BULK_BYTES, periodMs: 100 }),
      }));
      // Queries that the guest itself begins: no two sides ask from one port, so each waits for a checkpoint.
      const queries = startProber(plan, { probe: 'dns', periodMs: 100 });
      probers.push(...bulk.map((each) => each.prober), queries);
      await queries.waitForMore(2, ANSWER_MS);
      for (const { prober } of bulk) await prober.waitForMore(2, ANSWER_MS);
      await early.waitForMore(CALM_ANSWERS, ANSWER_MS);
      const blow = killSide(await sideOf(plan, VM, role));
      if (role === 'primary') deathsOfPrimaries.push(blow.monoMs);
      await early.waitForMore(CALM_ANSWERS, ANSWER_MS);
      await fresh.waitForMore(5, ANSWER_MS);
      await untilPhase(plan, VM, 'protected', AGAIN_MS, before.epoch);
      const againMs = Number(process.hrtime.bigint()) / 1e6 - blow.monoMs;
      await early.waitForMore(CALM_ANSWERS, ANSWER_MS);
      await fresh.waitForMore(5, ANSWER_MS);
      const reports: KindReport[] = [
        reportOf('closed loop', early.lines(), blow.monoMs),
        reportOf(
          'new connections',
          fresh.lines().filter((line) => 'monoMs' in line && line.monoMs > blow.monoMs - 5_000),
          blow.monoMs,
        ),
      ];
      await queries.waitForMore(2, ANSWER_MS);
      reports.push(reportOf('guest queries', await queries.stop(), blow.monoMs));
      for (const { probe, prober } of bulk) reports.push(reportOf(probe, await prober.stop(), blow.monoMs));
      const history = await historyOf(plan, VM, before.epoch);
      const rows = history.map((entry) => entry.row);
      console.log(
        tableOf(
          `round ${round + 1}: ${role} on ${blow.side.host} killed, protected again after ${(againMs / 1000).toFixed(1)} s (${rows.join(', ')})`,
          reports,
        ),
      );
      const survivor = blow.side.host === before.primary ? before.secondary : before.primary;
      expect(history.findLast((entry) => entry.to === 'verdict')?.primary).toBe(survivor);
    }
    const [loop, connections] = [await early.stop(), await fresh.stop()];
    logs.push(loop, connections);
    expect(troubles(loop, { counters: false })).toEqual([]);
    expect(loop.filter((line) => line.kind === 'connected')).toHaveLength(1);
    const [established, handshakesMs] = withoutHandshakes(connections, deathsOfPrimaries);
    for (const ms of handshakesMs) console.log(`a connection made ${ms.toFixed(0)} ms before the death of the primary got no answer`);
    expect(handshakesMs.length).toBeLessThanOrEqual(deathsOfPrimaries.length);
    expect(troubles(established, { counters: false })).toEqual([]);
    // No counter is lost between the two clients, but for the request that was under way when its prober was stopped.
    expect(untoldCounters(logs, summarise(loop).boots[0] ?? '').length).toBeLessThanOrEqual(1);
  });

  it('that is stopped then -> has every acknowledged record on the disk that the record names', async () => {
    const plan = cluster();
    await order(plan, ['vm', 'stop', VM, '--wait', '--timeout', '120s'], 130_000);
    const disk = (await vmOf(plan, VM))?.disk ?? null;
    expect(disk).toEqual({ host: expect.any(String) as string, state: 'clean' });
    const image = join(hostNamed(plan, disk?.host ?? null).agentStateDir, 'vms', VM, 'disk0.raw');
    const records = await readRecords(image);
    console.log(`${records.filter((each) => each !== null).length} records on the disk of ${disk?.host ?? '?'}`);
    expect(logs).toHaveLength(2);
    expect(lostRecords(records, logs)).toEqual([]);
  });
});
