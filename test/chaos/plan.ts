// The plan of a chaos: which faults come in which round, on whom, for how long and how close to each other. It comes from the seed alone, so
// that the same seed means the same plan on every machine; whom a role names in the end is looked up when the blow falls.

import { Rng } from '../sim/world/rng.js';

export const FAULTS = [
  'qemu-kill',
  'qemu-stop',
  'agent-kill',
  'agent-stop',
  'coordinator-kill',
  'coordinator-stop',
  'etcd-kill',
  'etcd-stop',
  'etcd-majority-stop',
  'host-dark',
  'cut-replication',
  'cut-replication-out',
  'cut-replication-in',
  'cut-management',
  'cut-management-out',
  'cut-management-in',
  'cut-guest',
  'cut-both',
  'load',
] as const;
export type FaultKind = (typeof FAULTS)[number];

/** Roles of hosts: of the VM's record, or of the control plane. */
export const TARGETS = ['primary', 'secondary', 'spare', 'leader', 'etcd-leader'] as const;
export type Target = (typeof TARGETS)[number];

export interface Fault {
  readonly kind: FaultKind;
  readonly target: Target;
  /** After the round's first blow. */
  readonly atMs: number;
  /** From the blow until it is undone. */
  readonly holdMs: number;
}

export interface Round {
  readonly faults: readonly Fault[];
  /** The cluster is left alone for so long before the round. */
  readonly calmMs: number;
  /** The next round waits until the VM is protected again; else it strikes into whatever is under way. */
  readonly recovers: boolean;
}

interface Draw {
  readonly weight: number;
  readonly targets: readonly Target[];
  readonly holdMs: readonly [number, number];
}

const SIDES = ['primary', 'secondary'] as const;
const ANYONE = ['primary', 'secondary', 'spare', 'leader', 'etcd-leader'] as const;

const DRAWS: Readonly<Record<FaultKind, Draw>> = {
  'qemu-kill': { weight: 5, targets: SIDES, holdMs: [0, 0] },
  'qemu-stop': { weight: 3, targets: SIDES, holdMs: [300, 6_000] },
  'agent-kill': { weight: 3, targets: ['primary', 'secondary', 'spare'], holdMs: [0, 4_000] },
  'agent-stop': { weight: 3, targets: ['primary', 'secondary', 'spare'], holdMs: [200, 6_000] },
  'coordinator-kill': { weight: 2, targets: ['leader', 'leader', 'primary', 'secondary'], holdMs: [0, 4_000] },
  'coordinator-stop': { weight: 2, targets: ['leader', 'leader', 'primary', 'secondary'], holdMs: [200, 6_000] },
  'etcd-kill': { weight: 2, targets: ['etcd-leader', 'primary', 'secondary'], holdMs: [0, 4_000] },
  'etcd-stop': { weight: 2, targets: ['etcd-leader', 'primary', 'secondary'], holdMs: [200, 6_000] },
  'etcd-majority-stop': { weight: 1, targets: ['etcd-leader'], holdMs: [1_000, 8_000] },
  'host-dark': {
    weight: 5,
    targets: ['primary', 'primary', 'secondary', 'secondary', 'spare', 'leader', 'etcd-leader'],
    holdMs: [500, 5_000],
  },
  'cut-replication': { weight: 3, targets: SIDES, holdMs: [100, 5_000] },
  'cut-replication-out': { weight: 1, targets: SIDES, holdMs: [100, 5_000] },
  'cut-replication-in': { weight: 1, targets: SIDES, holdMs: [100, 5_000] },
  'cut-management': { weight: 2, targets: ANYONE, holdMs: [500, 6_000] },
  'cut-management-out': { weight: 1, targets: ANYONE, holdMs: [500, 6_000] },
  'cut-management-in': { weight: 1, targets: ANYONE, holdMs: [500, 6_000] },
  'cut-guest': { weight: 1, targets: SIDES, holdMs: [200, 3_000] },
  'cut-both': { weight: 2, targets: SIDES, holdMs: [500, 5_000] },
  load: { weight: 1, targets: ['primary'], holdMs: [1_000, 4_000] },
};

const CALM_MS = [500, 3_000] as const;
/** How soon after one blow of a round the next one falls. */
const APART_MS = [0, 1_500] as const;
const DOUBLE = 0.35;
const TRIPLE = 0.1;
const STRAIGHT_ON = 0.2;

/** As many rounds as are asked for; a longer plan of the same seed begins with the shorter one. */
export function planOf(seed: number, rounds: number): readonly Round[] {
  return Array.from({ length: rounds }, (_, number) => drawRound(new Rng(seed).fork(`round ${number}`)));
}

function drawRound(rng: Rng): Round {
  const luck = rng.fraction();
  const count = luck < TRIPLE ? 3 : luck < TRIPLE + DOUBLE ? 2 : 1;
  const faults: Fault[] = [];
  let atMs = 0;
  for (let k = 0; k < count; k += 1) {
    faults.push(drawFault(rng, atMs));
    atMs += whole(rng, APART_MS);
  }
  return { faults, calmMs: whole(rng, CALM_MS), recovers: !rng.chance(STRAIGHT_ON) };
}

function drawFault(rng: Rng, atMs: number): Fault {
  const total = FAULTS.reduce((sum, each) => sum + DRAWS[each].weight, 0);
  let left = rng.fraction() * total;
  const kind = FAULTS.find((each) => (left -= DRAWS[each].weight) < 0) ?? 'load';
  const { targets, holdMs } = DRAWS[kind];
  return { kind, target: rng.pick(targets), atMs, holdMs: whole(rng, holdMs) };
}

const whole = (rng: Rng, [low, high]: readonly [number, number]): number => Math.round(rng.between(low, high));

export function describeFault({ kind, target, atMs, holdMs }: Fault): string {
  return `${kind} of ${target} at ${atMs} ms for ${holdMs} ms`;
}
