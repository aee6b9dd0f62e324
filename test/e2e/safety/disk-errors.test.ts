// SAFETY 1: QEMU tells the guest of success when one of two copies of a write has failed. So it is the agents that must notice: a disk that
// fails or is full, on either side, ends the pair; the side whose disk is whole goes on, and nothing that was acknowledged is lost.

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readRecords } from '../../../deploy/lab/disk-records.js';
import { bringUpVm } from '../../../deploy/lab/lab.js';
import type { ProbeLine } from '../../../deploy/lab/probe-log.js';
import { pauseDaemon, resumeDaemon } from '../../../deploy/lab/processes.js';
import { startProber, type Prober } from '../../../deploy/lab/prober.js';
import { killSide, sideOf } from '../../../deploy/lab/sides.js';
import { ANSWER_MS, BOOT_MS, historyOf, hostNamed, order, PROTECT_MS, untilPhase, vmOf } from '../cluster/cluster.js';
import { ask } from '../cluster/guest.js';
import { missing, QEMU, useCluster, VM } from '../cluster/stage.js';
import { lostRecords, stopAll, troubles } from '../cluster/traffic.js';
import { waitFor } from '../../support/wait.js';
import { HostDisks, IMAGE, imagesFolder } from './disks.js';

const CALM_ANSWERS = 40;
const VERDICT_MS = 60_000;
const UP_MS = 400_000;
/** What the guest writes while space is being taken away must not be in the part that is: of a guest that runs alone there is no other copy. */
const RECORDS_MEANWHILE = 40;
/** Record N is at 1 MiB + N * 512. */
const RECORDS_AT = 1024 * 1024;
const RECORD_BYTES = 512;

const why = missing();
if (why !== null) console.warn(`skipped: ${why}`);

describe.skipIf(why !== null)('a disk', () => {
  const cluster = useCluster(import.meta.url, { vm: false });
  let disks: readonly HostDisks[] = [];
  let client: Prober | null = null;
  let lines: readonly ProbeLine[] = [];

  beforeAll(async () => {
    const plan = cluster();
    disks = plan.hosts.map((host, index) => new HostDisks(plan, host, index === 0 ? 'failing' : 'full'));
    for (const each of disks) await each.raise();
    const report = (line: string): void => console.log(line);
    const keys = { disks: [{ size: '64M', path: `${imagesFolder(plan)}/${IMAGE}` }], hosts: plan.hosts.map((host) => host.name) };
    await bringUpVm(plan, VM, { qemu: QEMU, report, keys });
    client = startProber(plan, { probe: 'closed-loop' });
  }, UP_MS);

  afterAll(async () => {
    await stopAll([client]);
    for (const each of disks) await each.strike();
  });

  const prober = (): Prober => {
    if (client === null) throw new Error('there is no client');
    return client;
  };
  const disksOf = (host: string | null): HostDisks => {
    const found = disks.find((each) => each.host.name === host);
    if (found === undefined) throw new Error(`no host ${host ?? '(none)'}`);
    return found;
  };
  const lastCounter = (): number =>
    Math.max(
      0,
      ...prober()
        .lines()
        .map((line) => (line.kind === 'answer' ? line.counter : 0)),
    );

  /** Where on the disk the guest will write soon. */
  const nextRecords = (): number => RECORDS_AT + (lastCounter() + RECORDS_MEANWHILE) * RECORD_BYTES;

  /** Strikes a protected pair and gives the verdict that follows. */
  async function strike(blow: (primary: HostDisks, secondary: HostDisks) => Promise<void>) {
    const plan = cluster();
    const before = await untilPhase(plan, VM, 'protected', PROTECT_MS);
    await prober().waitForMore(CALM_ANSWERS, ANSWER_MS);
    const began = performance.now();
    await blow(disksOf(before.primary), disksOf(before.secondary));
    const verdict = await waitFor(async () => (await historyOf(plan, VM, before.epoch)).find((each) => each.to === 'verdict'), {
      what: 'a verdict',
      boundMs: VERDICT_MS,
    });
    console.log(`${verdict.row} within ${Math.round(performance.now() - began)} ms: ${verdict.evidence.join('; ')}`);
    return { before, verdict };
  }

  /** The pair that was made after a blow is worth nothing if its secondary lacks what was acknowledged before it. */
  async function killPrimary(aboveEpoch: number): Promise<void> {
    const plan = cluster();
    const before = await untilPhase(plan, VM, 'protected', PROTECT_MS, aboveEpoch);
    await prober().waitForMore(CALM_ANSWERS, ANSWER_MS);
    killSide(await sideOf(plan, VM, 'primary'));
    await untilPhase(plan, VM, 'protected', PROTECT_MS, before.epoch);
    await prober().waitForMore(CALM_ANSWERS, ANSWER_MS);
    expect(troubles(prober().lines(), { counters: true })).toEqual([]);
  }

  it('that fails under the primary -> the secondary goes on', async () => {
    const { before, verdict } = await strike((primary) => primary.failDevice());
    expect(verdict).toMatchObject({ row: 'primary-disk-lost', primary: before.secondary });
    await killPrimary(before.epoch);
  });

  it('that is full under the primary -> the secondary goes on', async () => {
    let struck: HostDisks | null = null;
    const { before, verdict } = await strike((primary) => {
      struck = primary;
      return primary.fillImages(nextRecords());
    });
    expect(verdict).toMatchObject({ row: 'primary-disk-lost', primary: before.secondary });
    (struck as HostDisks | null)?.freeImages();
    await killPrimary(before.epoch);
  });

  it('that is full under the secondary -> the primary goes on, and that secondary is never promoted', async () => {
    let struck: HostDisks | null = null;
    const { before, verdict } = await strike((_, secondary) => {
      struck = secondary;
      return secondary.fillImages(nextRecords());
    });
    expect(verdict.primary).toBe(before.primary);
    expect(['pair-broken', 'secondary-disk-lost']).toContain(verdict.row);
    (struck as HostDisks | null)?.freeImages();
    await killPrimary(before.epoch);
  });

  it("that has no room for the secondary's overlays -> the primary goes on, and that host is no spare until it has room", async () => {
    const plan = cluster();
    const { before, verdict } = await strike((_, secondary) => secondary.fillFolders());
    expect(verdict.primary).toBe(before.primary);
    expect(['pair-broken', 'secondary-disk-lost']).toContain(verdict.row);
    // The third host is the one whose device has failed, so there is no other.
    await waitFor(async () => /enough bytes free|attempt \d+ failed/.test((await vmOf(plan, VM))?.reason ?? ''), {
      what: 'the reason why it is not protected',
      boundMs: VERDICT_MS,
    });
    disksOf(before.secondary).freeFolders();
    await killPrimary(before.epoch);
  });

  it('that is full under a guest that runs alone -> it stands still, status says why, and it goes on when there is room', async () => {
    const plan = cluster();
    await order(plan, ['vm', 'unprotect', VM]);
    const alone = await untilPhase(plan, VM, 'solo', PROTECT_MS);
    await prober().waitForMore(CALM_ANSWERS, ANSWER_MS);
    const struck = disksOf(alone.primary);
    await struck.fillImages(nextRecords());
    const reason = await waitFor(async () => /stands still.*/.exec((await vmOf(plan, VM))?.reason ?? '')?.[0], {
      what: 'the reason why the guest does not answer',
      boundMs: VERDICT_MS,
    });
    console.log(reason);
    struck.freeImages();
    const freed = performance.now();
    await prober().waitForMore(CALM_ANSWERS, ANSWER_MS);
    console.log(`goes on ${Math.round(performance.now() - freed)} ms after there was room, ${CALM_ANSWERS} answers later`);
    expect(troubles(prober().lines(), { counters: true })).toEqual([]);
    expect(await vmOf(plan, VM)).toMatchObject({ phase: 'solo', primary: alone.primary });
  });

  it('that the record names after all this -> has every acknowledged record', async () => {
    const plan = cluster();
    lines = await prober().stop();
    client = null;
    await order(plan, ['vm', 'stop', VM, '--wait', '--timeout', '120s'], 130_000);
    const disk = (await vmOf(plan, VM))?.disk ?? null;
    const records = await readRecords(disksOf(disk?.host ?? null).image);
    const told = lines.filter((line) => line.kind === 'answer').length;
    console.log(`${told} acknowledged, ${lostRecords(records, [lines]).length} lost`);
    expect(disk?.state).toBe('clean');
    expect(told).toBeGreaterThan(4 * CALM_ANSWERS);
    expect(lostRecords(records, [lines])).toEqual([]);
  });

  it('that is full under the primary, whose secondary dies before its agent can say so -> nobody goes on without what was acknowledged', async () => {
    const plan = cluster();
    await order(plan, ['vm', 'protect', VM]);
    await order(plan, ['vm', 'start', VM]);
    const before = await untilPhase(plan, VM, 'protected', PROTECT_MS);
    await ask(plan, 'read 0', BOOT_MS);
    client = startProber(plan, { probe: 'closed-loop' });
    await prober().waitForMore(CALM_ANSWERS, ANSWER_MS);
    const agent = hostNamed(plan, before.primary);
    const secondary = await sideOf(plan, VM, 'secondary');
    pauseDaemon(plan, agent, 'agent');
    await disksOf(before.primary).fillImages(nextRecords());
    // The last of these are on the disk of the secondary alone.
    await prober().waitForMore(RECORDS_MEANWHILE + CALM_ANSWERS, ANSWER_MS);
    killSide(secondary);
    await untilPhase(plan, VM, 'verdict', PROTECT_MS, before.epoch);
    resumeDaemon(plan, agent, 'agent');
    const failed = await untilPhase(plan, VM, 'failed', PROTECT_MS, before.epoch);
    console.log(failed.reason);
    expect(failed.reason).toMatch(/^data at risk: .*its own disk failed a write/);
    expect((await historyOf(plan, VM, before.epoch)).map((each) => each.row)).toEqual(['secondary-dead', 'data-at-risk-verdict']);
    await prober().stop();
    client = null;
    await order(plan, ['vm', 'stop', VM, '--wait', '--timeout', '120s'], 130_000);
  });
});
