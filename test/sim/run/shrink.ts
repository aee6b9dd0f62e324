// Cuts a failing list of faults down: what can be left out without losing the failure is left out, so that what is printed is the cause.

import { runScenario, type Plan, type Watch } from './scenario.js';

/** Must be called outside any microtask. Bounded by the number of faults squared. */
export function shrink(plan: Plan, watch: Watch): Plan {
  const first = runScenario(plan, watch).violations[0];
  if (first === undefined) return plan;
  const kind = kindOf(first);
  let smallest = plan;
  for (let changed = true; changed;) {
    changed = false;
    for (let at = smallest.faults.length - 1; at >= 0; at -= 1) {
      const shorter: Plan = { ...smallest, faults: smallest.faults.filter((_, index) => index !== at) };
      const found = runScenario(shorter, watch).violations[0];
      if (found === undefined || kindOf(found) !== kind) continue;
      smallest = shorter;
      changed = true;
    }
  }
  return smallest;
}

/** A violation without its numbers and names. */
export function kindOf(violation: string): string {
  return violation
    .replace(/^at [\d.]+ ms: /, '')
    .replace(/[\d.]+/g, 'N')
    .replace(/\b[hc]N\b/g, 'H')
    .slice(0, 80);
}
