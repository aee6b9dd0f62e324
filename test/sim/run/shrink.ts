// Cuts a failing list of faults down: what can be left out without losing the failure is left out, so that what is printed is the cause.

import { runScenarios, type Plan, type Watch } from './scenario.js';

/** Must be called outside any microtask. Bounded by the number of faults squared. */
export function shrink(plan: Plan, watch: Watch): Plan {
  const first = runScenarios(plan, watch);
  const [violation] = first.violations;
  if (violation === undefined) return plan;
  const kind = kindOf(violation);
  const fails = (candidate: Plan): boolean => {
    const found = runScenarios(candidate, watch).violations[0];
    return found !== undefined && kindOf(found) === kind;
  };
  let smallest: Plan = { ...plan, rounds: plan.rounds.slice(0, first.scenarios) };
  for (let changed = true; changed;) {
    changed = false;
    for (const shorter of shorterThan(smallest)) {
      if (!fails(shorter)) continue;
      smallest = shorter;
      changed = true;
      break;
    }
  }
  return smallest;
}

/** Whole scenarios first, then single faults. */
function shorterThan(plan: Plan): readonly Plan[] {
  const { rounds } = plan;
  const without = <T>(list: readonly T[], at: number): readonly T[] => list.filter((_, index) => index !== at);
  return [
    ...(rounds.length < 2 ? [] : rounds.map((_, k) => ({ ...plan, rounds: without(rounds, k) }))),
    ...rounds.flatMap((round, k) =>
      round.faults.map((_, at) => ({
        ...plan,
        rounds: rounds.map((each, other) => (other === k ? { ...each, faults: without(each.faults, at) } : each)),
      })),
    ),
  ];
}

/** A violation without its numbers and names. */
export function kindOf(violation: string): string {
  return violation
    .replace(/^at [\d.]+ ms: /, '')
    .replace(/[\d.]+/g, 'N')
    .replace(/\b[hc]N\b/g, 'H')
    .slice(0, 80);
}
