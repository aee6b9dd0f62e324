// One VM on three hosts of its own, whose sides are killed one after another, while the agents that mend it are killed at armed steps and
// started again. Several lanes of one cluster run side by side.

import { LabError, waitFor } from '../../../deploy/lab/command.js';
import { recordOf } from '../../../deploy/lab/lab.js';
import { guestAddress, type HostPlan, type LabPlan } from '../../../deploy/lab/plan.js';
import { gapAround } from '../../../deploy/lab/probe-analysis.js';
import { isAlive } from '../../../deploy/lab/process-identity.js';
import { daemonOf, restartDaemon, startDaemon } from '../../../deploy/lab/processes.js';
import { startProber } from '../../../deploy/lab/prober.js';
import { livingQemus } from '../../../deploy/lab/qemus.js';
import { killSide, type Role } from '../../../deploy/lab/sides.js';
import type { HistoryShape, VmShape } from '../../../coordinator/cli/shapes.js';
import { troubles } from '../../e2e/cluster/traffic.js';
import { Told } from '../told.js';
import { arm, armed, nameOf, sprung, trapEnvironment, type Trap } from '../traps/trap.js';

export const PROTECT_MS = 120_000;
/** For each death besides: a busy machine takes so long to start an agent and to have it heard, and a failed attempt is followed by a pause. */
const DEATH_MS = 15_000;
const ANSWER_MS = 60_000;
/** More than a checkpoint's delay: the connection is then known to both sides. */
const CALM_ANSWERS = 40;
const GAP_WINDOW_MS = 60_000;
const KEEP_EVERY_MS = 20;
/** Longer than any round. */
const KEPT_MS = 600_000;

export interface Lane {
  readonly plan: LabPlan;
  readonly vm: string;
  /** Which guest of the lab. */
  readonly number: number;
  readonly hosts: readonly HostPlan[];
  readonly trapFile: string;
}

/** Who hears of each round; `signal` ends what is dealt out after the round that is under way. */
export interface Listener {
  readonly report: (line: string) => void;
  readonly signal: AbortSignal;
}

export interface RoundResult {
  readonly sprung: readonly Trap[];
  readonly unreached: readonly Trap[];
  /** Fault to the winner's word that it runs alone, agents' deaths and starts included. */
  readonly aloneMs: number;
  readonly againMs: number;
  readonly gapMs: number;
  readonly rows: readonly string[];
  readonly problems: readonly string[];
}

/** From here on the agents of the lane can be caught. */
export async function watchAgents(lane: Lane): Promise<void> {
  arm(lane.trapFile, []);
  await Promise.all(lane.hosts.map((host) => restartDaemon(lane.plan, host, 'agent', trapEnvironment(lane.trapFile))));
}

/** Starts every agent again that a trap has ended, until it is told to stop. An agent that ends by itself is a problem. */
export class Keeper {
  readonly #lane: Lane;
  readonly #ended: Promise<void>;
  #stopped = false;
  readonly problems: string[] = [];

  constructor(lane: Lane) {
    this.#lane = lane;
    this.#ended = this.#keep();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#ended;
  }

  async #keep(): Promise<void> {
    const { plan, hosts, trapFile } = this.#lane;
    await waitFor({ what: 'end of the watch over the agents', boundMs: KEPT_MS, everyMs: KEEP_EVERY_MS }, async () => {
      for (const host of hosts) {
        const agent = daemonOf(recordOf(plan.name), host.name, 'agent');
        if (agent === null || isAlive(agent)) continue;
        if (!sprung(trapFile).some((each) => each.pid === agent.pid)) this.problems.push(`the agent of ${host.name} ended by itself`);
        await startDaemon(plan, host, 'agent', trapEnvironment(trapFile));
      }
      return this.#stopped ? true : null;
    });
  }
}

/** One failover and one re-protection, with all these traps on the way; those that were not met are given back. */
export async function round(lane: Lane, told: Told, role: Role, traps: readonly Trap[]): Promise<RoundResult> {
  const { plan, vm, trapFile } = lane;
  const before = await told.untilVm(vm, 'protected', PROTECT_MS, (seen) => seen.phase === 'protected');
  const client = startProber(plan, { probe: 'closed-loop', address: guestAddress(plan, lane.number) });
  const keeper = new Keeper(lane);
  const already = sprung(trapFile).length;
  try {
    await client.waitForMore(CALM_ANSWERS, ANSWER_MS);
    arm(trapFile, traps);
    const blow = killSide(sideOf(lane, before, role));
    const boundMs = PROTECT_MS + traps.length * DEATH_MS;
    await told.untilVm(vm, 'protected again', boundMs, (seen) => seen.phase === 'protected' && seen.epoch > before.epoch);
    const againMs = Number(process.hrtime.bigint()) / 1e6 - blow.monoMs;
    const unreached = armed(trapFile);
    arm(trapFile, []);
    await client.waitForMore(CALM_ANSWERS, ANSWER_MS);
    const lines = await client.stop();
    const history = await told.history(vm, before.epoch);
    const met = sprung(trapFile)
      .slice(already)
      .map((each) => each.trap);
    const executed = history.find((entry) => entry.to === 'executed');
    return {
      sprung: met,
      unreached,
      aloneMs: executed === undefined ? Number.NaN : Date.parse(executed.at) - blow.wallMs,
      againMs,
      gapMs: gapAround(lines, blow.monoMs, GAP_WINDOW_MS)?.ms ?? Number.NaN,
      rows: history.map((entry) => entry.row),
      problems: [...problemsOf(lane, before, role, history, met), ...troubles(lines, { counters: true }), ...keeper.problems],
    };
  } catch (error) {
    const at = sprung(trapFile)
      .slice(already)
      .map((each) => nameOf(each.trap));
    throw new LabError(`${error instanceof Error ? error.message : String(error)}\nsprung: ${at.join('; ')}`);
  } finally {
    arm(trapFile, []);
    await keeper.stop();
    await client.stop().catch(() => undefined);
  }
}

function sideOf(lane: Lane, before: VmShape, role: Role) {
  const side = livingQemus(lane.plan).find((each) => each.vm === lane.vm && each.host === before[role]);
  if (side === undefined) throw new LabError(`VM ${lane.vm} has no living ${role}`);
  return side;
}

/** One verdict, carried out once, by the side that was left; every edge in the history; two QEMUs in the end. */
function problemsOf(lane: Lane, before: VmShape, role: Role, history: readonly HistoryShape[], met: readonly Trap[]): readonly string[] {
  const problems: string[] = [];
  const all = history.map((entry) => `${entry.epoch} ${entry.row}`).join(', ');
  const count = (to: string): number => history.filter((entry) => entry.to === to).length;
  for (const to of ['verdict', 'executed', 'protected'])
    if (count(to) !== 1) problems.push(`${count(to)} edges to ${to} instead of one: ${all}`);
  for (const to of ['stopped', 'failed', 'held', 'stopping']) if (count(to) !== 0) problems.push(`an edge to ${to}: ${all}`);
  if (history.some((entry, index) => entry.epoch !== before.epoch + index + 1)) problems.push(`epochs with a hole: ${all}`);
  const winner = history.find((entry) => entry.to === 'verdict')?.primary ?? null;
  const left = role === 'primary' ? before.secondary : before.primary;
  if (winner !== left) problems.push(`the verdict names ${winner ?? 'nobody'}, and ${left ?? 'nobody'} was left`);
  const last = history.at(-1);
  if (last?.primary !== left) problems.push(`${last?.primary ?? 'nobody'} is the primary in the end, and not ${left ?? 'nobody'}`);
  const failed = history.filter((entry) => entry.row === 'attempt-failed').length;
  if (failed > met.length) problems.push(`${failed} attempts failed, and agents were killed ${met.length} times: ${all}`);
  const qemus = livingQemus(lane.plan).filter((each) => each.vm === lane.vm);
  if (qemus.length !== 2) problems.push(`${qemus.length} QEMUs: ${qemus.map((each) => each.host).join(', ')}`);
  return problems;
}
