// Two faults of which the second comes before the first is mended, row by row of SAFETY 5: the VM is booted from the one disk that the record
// names, when the host of that disk is there, and from no other; and where only an operator can know, it waits for him.
//
// The sides are on hosts without a coordinator and without etcd, so that what is shown is what the coordinators decide.

import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { HistoryShape, VmShape } from '../../../coordinator/cli/shapes.js';
import { recordOf } from '../../../deploy/lab/lab.js';
import { cutLinks, mendLinks } from '../../../deploy/lab/network.js';
import { members, type HostPlan } from '../../../deploy/lab/plan.js';
import { summarise } from '../../../deploy/lab/probe-analysis.js';
import { sendSignal } from '../../../deploy/lab/process-identity.js';
import { daemonOf, killDaemon, restartDaemon, startDaemon } from '../../../deploy/lab/processes.js';
import { startProber, type Prober } from '../../../deploy/lab/prober.js';
import { livingQemus } from '../../../deploy/lab/qemus.js';
import { killSide } from '../../../deploy/lab/sides.js';
import { arm, sprung, trapEnvironment } from '../../bench/traps/trap.js';
import { darken, qemuOf, rebootHost } from '../../support/strikes.js';
import { staysTrue, waitFor } from '../../support/wait.js';
import { AgentWatch } from './calls.js';
import { ANSWER_MS, BOOT_MS, historyOf, hostNamed, order, PROTECT_MS, untilPhase, untilWell, vmOf } from './cluster.js';
import { ask, bootOf } from './guest.js';
import { missing, useCluster, VM } from './stage.js';
import { troubles } from './traffic.js';

const CALM_ANSWERS = 40;
const HELD_MS = 30_000;
/** Longer than whatever could wrongly come of it: an agent that is unknown counts as hung after two seconds. */
const WATCH_MS = 4_000;
const HOSTS = 6;
/** Those with coordinators and etcd come first. */
const MEMBERS = 3;

const why = missing();
if (why !== null) console.warn(`skipped: ${why}`);

describe.skipIf(why !== null)('a protected VM', () => {
  const cluster = useCluster(import.meta.url, {
    hostCount: HOSTS,
    vm: (plan) => ({ hosts: plan.hosts.slice(MEMBERS).map((host) => host.name) }),
  });
  const dark = new Set<HostPlan>();
  let client: Prober | null = null;
  let watch: AgentWatch | null = null;
  let traps = '';

  beforeAll(async () => {
    const plan = cluster();
    traps = `${plan.runFolder}/traps.json`;
    arm(traps, []);
    await Promise.all(members(plan).map((host) => restartDaemon(plan, host, 'coordinator', trapEnvironment(traps))));
  });

  afterEach(async () => {
    arm(traps, []);
    watch?.close();
    watch = null;
    await client?.stop();
    client = null;
    for (const host of dark) await powerOn(host);
  });

  async function powerOff(name: string | null): Promise<HostPlan> {
    const host = hostNamed(cluster(), name);
    dark.add(host);
    await darken(cluster(), host);
    return host;
  }

  async function powerOn(host: HostPlan): Promise<void> {
    await rebootHost(cluster(), host);
    dark.delete(host);
  }

  interface Calm {
    readonly before: VmShape;
    readonly client: Prober;
    readonly spare: string;
  }

  /** All is well, and a client that has been answered for longer than a checkpoint takes. */
  async function calm(): Promise<Calm> {
    const plan = cluster();
    await untilWell(plan, PROTECT_MS);
    const before = await untilPhase(plan, VM, 'protected', PROTECT_MS);
    // The guest of an earlier test may still be booting.
    await bootOf(plan, BOOT_MS);
    client = startProber(plan, { probe: 'closed-loop' });
    await client.waitForMore(CALM_ANSWERS, ANSWER_MS);
    const spare = plan.hosts.slice(MEMBERS).find((host) => host.name !== before.primary && host.name !== before.secondary);
    return { before, client, spare: spare?.name ?? '' };
  }

  /** Waits until the VM says of itself that it waits, and why. */
  const untilReason = (pattern: RegExp, boundMs = HELD_MS): Promise<VmShape> => {
    let last = '';
    return waitFor(
      async () => {
        const seen = await vmOf(cluster(), VM);
        last = `${seen?.phase ?? '?'}: ${seen?.reason ?? '?'}`;
        return seen !== null && pattern.test(seen.reason) ? seen : null;
      },
      { what: `a reason like ${String(pattern)}`, boundMs, everyMs: 100, context: () => last },
    );
  };

  const runsOn = (...hosts: readonly string[]): readonly string[] =>
    livingQemus(cluster())
      .filter((each) => each.vm === VM && hosts.includes(each.host))
      .map((each) => each.host);

  const nothingOn = (...hosts: readonly string[]): Promise<void> =>
    staysTrue(() => runsOn(...hosts).length === 0, { what: `no QEMU on ${hosts.join(', ')}`, boundMs: WATCH_MS });

  /** It was booted once, there, and has what the client was told of. */
  async function expectBootedOn(host: string | null, { before, client: prober }: Calm): Promise<readonly HistoryShape[]> {
    const plan = cluster();
    const seen = summarise(await prober.stop());
    const { first, last } = seen.counters;
    const boot = seen.boots[0] ?? '';
    const now = await untilPhase(plan, VM, 'protected', PROTECT_MS, before.epoch);
    const history = await historyOf(plan, VM, before.epoch);
    console.log(history.map((entry) => `${entry.row} -> ${entry.to} ${entry.primary ?? ''}`).join(', '));
    expect(history.filter((entry) => entry.to === 'starting').map((entry) => entry.primary)).toEqual([host]);
    expect(now.primary).toBe(host);
    if (first === null || last === null) throw new Error('the client was told nothing');
    for (const counter of [first, last - 1, last]) {
      expect(await ask(plan, `read ${counter}`, BOOT_MS)).toContain(`N ${counter} ${boot} `);
    }
    return history;
  }

  function killBoth(): void {
    const sides = livingQemus(cluster()).filter((each) => each.vm === VM);
    expect(sides).toHaveLength(2);
    for (const side of sides) killSide(side);
  }

  it("both of whose sides die while nobody can decide -> boots from the primary's disk, and from no other", async () => {
    const plan = cluster();
    const state = await calm();
    await Promise.all(members(plan).map((host) => killDaemon(plan, host, 'coordinator')));
    killBoth();
    await Promise.all(members(plan).map((host) => startDaemon(plan, host, 'coordinator', trapEnvironment(traps))));
    const history = await expectBootedOn(state.before.primary, state);
    // When the secondary's agent is the first to be heard, its death alone makes a verdict for the primary, which is dead as well.
    expect(['both-dead', 'secondary-dead']).toContain(history[0]?.row);
  });

  it('both of whose sides die at once -> boots from the disk of the primary, whichever death was told first', async () => {
    const plan = cluster();
    const state = await calm();
    killBoth();
    const first = await waitFor(async () => (await historyOf(plan, VM, state.before.epoch))[0], { what: 'an edge', boundMs: HELD_MS });
    const { before } = state;
    const disks = new Map([
      ['both-dead', before.primary],
      ['secondary-dead', before.primary],
      // The secondary was named, and let nothing out before it was found dead.
      ['primary-dead', before.primary],
    ]);
    await expectBootedOn(disks.get(first.row) ?? `nobody knows where after ${first.row}`, state);
  });

  it('whose secondary takes over and dies before its overlays are merged -> boots from that chain, and from no other disk', async () => {
    const plan = cluster();
    const state = await calm();
    const { primary, secondary } = state.before;
    const [first, second] = [primary, secondary].map((name) => livingQemus(plan).find((each) => each.vm === VM && each.host === name));
    if (first === undefined || second === undefined) throw new Error('not two sides');
    watch = new AgentWatch(plan);
    let disk = '';
    const struck = watch.when(
      'the promoted side runs alone',
      PROTECT_MS,
      (report) => {
        const vm = report.host === secondary ? report.vms.find((each) => each.vm === VM) : undefined;
        disk = vm?.disk?.state ?? disk;
        return vm?.aloneSince !== undefined && vm.epoch > state.before.epoch;
      },
      () => killSide(second),
    );
    killSide(first);
    await struck;
    console.log(`its disk was said to be ${disk} when it died`);
    const history = await expectBootedOn(secondary, state);
    expect(history.map((entry) => entry.row)).toContain('primary-dead');
  });

  it('all of whose hosts go dark, the primary’s first -> waits; the older disk of the first to return is never booted', async () => {
    const plan = cluster();
    const first = await calm();
    const old = await powerOff(first.before.primary);
    const before = await untilPhase(plan, VM, 'protected', PROTECT_MS, first.before.epoch);
    await first.client.waitForMore(CALM_ANSWERS, ANSWER_MS);
    const state = { ...first, before };
    const [home, other] = [await powerOff(before.primary), await powerOff(before.secondary)];
    await powerOn(old);
    await untilReason(/blind/);
    await nothingOn(old.name);
    await powerOn(other);
    // The secondary's death is proven, so the verdict can only be for the side that is not heard, and waits for it.
    await untilReason(new RegExp(`verdict for ${home.name}`));
    await nothingOn(old.name, other.name);
    await powerOn(home);
    const history = await expectBootedOn(home.name, state);
    expect(history.map((entry) => entry.row)).toEqual(expect.arrayContaining(['secondary-dead', 'winner-died']));
  });

  it("both of whose hosts go dark and the primary's returns -> waits; booted there when an operator declares the other one off", async () => {
    const plan = cluster();
    const state = await calm();
    const [home, other] = [await powerOff(state.before.primary), await powerOff(state.before.secondary)];
    await powerOn(home);
    await untilReason(/the primary died and the secondary on .* is unheard/);
    await nothingOn(home.name, state.spare);
    await order(plan, ['failover', VM, '--force', '--declare-off', other.name]);
    await expectBootedOn(home.name, state);
    await powerOn(other);
  });

  it("both of whose hosts go dark and the secondary's returns -> waits; its chain is booted when an operator declares the primary's off", async () => {
    const plan = cluster();
    const state = await calm();
    const [home, other] = [await powerOff(state.before.primary), await powerOff(state.before.secondary)];
    await powerOn(other);
    await untilReason(new RegExp(`verdict for ${home.name}.*--declare-off ${home.name}`));
    expect(runsOn(other.name, state.spare)).toEqual([]);
    await order(plan, ['failover', VM, '--force', '--declare-off', home.name]);
    await expectBootedOn(other.name, state);
    await powerOn(home);
    await nothingOn(home.name);
  });

  /** The leader stops when it has saved the verdict on that blow and no order has gone out. The answer puts another one in its place. */
  async function verdictSaved(blow: () => unknown): Promise<() => Promise<void>> {
    const plan = cluster();
    const already = sprung(traps).length;
    arm(traps, [{ kind: 'save', phase: 'verdict', when: 'after' }]);
    await blow();
    const note = await waitFor(() => sprung(traps)[already], { what: 'the saved verdict', boundMs: HELD_MS, everyMs: 5 });
    const leader = members(plan).find((each) => daemonOf(recordOf(plan.name), each.name, 'coordinator')?.pid === note.pid);
    if (leader === undefined) throw new Error(`process ${note.pid} is no coordinator`);
    return async () => {
      await killDaemon(plan, leader, 'coordinator');
      await startDaemon(plan, leader, 'coordinator', trapEnvironment(traps));
    };
  }

  const verdictsSince = async (epoch: number): Promise<readonly (readonly [string, string | null])[]> =>
    (await historyOf(cluster(), VM, epoch)).filter((entry) => entry.to === 'verdict').map((entry) => [entry.row, entry.primary]);

  it('the winner of whose verdict dies before it was ordered to go on -> goes on with the loser, by a second verdict', async () => {
    const plan = cluster();
    const { before, client: prober } = await calm();
    const host = hostNamed(plan, before.primary);
    const winner = livingQemus(plan).find((each) => each.vm === VM && each.host === host.name);
    if (winner === undefined) throw new Error('there is no primary');
    const replace = await verdictSaved(() => cutLinks(plan, host, ['replication']));
    killSide(winner);
    try {
      await replace();
      await prober.waitForMore(CALM_ANSWERS, ANSWER_MS);
    } finally {
      await mendLinks(plan, host, ['replication']);
    }
    const after = await untilPhase(plan, VM, 'protected', PROTECT_MS, before.epoch);
    expect(after.primary).toBe(before.secondary);
    expect(await verdictsSince(before.epoch)).toEqual([
      ['link-cut', before.primary],
      ['winner-gone', before.secondary],
    ]);
    expect(troubles(prober.lines(), { counters: true })).toEqual([]);
  });

  it('the winner of whose verdict is lost before anybody knows that it went on -> holds, and only an operator lets the loser go on', async () => {
    const plan = cluster();
    const { before, client: prober } = await calm();
    const hung = qemuOf(plan, VM, hostNamed(plan, before.primary));
    const replace = await verdictSaved(() => sendSignal(hung, 'SIGSTOP'));
    const winner = await powerOff(before.secondary);
    await replace();
    sendSignal(hung, 'SIGCONT');
    await untilReason(new RegExp(`verdict for ${winner.name}.*--declare-off ${winner.name}`));
    const answers = (): number => prober.lines().filter((line) => line.kind === 'answer').length;
    const silentSince = answers();
    await staysTrue(() => answers() === silentSince, { what: 'no answer of the loser', boundMs: WATCH_MS });
    await order(plan, ['failover', VM, '--force', '--declare-off', winner.name]);
    await prober.waitForMore(CALM_ANSWERS, ANSWER_MS);
    const after = await untilPhase(plan, VM, 'protected', PROTECT_MS, before.epoch);
    expect(after.primary).toBe(before.primary);
    expect(await verdictsSince(before.epoch)).toEqual([
      ['primary-hung', before.secondary],
      ['forced', before.primary],
    ]);
    expect(troubles(prober.lines(), { counters: true })).toEqual([]);
    await powerOn(winner);
  });
});
