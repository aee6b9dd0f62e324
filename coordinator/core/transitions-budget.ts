// Rows for a VM that fails over again and again. A needed failover is never refused, because that would be an outage; and a failover can
// only come from `protected`. So the budget acts on re-protection: first it pauses, and when the budget is spent the guest runs alone, and
// says so, until an hour has passed or an operator has looked into the cause.

import { FAILOVERS_KEPT, HOLD_DOWN_FIRST_MS, HOLD_DOWN_LAST_MS } from '../../shared/core/limits.js';
import { diskOf } from './aftermath.js';
import { edge, type Row } from './rows.js';
import type { VmView } from './view.js';

const HOUR_MS = 3_600_000;

function withinTheHour(view: VmView): readonly number[] {
  return view.record.failoversAtMs.filter((at) => view.wallMs - at < HOUR_MS && at <= view.wallMs);
}

/** Failovers of the last hour that an operator has not yet looked into. */
export function recentFailovers(view: VmView): number {
  const releasedAtMs = view.wanted.releasedAtMs ?? 0;
  return withinTheHour(view).filter((at) => at > releasedAtMs).length;
}

/** What the record says of failovers after one more. */
export function failoversWithThis(view: VmView): readonly number[] {
  return [...withinTheHour(view), view.wallMs].slice(-FAILOVERS_KEPT);
}

/** The pause before the next protection attempt. The first quarter of the budget costs none, so that a single failover re-protects at once. */
export function holdDownMs(view: VmView): number {
  const free = Math.max(1, Math.floor(view.failoversPerHour / 4));
  const beyond = recentFailovers(view) - free;
  return beyond <= 0 ? 0 : Math.min(HOLD_DOWN_LAST_MS, HOLD_DOWN_FIRST_MS * 2 ** Math.min(beyond - 1, 16));
}

export function isOverBudget(view: VmView): boolean {
  return recentFailovers(view) > view.failoversPerHour;
}

const whyHeld = (view: VmView): string => {
  const { name } = view.wanted.spec;
  return (
    `held: ${recentFailovers(view)} failovers within an hour, more than the ${view.failoversPerHour} that are allowed. The guest runs alone ` +
    `until the hour has passed, or until the cause is found (coloctl history ${name}) and you say: coloctl vm release ${name}`
  );
};

export const budgetRows: readonly Row[] = [
  {
    name: 'held',
    from: ['solo'],
    to: 'held',
    why: 'The pair of this VM broke too often within an hour. Making it again would only break it again, and each time costs the guest a pause.',
    when: (view) => view.wanted.protect && view.a?.qemu === 'alive' && isOverBudget(view),
    act: (view) => edge(view, 'held', whyHeld(view), {}),
  },
  {
    name: 'released',
    from: ['held'],
    to: 'solo',
    why: 'The hour has passed, an operator released the VM, or it is not to be protected any more.',
    when: (view) => view.a?.qemu === 'alive' && (!view.wanted.protect || !isOverBudget(view)),
    act: (view) =>
      edge(view, 'solo', 'runs alone, no longer held', { disk: view.a === null ? view.record.disk : diskOf(view.a, view.record) }),
  },
];

/** Stands after the rows that `held` shares with `solo`: it still runs the guest. */
export const staysHeld: Row = {
  name: 'held-alone',
  from: ['held'],
  to: 'same',
  why: 'The guest runs alone and is not protected, because its pair broke too often within an hour.',
  when: () => true,
  act: (view) => ({
    kind: 'hold',
    reason: view.a?.qemu === 'unheard' ? `${whyHeld(view)}; the agent of ${view.a.side.host} is not heard` : whyHeld(view),
  }),
};
