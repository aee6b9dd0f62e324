// What leaves a side during a fault, seen at the switch's ports: no IPv4 payload without a verdict but what both sides had agreed on, and
// nothing of what QEMU's compare does not see once an agent suspects its pair. The guest is asked for its address all the while.

import { afterAll, describe, expect, it } from 'vitest';
import { describeCapture, startCaptures } from '../../../deploy/lab/capture/captures.js';
import { startNoise } from '../../../deploy/lab/capture/noise.js';
import { cutLinks, mendLinks } from '../../../deploy/lab/network.js';
import { LINKS, members, type HostPlan, type LabPlan } from '../../../deploy/lab/plan.js';
import { identify, sendSignal } from '../../../deploy/lab/process-identity.js';
import { pauseDaemon, resumeDaemon, startDaemon } from '../../../deploy/lab/processes.js';
import { startProber, type Prober } from '../../../deploy/lab/prober.js';
import { livingQemus } from '../../../deploy/lab/qemus.js';
import { recordOf } from '../../../deploy/lab/lab.js';
import { sideOf, type Role } from '../../../deploy/lab/sides.js';
import { waitFor } from '../../support/wait.js';
import { ANSWER_MS, historyOf, hostNamed, PROTECT_MS, untilPhase } from './cluster.js';
import { missing, useCluster, VM } from './stage.js';
import { stopAll, troubles } from './traffic.js';

interface Fault {
  readonly what: string;
  readonly role: Role;
  readonly goesOn: Role;
  /** Sides whose agents can and must suspect something before their QEMU is gone. */
  readonly suspects: readonly Role[];
  strike(plan: LabPlan, host: HostPlan): Promise<void> | void;
  mend(plan: LabPlan, host: HostPlan): Promise<void> | void;
}

const CALM_ANSWERS = 40;
/** Several times what an agent has from its own suspicion to the silence of its side, and less than the leader's lease. */
const UNDECIDED_MS = 1_500;

const signal =
  (name: NodeJS.Signals) =>
  async (plan: LabPlan, host: HostPlan): Promise<void> => {
    const qemu = livingQemus(plan).find((each) => each.vm === VM && each.host === host.name);
    if (qemu === undefined || !sendSignal(qemu, name)) throw new Error(`no QEMU on ${host.name}`);
    return Promise.resolve();
  };

/** All that ran there dies while nobody can hear it, and then the machine is there again. */
async function reboot(plan: LabPlan, host: HostPlan): Promise<void> {
  const all = [...livingQemus(plan), ...recordOf(plan.name).processes].filter((each) => each.host === host.name);
  for (const each of all) sendSignal(each, 'SIGKILL');
  await waitFor(() => all.every((each) => identify(each.pid)?.startTime !== each.startTime), {
    what: `the end of all of ${host.name}`,
    boundMs: 10_000,
  });
  await mendLinks(plan, host, LINKS);
  for (const daemon of ['etcd', 'coordinator', 'agent'] as const) await startDaemon(plan, host, daemon);
}

const nothing = (): void => undefined;

const faults: readonly Fault[] = [
  {
    what: 'its primary is killed',
    role: 'primary',
    goesOn: 'secondary',
    suspects: ['secondary'],
    strike: signal('SIGKILL'),
    mend: nothing,
  },
  {
    what: 'the replication link is cut',
    role: 'primary',
    goesOn: 'primary',
    suspects: ['primary', 'secondary'],
    strike: (plan, host) => cutLinks(plan, host, ['replication']),
    mend: (plan, host) => mendLinks(plan, host, ['replication']),
  },
  {
    // A verdict that comes at once would hide whether anything was silenced before it.
    what: 'its link is cut and nobody decides',
    role: 'primary',
    goesOn: 'primary',
    suspects: ['primary', 'secondary'],
    strike: async (plan, host) => {
      members(plan).forEach((each) => pauseDaemon(plan, each, 'coordinator'));
      try {
        await cutLinks(plan, host, ['replication']);
        const until = performance.now() + UNDECIDED_MS;
        await waitFor(() => performance.now() >= until, { what: 'the end of the pause', boundMs: 2 * UNDECIDED_MS });
      } finally {
        members(plan).forEach((each) => resumeDaemon(plan, each, 'coordinator'));
      }
    },
    mend: (plan, host) => mendLinks(plan, host, ['replication']),
  },
  { what: 'its primary hangs', role: 'primary', goesOn: 'secondary', suspects: [], strike: signal('SIGSTOP'), mend: nothing },
  { what: 'its secondary hangs', role: 'secondary', goesOn: 'primary', suspects: [], strike: signal('SIGSTOP'), mend: nothing },
  {
    what: 'the host of its primary goes dark',
    role: 'primary',
    goesOn: 'secondary',
    suspects: ['primary', 'secondary'],
    strike: (plan, host) => cutLinks(plan, host, LINKS),
    mend: reboot,
  },
  {
    what: 'the host of its secondary goes dark',
    role: 'secondary',
    goesOn: 'primary',
    suspects: ['primary', 'secondary'],
    strike: (plan, host) => cutLinks(plan, host, LINKS),
    mend: reboot,
  },
];

const why = missing();
if (why !== null) console.warn(`skipped: ${why}`);

describe.skipIf(why !== null)('a guest under capture', () => {
  const cluster = useCluster(import.meta.url);
  let prober: Prober | null = null;
  afterAll(() => stopAll([prober]));

  it.each(faults)('$what -> nothing leaves that nobody had agreed on', async (fault) => {
    const plan = cluster();
    prober ??= startProber(plan, { probe: 'closed-loop' });
    const before = await untilPhase(plan, VM, 'protected', PROTECT_MS);
    await prober.waitForMore(CALM_ANSWERS, ANSWER_MS);
    const host = hostNamed(plan, (await sideOf(plan, VM, fault.role)).host);
    const [primary, secondary] = [hostNamed(plan, before.primary).name, hostNamed(plan, before.secondary).name];
    const captures = await startCaptures(plan, { primary, secondary });
    const noise = startNoise(plan);
    try {
      const uncompared = (): number => (captures.frames().get(primary) ?? []).filter((frame) => frame.content.kind === 'uncompared').length;
      await waitFor(() => uncompared() > 10, { what: 'frames that are not compared', boundMs: ANSWER_MS });
      await prober.waitForMore(CALM_ANSWERS, ANSWER_MS);
      const faultWallMs = Date.now();
      await fault.strike(plan, host);
      const edge = await waitFor(async () => (await historyOf(plan, VM, before.epoch)).find((each) => each.to === 'executed'), {
        what: 'a failover',
        boundMs: ANSWER_MS,
      });
      await prober.waitForMore(CALM_ANSWERS, ANSWER_MS);
      const [decided, next] = (await historyOf(plan, VM, before.epoch)).filter((each) => each.to === 'verdict');
      const winner = fault.goesOn === 'primary' ? primary : secondary;
      expect(edge.primary).toBe(winner);
      const verdict = { winner, atWallMs: Date.parse(decided?.at ?? '') };
      // On a busy machine a pair that was just made may break again.
      const untilWallMs = next === undefined ? Infinity : Date.parse(next.at);
      const judgement = await captures.judge(VM, { primary, secondary, faultWallMs, untilWallMs, pairBroken: true, verdict });
      console.log(`${fault.what} (${decided?.row ?? '?'}, ${verdict.atWallMs - faultWallMs} ms): ${describeCapture(judgement)}`);
      expect(judgement.violations).toEqual([]);
      const named = { primary, secondary };
      expect(judgement.silences.map((each) => each.host)).toEqual(expect.arrayContaining(fault.suspects.map((role) => named[role])));
      expect(troubles(prober.lines(), { counters: true })).toEqual([]);
    } finally {
      noise.stop();
      await captures.stop();
      await fault.mend(plan, host);
    }
    await untilPhase(plan, VM, 'protected', PROTECT_MS, before.epoch);
  });
});
