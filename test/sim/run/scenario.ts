// One scenario: a world comes up, things go wrong, all faults end, and the world must come to rest with every VM as it is wanted, or with
// a reason. It ends at the first thing that must never happen.

import { perform } from '../faults/commands.js';
import { drawFaults, type Planned } from '../faults/draw.js';
import { drawSetup, type Setup } from '../world/setup.js';
import { World } from '../world/world.js';
import type { Seen } from '../invariants/watchers.js';
import { restProblem } from '../invariants/rest.js';

const WARM_UP_MS = 8_000;
const FAULTS_MS = 3_000;
const LOOK_MS = 250;
const REST_MS = 120_000;
/** A VM that has waited so long for an operator will go on waiting. */
const HELD_MS = 5_000;

export interface Outcome {
  readonly seed: number;
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
  readonly faults: readonly Planned[];
  /** Faults begin when the first VM is protected, or at once. */
  readonly warm: boolean;
}

export function planOf(seed: number): Plan {
  const setup = drawSetup(seed);
  return { setup, faults: drawFaults(setup), warm: seed % 6 !== 0 };
}

export function describePlan(plan: Plan): readonly string[] {
  return plan.faults.map((each) => `${each.atMs.toFixed(1).padStart(8)} ${each.on === null ? '' : `[on ${each.on}] `}${each.command}`);
}

/** Must be called outside any microtask. */
export function runScenario(plan: Plan, watch: Watch = {}): Outcome {
  const world = new World(plan.setup, watch.trace ?? null);
  const { seen } = watch;
  if (seen !== undefined) world.onSeen = (what) => seen(world, what);
  const broken = (): boolean => {
    for (const each of watch.uncaught?.() ?? []) world.violate(`a process ended by a broken invariant: ${each}`);
    return world.violations.length > 0;
  };
  const { kernel } = world;
  const lookOn = (): void => {
    world.watchers.lookClosely();
    kernel.after(LOOK_MS, lookOn);
  };
  kernel.after(LOOK_MS, lookOn);

  if (plan.warm)
    kernel.run(
      WARM_UP_MS,
      () => world.violations.length > 0 || plan.setup.vms.every((vm) => world.record(vm.spec.name)?.phase === 'protected'),
    );
  const begin = kernel.now;
  for (const each of plan.faults) {
    const { command, on } = each;
    kernel.after(each.atMs, () => {
      if (on === null) perform(world, command);
      else world.triggers.push({ text: on, run: () => perform(world, command) });
    });
  }
  const last = Math.max(FAULTS_MS, ...plan.faults.map((each) => each.atMs));
  kernel.run(begin + last + 500, broken);
  let held: readonly string[] = [];
  if (!broken()) {
    perform(world, 'heal');
    const healedAt = kernel.now;
    // Twice at rest, half a second apart: a pair that is about to break again is not at rest.
    let restedAt = Infinity;
    const atRest = (): boolean => {
      if (broken()) return true;
      if (kernel.now < restedAt && restedAt !== Infinity) return false;
      const rests = plan.setup.vms.every((vm) => restProblem(world, vm.spec.name, healedAt) === null);
      if (restedAt !== Infinity) return rests || ((restedAt = Infinity), false);
      const isOver = plan.setup.vms.every((vm) => ['failed', 'held'].includes(world.record(vm.spec.name)?.phase ?? ''));
      if (isOver && kernel.now > healedAt + HELD_MS) return true;
      if (rests) restedAt = kernel.now + 500;
      return false;
    };
    runEvery(world, healedAt + REST_MS, 50, atRest);
    held = judgeUnrest(world, healedAt);
    world.watchers.lookClosely();
  }
  return { seed: plan.setup.seed, violations: world.violations, events: kernel.events, virtualMs: kernel.now, held };
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
