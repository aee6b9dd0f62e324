// The table of faults (issue of silent deaths): what is done, to which side, with which leaders on the struck host, who must run the guest
// afterwards, and how soon. Pure: strikes are in hands.ts.

import type { Role } from '../../../deploy/lab/sides.js';

/** Which leaders the struck host carries; those that it does not carry are on the host that has no side of the pair. */
export const PLACES = ['elsewhere', 'coordinator', 'etcd', 'both'] as const;
export type Place = (typeof PLACES)[number];

/** `other`: the side that was not struck goes on. `primary`: the primary goes on, whoever was struck. `nobody`: no verdict at all. */
export type Survivor = 'other' | 'primary' | 'nobody';

export const FAULT_NAMES = [
  'QEMU SIGKILL',
  'QEMU SIGSTOP',
  'agent SIGKILL',
  'agent SIGSTOP',
  'host dark',
  'replication link cut',
  'management link cut',
  'both links cut',
  'replication cut one way, out',
  'replication cut one way, in',
  'management cut one way, out',
  'management cut one way, in',
  'guest network cut',
  'coordinator leader SIGKILL',
  'coordinator leader SIGSTOP',
] as const;
export type FaultName = (typeof FAULT_NAMES)[number];

export interface FaultKind {
  readonly survivor: Survivor;
  /** A fault that must move nobody is watched for so long: longer than whatever could wrongly come of it. */
  readonly watchMs: number;
  /** Strikes a coordinator and not a side of the pair. */
  readonly ofCoordinator: boolean;
}

/** An agent that is silent would count as hung after 2 s, and checkpoints would be missed after 4.5 s. */
const LONG_WATCH_MS = 5_000;
const SHORT_WATCH_MS = 2_000;

const other: FaultKind = { survivor: 'other', watchMs: 0, ofCoordinator: false };
const primary: FaultKind = { survivor: 'primary', watchMs: 0, ofCoordinator: false };
const nobody: FaultKind = { survivor: 'nobody', watchMs: LONG_WATCH_MS, ofCoordinator: false };

export const FAULTS: Readonly<Record<FaultName, FaultKind>> = {
  'QEMU SIGKILL': other,
  'QEMU SIGSTOP': other,
  'agent SIGKILL': nobody,
  'agent SIGSTOP': nobody,
  'host dark': other,
  'replication link cut': primary,
  'management link cut': nobody,
  'both links cut': other,
  'replication cut one way, out': primary,
  'replication cut one way, in': primary,
  'management cut one way, out': nobody,
  'management cut one way, in': nobody,
  'guest network cut': { ...nobody, watchMs: SHORT_WATCH_MS },
  'coordinator leader SIGKILL': { ...nobody, watchMs: SHORT_WATCH_MS, ofCoordinator: true },
  'coordinator leader SIGSTOP': { ...nobody, watchMs: SHORT_WATCH_MS, ofCoordinator: true },
};

/** What a class of strikes is held against, in milliseconds; null = nothing is promised. */
export interface Target {
  /** Fault -> running alone; for a killed coordinator: fault -> another one leads. */
  readonly p50Ms: number | null;
  readonly p99Ms: number;
  readonly gapP50Ms: number | null;
}

export interface FaultClass {
  readonly fault: FaultName;
  /** Null = the fault strikes no side. */
  readonly role: Role | null;
  readonly place: Place;
  readonly target: Target | null;
}

export interface Choice {
  /** Parts of names, any of which is enough; empty = all. */
  readonly only: readonly string[];
  readonly roles: readonly Role[];
  readonly places: readonly Place[];
  /** Only classes that a time is promised for. */
  readonly targetsOnly: boolean;
}

const DARK: Readonly<Record<Place, Target | null>> = {
  elsewhere: { p50Ms: 450, p99Ms: 600, gapP50Ms: null },
  coordinator: { p50Ms: null, p99Ms: 1_500, gapP50Ms: null },
  // Nothing is promised of etcd's leader alone: it is bounded by the next class.
  etcd: null,
  both: { p50Ms: null, p99Ms: 4_000, gapP50Ms: null },
};

const ROLES: readonly Role[] = ['primary', 'secondary'];

export const ALL_CLASSES: readonly FaultClass[] = FAULT_NAMES.flatMap((fault): readonly FaultClass[] => {
  if (FAULTS[fault].ofCoordinator) return [{ fault, role: null, place: 'elsewhere', target: targetOf(fault, 'elsewhere') }];
  return ROLES.flatMap((role) => PLACES.map((place) => ({ fault, role, place, target: targetOf(fault, place) })));
});

export function chosen(choice: Choice): readonly FaultClass[] {
  return ALL_CLASSES.filter(
    (each) =>
      (choice.only.length === 0 || choice.only.some((part) => each.fault.includes(part))) &&
      (each.role === null || choice.roles.includes(each.role)) &&
      choice.places.includes(each.place) &&
      (!choice.targetsOnly || each.target !== null),
  );
}

function targetOf(fault: FaultName, place: Place): Target | null {
  if (fault === 'host dark') return DARK[place];
  if (fault === 'coordinator leader SIGKILL') return { p50Ms: null, p99Ms: 1_000, gapP50Ms: null };
  if (place !== 'elsewhere') return null;
  if (fault === 'replication link cut') return { p50Ms: null, p99Ms: 600, gapP50Ms: null };
  if (fault === 'QEMU SIGSTOP') return { p50Ms: null, p99Ms: 1_000, gapP50Ms: null };
  return fault === 'QEMU SIGKILL' ? { p50Ms: 60, p99Ms: 200, gapP50Ms: 300 } : null;
}

/**
 * Whether the sides can agree on nothing more from the fault on. While only the way to the secondary is cut, its answers and its word that a
 * checkpoint is loaded still come, so that the primary may let out what both had until the verdict.
 */
export function breaksPair({ fault, role }: FaultClass): boolean {
  if (fault === 'replication cut one way, out') return role === 'secondary';
  if (fault === 'replication cut one way, in') return role === 'primary';
  return FAULTS[fault].survivor !== 'nobody';
}

export function nameOf({ fault, role, place }: FaultClass): string {
  return [role, fault, ...(place === 'elsewhere' ? [] : [place === 'both' ? 'carries both leaders' : `carries ${place} leader`])]
    .filter((each) => each !== null)
    .join(', ');
}
