// Protected again, for ever: a spare that is dead or that fails is passed over, failed attempts are told of and made again after pauses, and a
// VM that fails over too often is paused, then held until an operator releases it. A guest that is held is booted from its own disk if it dies.

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { parse, stringify } from 'yaml';
import type { VmShape } from '../../../coordinator/cli/shapes.js';
import { cutLinks, mendLinks } from '../../../deploy/lab/network.js';
import { members, type HostPlan } from '../../../deploy/lab/plan.js';
import { summarise } from '../../../deploy/lab/probe-analysis.js';
import { restartDaemon } from '../../../deploy/lab/processes.js';
import { startProber, type Prober } from '../../../deploy/lab/prober.js';
import { killSide, sideOf } from '../../../deploy/lab/sides.js';
import { darken, rebootHost } from '../../support/strikes.js';
import { waitFor } from '../../support/wait.js';
import { ANSWER_MS, BOOT_MS, coloctl, historyOf, hostNamed, order, PROTECT_MS, statusOf, untilPhase, untilWell, vmOf } from './cluster.js';
import { ask } from './guest.js';
import { missing, useCluster, VM } from './stage.js';
import { troubles } from './traffic.js';

const CALM_ANSWERS = 40;
const SEEN_MS = 30_000;
/** One failover protects at once, the second after a pause, the third is one too many. */
const BUDGET = 2;

const why = missing();
if (why !== null) console.warn(`skipped: ${why}`);

describe.skipIf(why !== null)('a VM to be protected again', () => {
  const cluster = useCluster(import.meta.url);
  let client: Prober | null = null;
  const undo: (() => Promise<unknown>)[] = [];

  afterEach(async () => {
    await client?.stop();
    client = null;
    for (const each of undo.splice(0)) await each();
  });

  interface Calm {
    readonly before: VmShape;
    readonly client: Prober;
    readonly spare: HostPlan;
  }

  async function calm(): Promise<Calm> {
    const plan = cluster();
    await untilWell(plan, PROTECT_MS);
    const before = await untilPhase(plan, VM, 'protected', PROTECT_MS);
    client = startProber(plan, { probe: 'closed-loop' });
    await client.waitForMore(CALM_ANSWERS, ANSWER_MS);
    const spare = plan.hosts.find((host) => host.name !== before.primary && host.name !== before.secondary);
    if (spare === undefined) throw new Error('there is no third host');
    return { before, client, spare };
  }

  const untilSeen = (what: string, boundMs: number, holds: (vm: VmShape) => boolean): Promise<VmShape> => {
    let last = '';
    return waitFor(
      async () => {
        const seen = await vmOf(cluster(), VM);
        last = `${seen?.phase ?? '?'}, epoch ${seen?.epoch ?? '?'}: ${seen?.reason ?? '?'}; last error: ${seen?.lastError ?? 'none'}`;
        return seen !== null && holds(seen) ? seen : null;
      },
      { what, boundMs, everyMs: 50, context: () => last },
    );
  };

  it('whose spare is dark -> gets its secondary on the host that has just lost one, and the dark host is never tried', async () => {
    const plan = cluster();
    const { before, client: prober, spare } = await calm();
    await darken(plan, spare);
    undo.push(() => rebootHost(plan, spare));
    await waitFor(async () => (await statusOf(plan))?.status.hosts.some((each) => each.name === spare.name && each.state !== 'ready'), {
      what: `host ${spare.name} missed`,
      boundMs: SEEN_MS,
    });
    killSide(await sideOf(plan, VM, 'secondary'));
    const after = await untilPhase(plan, VM, 'protected', PROTECT_MS, before.epoch);
    expect(after).toMatchObject({ primary: before.primary, secondary: before.secondary });
    const history = await historyOf(plan, VM, before.epoch);
    expect(history.map((entry) => entry.secondary)).not.toContain(spare.name);
    await prober.waitForMore(CALM_ANSWERS, ANSWER_MS);
    expect(troubles(prober.lines(), { counters: true })).toEqual([]);
  });

  it('whose attempts fail -> says why, pauses longer each time, tries both hosts, and is protected when one of them is well', async () => {
    const plan = cluster();
    const { before, client: prober, spare } = await calm();
    const others = [hostNamed(plan, before.secondary), spare];
    for (const host of others) {
      await cutLinks(plan, host, ['replication']);
      undo.push(() => mendLinks(plan, host, ['replication']));
    }
    const attempts = async () => (await historyOf(plan, VM, before.epoch)).filter((entry) => ['syncing', 'solo'].includes(entry.to));
    const failed = async () => (await attempts()).filter((entry) => entry.row === 'attempt-failed');
    const told = await untilSeen('the pause after a second failure', PROTECT_MS, (vm) =>
      /attempt 2 failed, the next follows 2 s/.test(vm.reason),
    );
    expect(told.lastError ?? '').not.toBe('');
    expect(told.reason).toContain(told.lastError);
    expect((await statusOf(plan))?.exit).toBe(3);
    console.log(`${told.reason}`);
    await waitFor(async () => (await failed()).length >= 3, { what: 'three attempts that failed', boundMs: PROTECT_MS });
    for (const mend of undo.splice(0)) await mend();
    const after = await untilPhase(plan, VM, 'protected', PROTECT_MS, before.epoch);
    expect(after).toMatchObject({ primary: before.primary, lastError: null });
    const edges = await attempts();
    const at = (index: number): number => Date.parse(edges[index]?.at ?? '');
    const pauses = edges.flatMap((entry, index) => (entry.row === 'attempt-failed' ? [at(index + 1) - at(index)] : []));
    console.log(`pauses after failed attempts: ${pauses.map((ms) => `${ms} ms`).join(', ')}`);
    pauses.forEach((ms, index) => expect(ms).toBeGreaterThanOrEqual(1_000 * 2 ** index));
    const tried = new Set(edges.filter((entry) => entry.to === 'syncing').map((entry) => entry.secondary));
    expect([...tried].sort()).toEqual(others.map((host) => host.name).sort());
    await prober.waitForMore(CALM_ANSWERS, ANSWER_MS);
    expect(troubles(prober.lines(), { counters: true })).toEqual([]);
  });

  it('that fails over again and again -> is paused, then held with the reason, boots its own disk if it dies, and is released by an operator', async () => {
    const plan = cluster();
    for (const host of members(plan)) {
      const file = join(host.runFolder, 'coordinator.yaml');
      const text = readFileSync(file, 'utf8');
      writeFileSync(file, stringify({ ...(parse(text) as object), failoversPerHour: BUDGET }));
      await restartDaemon(plan, host, 'coordinator');
      undo.push(async () => {
        writeFileSync(file, text);
        await restartDaemon(plan, host, 'coordinator');
      });
    }
    await waitFor(async () => (await coloctl(plan, ['vm', 'release', VM])).exit === 0, {
      what: 'a coordinator that takes a wish',
      boundMs: SEEN_MS,
    });
    const { before, client: prober } = await calm();
    let epoch = before.epoch;
    const strike = async (): Promise<void> => {
      ({ epoch } = await untilPhase(plan, VM, 'protected', PROTECT_MS, epoch - 1));
      await prober.waitForMore(CALM_ANSWERS, ANSWER_MS);
      killSide(await sideOf(plan, VM, 'secondary'));
    };
    await strike();
    await untilPhase(plan, VM, 'protected', PROTECT_MS, epoch);
    epoch += 1;
    await strike();
    const paused = await untilSeen('a pause', SEEN_MS, (vm) => /2 failovers within an hour, so the next pair is made 5 s/.test(vm.reason));
    console.log(paused.reason);
    await untilPhase(plan, VM, 'protected', PROTECT_MS, epoch);
    epoch += 1;
    await strike();
    const held = await untilPhase(plan, VM, 'held', SEEN_MS, epoch);
    console.log(held.reason);
    expect(held.reason).toMatch(new RegExp(`3 failovers within an hour, more than the ${BUDGET} .*coloctl vm release ${VM}`));
    expect((await statusOf(plan))?.exit).toBe(3);
    await prober.waitForMore(CALM_ANSWERS, ANSWER_MS);
    expect(troubles(prober.lines(), { counters: true })).toEqual([]);

    // Alone, and its only side dies: its own disk is the valid one, and it is held all the same.
    killSide(await sideOf(plan, VM, 'primary'));
    const seen = summarise(await prober.stop());
    const last = seen.counters.last ?? 0;
    await untilPhase(plan, VM, 'held', PROTECT_MS, held.epoch);
    expect(await ask(plan, `read ${last}`, BOOT_MS)).toContain(`N ${last} ${seen.boots[0] ?? ''} `);
    await order(plan, ['vm', 'release', VM]);
    const released = await untilPhase(plan, VM, 'protected', PROTECT_MS, held.epoch);
    expect(released.primary).toBe(before.primary);
    const rows = (await historyOf(plan, VM, held.epoch)).map((entry) => `${entry.row} ${entry.primary ?? ''}`.trim());
    console.log(rows.join(', '));
    expect(rows).toEqual(
      expect.arrayContaining(['died-alone', `start-wanted ${before.primary ?? ''}`, `released ${before.primary ?? ''}`]),
    );
  });
});
