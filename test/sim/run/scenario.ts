// A world that comes up and then goes through several scenarios, one after the other: things go wrong, all faults end, and the world must
// come to rest with every VM as it is wanted, or with a reason. It ends at the first thing that must never happen, or with a VM that only
// an operator can help.

import { perform } from '../faults/commands.js';
import { drawRound, type Planned, type Round } from '../faults/draw.js';
import { drawSetup, type Setup } from '../world/setup.js';
import { World } from '../world/world.js';
import type { Seen } from '../invariants/watchers.js';
import { restProblem } from '../invariants/rest.js';

/** Scenarios that one world goes through at most: what a fault leaves behind meets the next one, and a world is made once for all of them. */
const ROUNDS = 6;
const WARM_UP_MS = 8_000;
const LOOK_MS = 250;
const REST_MS = 120_000;
/** Rest must hold so long: a pair that is about to break again is not at rest. */
const RESTED_MS = 200;
/** A VM that has waited so long for an operator will go on waiting. */
const HELD_MS = 5_000;

export interface Outcome {
  readonly seed: number;
  /** Scenarios that the world went through, the last one perhaps not to its end. */
  readonly scenarios: number;
  readonly violations: readonly string[];
  readonly events: number;
  readonly virtualMs: number;
  /** VMs that came to rest in another state than wanted, with the reason that status gives. */
  readonly held: readonly string[];
}

export interface Watch {
  readonly trace?: (line: string) => void;
  readonly seen?: (world: World, seen: Seen) => void;
  /** Errors that no promise of the product caught, in this process. */
  readonly uncaught?: () => readonly string[];
}

export interface Plan {
  readonly setup: Setup;
  readonly rounds: readonly Round[];
}

export function planOf(seed: number): Plan {
  const setup = drawSetup(seed);
  return { setup, rounds: Array.from({ length: ROUNDS }, (_, round) => drawRound(setup, round)) };
}

export function describePlan(plan: Plan): readonly string[] {
  return plan.rounds.flatMap((round, k) => [
    `scenario ${k + 1}${round.warm ? '' : ', not waiting for protection'}:`,
    ...round.faults.map((each) => `${each.atMs.toFixed(1).padStart(8)} ${each.on === null ? '' : `[on ${each.on}] `}${each.command}`),
  ]);
}

/** Must be called outside any microtask. */
export function runScenarios(plan: Plan, watch: Watch = {}): Outcome {
  const world = new World(plan.setup, watch.trace ?? null);
  const { seen } = watch;
  if (seen !== undefined) world.onSeen = (what) => seen(world, what);
  const { kernel } = world;
  const lookOn = (): void => {
    world.watchers.lookClosely();
    kernel.after(LOOK_MS, lookOn);
  };
  kernel.after(LOOK_MS, lookOn);
  const run = new Run(world, watch);
  for (const round of plan.rounds) if (!run.play(round)) break;
  world.watchers.lookClosely();
  const { scenarios, held } = run;
  return { seed: plan.setup.seed, scenarios, violations: world.violations, events: kernel.events, virtualMs: kernel.now, held };
}

class Run {
  scenarios = 0;
  held: readonly string[] = [];
  readonly #world: World;
  readonly #watch: Watch;

  constructor(world: World, watch: Watch) {
    this.#world = world;
    this.#watch = watch;
  }

  /** False = the world has come to its end. */
  play(round: Round): boolean {
    this.#begin(round);
    this.#goWrong(round.faults, round.tailMs);
    return this.#isBroken() ? false : this.#rest();
  }

  #begin(round: Round): void {
    const world = this.#world;
    const vms = world.setup.vms.map((each) => each.spec.name);
    this.scenarios += 1;
    if (this.scenarios > 1) world.note(`scenario ${this.scenarios}`);
    for (const vm of vms) {
      const wanted = world.wanted(vm);
      if (wanted === null) perform(world, `define ${vm}`);
      else if (wanted.wanted !== 'running') perform(world, `want running ${vm}`);
    }
    if (round.warm) {
      let revision = -1;
      const isUp = (): boolean => {
        if (world.violations.length > 0) return true;
        // Asked after every event, and the answer changes with the store only.
        if (revision === world.etcd.revision) return false;
        revision = world.etcd.revision;
        return vms.every((vm) => world.record(vm)?.phase === 'protected');
      };
      if (!isUp()) world.kernel.run(world.kernel.now + WARM_UP_MS, isUp);
    }
    world.watchers.allIsWell();
  }

  #goWrong(faults: readonly Planned[], tailMs: number): void {
    const world = this.#world;
    const { kernel } = world;
    for (const { atMs, command, on } of faults) {
      kernel.after(atMs, () => {
        if (on === null) perform(world, command);
        else world.triggers.push({ text: on, run: () => perform(world, command) });
      });
    }
    kernel.run(kernel.now + Math.max(0, ...faults.map((each) => each.atMs)) + tailMs, () => this.#isBroken());
  }

  #rest(): boolean {
    const world = this.#world;
    const { kernel } = world;
    perform(world, 'heal');
    const healedAt = kernel.now;
    const names = world.setup.vms.map((each) => each.spec.name);
    const records = () => names.map((vm) => world.record(vm));
    const rests = (): boolean => names.every((vm) => restProblem(world, vm, healedAt) === null);
    let restedAt = Infinity;
    const isOver = (): boolean => {
      if (this.#isBroken()) return true;
      if (!rests()) restedAt = Infinity;
      else if (restedAt === Infinity) restedAt = kernel.now;
      else if (kernel.now >= restedAt + RESTED_MS) return true;
      if (kernel.now < healedAt + HELD_MS) return false;
      // The operator has looked into the cause.
      names.forEach((vm, k) => records()[k]?.phase === 'held' && perform(world, `release ${vm}`));
      return records().every((each) => each?.phase === 'failed');
    };
    runEvery(world, healedAt + REST_MS, 50, isOver);
    if (this.#isBroken()) return false;
    this.held = judgeUnrest(world, healedAt);
    return this.held.length === 0 && world.violations.length === 0;
  }

  #isBroken(): boolean {
    for (const each of this.#watch.uncaught?.() ?? []) this.#world.violate(`a process ended by a broken invariant: ${each}`);
    return this.#world.violations.length > 0;
  }
}

/** Rest is looked for now and then only; what must never happen, after every event. */
function runEvery(world: World, untilMs: number, everyMs: number, atRest: () => boolean): boolean {
  const { kernel } = world;
  while (kernel.now < untilMs) {
    if (kernel.run(Math.min(untilMs, kernel.now + everyMs), () => world.violations.length > 0)) return true;
    if (atRest()) return true;
  }
  return false;
}

/** Not as wanted after the bound: either status says why, or it is a violation. */
function judgeUnrest(world: World, healedAt: number): readonly string[] {
  const held: string[] = [];
  for (const { spec } of world.setup.vms) {
    const problem = restProblem(world, spec.name, healedAt);
    if (problem === null) continue;
    const record = world.record(spec.name);
    const decision = world.leader()?.loop.decisionOf(spec.name) ?? null;
    const isHeld = record?.phase === 'failed' || record?.phase === 'held' || decision?.hold === true;
    if (isHeld) held.push(`${record?.phase ?? 'no record'}: ${decision?.reason ?? record?.reason ?? ''}`);
    else world.violate(`${spec.name} is not at rest ${REST_MS / 1_000} s after the last fault: ${problem}`);
  }
  return held;
}
