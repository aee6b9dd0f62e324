// The leading coordinator is stopped at the exact instants of a failover: before the verdict is saved, when it is saved and no order has gone
// out, when the order was accepted, and before its execution is saved. Then it is killed, or left stopped for ten seconds, or cut off from
// everybody and continued. Whoever leads then, the verdict is carried out exactly once.

import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { cutLinks, mendLinks } from '../../../deploy/lab/network.js';
import { members, type HostPlan } from '../../../deploy/lab/plan.js';
import { gapAround } from '../../../deploy/lab/probe-analysis.js';
import { daemonOf, killDaemon, restartDaemon, resumeDaemon, startDaemon } from '../../../deploy/lab/processes.js';
import { startProber, type Prober } from '../../../deploy/lab/prober.js';
import { recordOf } from '../../../deploy/lab/lab.js';
import { livingQemus } from '../../../deploy/lab/qemus.js';
import { killSide, type Role } from '../../../deploy/lab/sides.js';
import { Told } from '../../bench/told.js';
import { arm, nameOf, sprung, trapEnvironment, type Trap } from '../../bench/traps/trap.js';
import { waitFor } from '../../support/wait.js';
import { ANSWER_MS, PROTECT_MS } from './cluster.js';
import { missing, useCluster, VM } from './stage.js';
import { troubles } from './traffic.js';

const CALM_ANSWERS = 40;
const LEADS_MS = 15_000;
const SPRUNG_MS = 20_000;
const STOPPED_MS = 10_000;
const GAP_WINDOW_MS = 30_000;

type Fate = 'killed' | 'stopped for 10 s' | 'cut off';
const FATES: readonly Fate[] = ['killed', 'stopped for 10 s', 'cut off'];

interface Instant {
  readonly what: string;
  readonly trap: (role: Role) => Trap;
}

const INSTANTS: readonly Instant[] = [
  { what: 'before it saves the verdict', trap: () => ({ kind: 'save', phase: 'verdict', when: 'before' }) },
  { what: 'when the verdict is saved and no order has gone out', trap: () => ({ kind: 'save', phase: 'verdict', when: 'after' }) },
  {
    what: 'when the winner has accepted its order',
    trap: (role) => ({ kind: 'order', goal: role === 'primary' ? 'release-secondary' : 'release-primary' }),
  },
  { what: 'before it saves that the verdict is executed', trap: () => ({ kind: 'save', phase: 'executed', when: 'before' }) },
];

const why = missing();
if (why !== null) console.warn(`skipped: ${why}`);

describe.skipIf(why !== null)('a leading coordinator', () => {
  const cluster = useCluster(import.meta.url);
  let told: Told;
  let client: Prober | null = null;
  let file = '';

  beforeAll(async () => {
    const plan = cluster();
    file = `${plan.runFolder}/traps.json`;
    arm(file, []);
    told = new Told(plan);
    await Promise.all(members(plan).map((host) => restartDaemon(plan, host, 'coordinator', trapEnvironment(file))));
    return () => told.close();
  });

  afterEach(async () => {
    arm(file, []);
    await client?.stop();
    client = null;
  });

  const start = (host: HostPlan): Promise<unknown> => startDaemon(cluster(), host, 'coordinator', trapEnvironment(file));

  /** The coordinator that has stopped itself, by its host. */
  async function caught(already: number): Promise<HostPlan> {
    const note = await waitFor(() => sprung(file)[already], { what: 'the trap', boundMs: SPRUNG_MS, everyMs: 5 });
    const host = members(cluster()).find((each) => daemonOf(recordOf(cluster().name), each.name, 'coordinator')?.pid === note.pid);
    if (host === undefined) throw new Error(`process ${note.pid} is no coordinator`);
    return host;
  }

  /** Answers with what is to be done once the verdict is carried out. */
  async function bring(fate: Fate, host: HostPlan): Promise<() => Promise<unknown>> {
    const plan = cluster();
    switch (fate) {
      case 'killed':
        await killDaemon(plan, host, 'coordinator');
        return () => start(host);
      case 'stopped for 10 s': {
        const until = performance.now() + STOPPED_MS;
        const woken = waitFor(() => performance.now() >= until, { what: 'ten seconds', boundMs: 2 * STOPPED_MS }).then(() =>
          resumeDaemon(plan, host, 'coordinator'),
        );
        return () => woken;
      }
      case 'cut off':
        await cutLinks(plan, host, ['management']);
        resumeDaemon(plan, host, 'coordinator');
        return () => mendLinks(plan, host, ['management']);
    }
  }

  let turn = 0;
  for (const instant of INSTANTS) {
    for (const fate of FATES) {
      it(`${fate} ${instant.what} -> the verdict is carried out exactly once`, async () => {
        const plan = cluster();
        const before = await told.untilVm(VM, 'protected', PROTECT_MS, (vm) => vm.phase === 'protected');
        const leader = await waitFor(() => told.leader(), { what: 'a leader', boundMs: LEADS_MS });
        client = startProber(plan, { probe: 'closed-loop' });
        await client.waitForMore(CALM_ANSWERS, ANSWER_MS);
        turn += 1;
        // A host that is cut off cannot hear a verdict for itself, so then it is its own side that dies.
        const role: Role = before.primary === leader ? 'primary' : before.secondary === leader || turn % 2 === 0 ? 'secondary' : 'primary';
        const already = sprung(file).length;
        arm(file, [instant.trap(role)]);
        const side = livingQemus(plan).find((each) => each.vm === VM && each.host === before[role]);
        if (side === undefined) throw new Error(`there is no ${role}`);
        const blow = killSide(side);
        const host = await caught(already);
        const mend = await bring(fate, host);
        await told
          .untilVm(
            VM,
            'executed',
            PROTECT_MS,
            (vm) => vm.epoch >= before.epoch + 2 && ['executed', 'solo', 'syncing', 'protected'].includes(vm.phase),
          )
          .finally(mend);
        await told.untilVm(VM, 'protected again', PROTECT_MS, (vm) => vm.phase === 'protected' && vm.epoch > before.epoch);
        await client.waitForMore(CALM_ANSWERS, ANSWER_MS);
        const history = await told.history(VM, before.epoch);
        const lines = client.lines();
        const executed = history.find((entry) => entry.to === 'executed');
        console.log(
          `${nameOf(instant.trap(role))}, ${fate}, ${role} killed: executed after ${Date.parse(executed?.at ?? '') - blow.wallMs} ms, ` +
            `gap ${Math.round(gapAround(lines, blow.monoMs, GAP_WINDOW_MS)?.ms ?? NaN)} ms; ${history.map((entry) => entry.row).join(', ')}`,
        );
        expect(history.map((entry) => entry.epoch)).toEqual(history.map((_, index) => before.epoch + index + 1));
        const edges = (to: string): readonly (string | null)[] => history.filter((entry) => entry.to === to).map((entry) => entry.primary);
        const left = role === 'primary' ? before.secondary : before.primary;
        expect(edges('verdict')).toEqual([left]);
        expect(edges('executed')).toEqual([left]);
        expect(history.at(-1)?.primary).toBe(left);
        expect(troubles(lines, { counters: true })).toEqual([]);
      });
    }
  }
});
