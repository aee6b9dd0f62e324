// Draws what goes wrong in one scenario: a few faults that overlap, at random instants or at the very step of something that is going on,
// and what ends each of them. The result is a list of commands with their times; the same seed gives the same list.

import { Rng } from '../world/rng.js';
import type { Setup } from '../world/setup.js';

export interface Planned {
  /** Milliseconds after the scenario's faults begin. */
  readonly atMs: number;
  readonly command: string;
  /** Null = at that instant; else when the event log next contains this text after it. */
  readonly on: string | null;
}

type Draw = (rng: Rng, setup: Setup) => readonly Planned[];

const at = (atMs: number, command: string): Planned => ({ atMs, command, on: null });
const lasting = (rng: Rng, begin: string, end: string, most: number): readonly Planned[] => {
  const atMs = rng.between(0, 2_500);
  return [at(atMs, begin), at(atMs + rng.between(20, most), end)];
};

const role = (rng: Rng): string => rng.pick(['primary', 'secondary']);
const process = (rng: Rng): string => rng.pick(['leader', 'leader', 'follower', 'agent-primary', 'agent-secondary']);
const machines = (setup: Setup): readonly string[] => [...new Set([...setup.hosts, ...setup.coordinators.values()])];

/** Steps at which something else may go wrong as well: rows, checkpoints, commands to QEMU. */
const STEPS = [
  '-> starting@',
  '-> solo@',
  '-> syncing@',
  '-> protected@',
  '-> verdict@',
  '-> verdict@',
  '-> executed@',
  '-> stopping@',
  '-> stopped@',
  'has received a checkpoint',
  'has received a checkpoint',
  'begins a checkpoint',
  'launched as',
  'order-begun',
  'drive-mirror',
  'blockdev-mirror',
  'BLOCK_JOB_READY',
  'block-job-cancel',
  'drive_add',
  'object-add',
  'migrate {',
  'status":"colo"',
  'yank',
  'x-colo-lost-heartbeat',
  'nbd-server-stop',
  'object-del',
  'chardev-add',
  'COLO_EXIT',
  'qemu-dead',
  'leadership-won',
];

const FAULTS: readonly (readonly [number, Draw])[] = [
  [5, (rng) => [at(rng.between(0, 2_500), `kill ${role(rng)}`)]],
  [4, (rng) => lasting(rng, `stop ${role(rng)}`, 'wake-all-qemus', 5_000)],
  [2, (rng) => lasting(rng, `hang ${role(rng)}`, 'wake-all-qemus', 6_000)],
  [5, (rng) => hostDark(rng)],
  [4, (rng) => lasting(rng, 'cut-both repl host-primary host-secondary', 'mend-all', 6_000)],
  [3, (rng) => lasting(rng, `cut repl ${rng.pick(['host-primary host-secondary', 'host-secondary host-primary'])}`, 'mend-all', 6_000)],
  [
    3,
    (rng) =>
      lasting(
        rng,
        `isolate mgmt ${rng.pick(['host-primary', 'host-secondary', 'host-leader'])} ${rng.pick(['in', 'out', 'both'])}`,
        'mend-all',
        6_000,
      ),
  ],
  [2, (rng, setup) => lasting(rng, `cut mgmt ${rng.pick(machines(setup))} ${rng.pick([...machines(setup), 'etcd'])}`, 'mend-all', 5_000)],
  [4, (rng) => [at(rng.between(0, 2_500), `crash ${process(rng)}`)]],
  [4, (rng) => [at(rng.between(0, 2_500), `crash-at ${process(rng)} ${1 + rng.int(40)} ${rng.pick(['before', 'after'])}`)]],
  [4, (rng) => pauseProcess(rng)],
  [3, (rng) => lasting(rng, 'etcd down', 'etcd up', 5_000)],
  [2, (rng) => lasting(rng, `slow-store ${rng.pick(['0.05', '0.3', '0.7'])}`, 'slow-store 0', 5_000)],
  [2, (rng) => [at(rng.between(0, 2_500), `lose-lease ${rng.int(8)}`)]],
  [2, (rng, setup) => [at(rng.between(0, 2_500), `freeze-watch ${rng.pick(machines(setup))} ${Math.round(rng.between(100, 4_000))}`)]],
  [
    3,
    (rng) =>
      lasting(
        rng,
        `weather ${rng.pick(['0.02', '0.2'])} ${rng.pick(['0', '0.2'])} ${rng.pick(['20', '300', '1500'])}`,
        'weather 0 0 5',
        5_000,
      ),
  ],
  [2, (rng) => lasting(rng, 'full host-secondary', 'mend-disks', 4_000)],
  [1, (rng) => lasting(rng, `bad-disk ${role(rng)}`, 'mend-disks', 4_000)],
  [1, (rng) => [at(rng.between(0, 2_500), 'bad-load')]],
  [1, (rng) => [at(rng.between(0, 2_500), 'guest-poweroff')]],
  [2, (rng) => lasting(rng, 'want stopped', 'want running', 3_000)],
  [1, (rng) => lasting(rng, 'protect no', 'protect yes', 3_000)],
  [1, (rng) => [at(rng.between(0, 2_500), `step-clock ${process(rng)} ${Math.round(rng.between(-4e6, 4e6))}`)]],
];
const TOTAL = FAULTS.reduce((sum, [weight]) => sum + weight, 0);

export function drawFaults(setup: Setup): readonly Planned[] {
  const rng = new Rng(setup.seed).fork('faults');
  const count = 1 + rng.int(rng.chance(0.3) ? 5 : 3);
  const planned: Planned[] = [];
  for (let k = 0; k < count; k += 1) {
    const fault = drawOne(rng, setup);
    // Now and then it does not come at an instant but at a step.
    const [first, ...rest] = fault;
    if (first === undefined) continue;
    planned.push(rng.chance(0.35) ? { ...first, atMs: k === 0 ? 0 : first.atMs, on: rng.pick(STEPS) } : first, ...rest);
  }
  return [...planned].sort((one, other) => one.atMs - other.atMs);
}

function drawOne(rng: Rng, setup: Setup): readonly Planned[] {
  let luck = rng.fraction() * TOTAL;
  for (const [weight, draw] of FAULTS) {
    luck -= weight;
    if (luck < 0) return draw(rng, setup);
  }
  return [];
}

function hostDark(rng: Rng): readonly Planned[] {
  const atMs = rng.between(0, 2_500);
  const which = rng.pick(['host-primary', 'host-primary', 'host-secondary', 'host-leader']);
  return [at(atMs, `dark ${which}`), ...(rng.chance(0.6) ? [at(atMs + rng.between(100, 6_000), 'boot-all')] : [])];
}

function pauseProcess(rng: Rng): readonly Planned[] {
  const who = process(rng);
  const atMs = rng.between(0, 2_500);
  return [at(atMs, `pause ${who}`), at(atMs + rng.between(50, 4_000), 'wake-all')];
}
