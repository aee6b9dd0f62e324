// Draws what goes wrong in one scenario: a few faults that overlap, at random instants or at the very step of something that is going on,
// and what ends each of them. The result is a list of commands with their times; the same seed and round give the same list.

import { TABLE } from '../../../coordinator/core/decide.js';
import { Rng } from '../world/rng.js';
import type { Setup } from '../world/setup.js';

export interface Planned {
  /** Milliseconds after the scenario's faults begin. */
  readonly atMs: number;
  readonly command: string;
  /** Null = at that instant; else when the event log next contains this text after it. */
  readonly on: string | null;
}

/** What ends a fault and is none itself. */
const END = /^(wake-all|mend-|boot-all|heal-links|etcd up|slow-store 0$|weather 0 0 |want running|protect yes|member \S+ well)/;

/** How many things a round lets go wrong, their ends not counted. */
export function faultsIn(round: Round): number {
  return round.faults.filter(({ command }) => !END.test(command)).length;
}

type Draw = (rng: Rng, setup: Setup) => readonly Planned[];

const at = (atMs: number, command: string): Planned => ({ atMs, command, on: null });
/** Faults that overlap find more than faults that follow each other. */
const SPREAD_MS = 1_200;
const soon = (rng: Rng): number => rng.between(0, SPREAD_MS);
/** As often short as long: every bound of the product, from a beat to a lease, lies within. */
const spanMs = (rng: Rng, least: number, most: number): number => least * (most / least) ** rng.fraction();
const lasting = (rng: Rng, begin: string, end: string, most: number): readonly Planned[] => {
  const atMs = soon(rng);
  return [at(atMs, begin), at(atMs + spanMs(rng, 30, most), end)];
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

const STEPS_OF_A_PAIR = ['has received a checkpoint', 'has received a checkpoint', 'begins a checkpoint', 'event RESUME'];
const ROWS = TABLE.map((row) => row.name);

const FAULTS: readonly (readonly [number, Draw])[] = [
  [5, (rng) => [at(soon(rng), `kill ${role(rng)}`)]],
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
  [4, (rng) => [at(soon(rng), `crash ${process(rng)}`)]],
  [4, (rng) => [at(soon(rng), `crash-at ${process(rng)} ${1 + rng.int(40)} ${rng.pick(['before', 'after'])}`)]],
  [4, (rng) => pauseProcess(rng)],
  [3, (rng) => lasting(rng, 'etcd down', 'etcd up', 5_000)],
  [2, (rng) => lasting(rng, `slow-store ${rng.pick(['0.05', '0.3', '0.7'])}`, 'slow-store 0', 5_000)],
  [2, (rng) => oneMember(rng)],
  [1, (rng) => [at(soon(rng), 'compact')]],
  [2, (rng) => [at(soon(rng), `lose-lease ${rng.int(8)}`)]],
  [2, (rng, setup) => [at(soon(rng), `freeze-watch ${rng.pick(machines(setup))} ${Math.round(rng.between(100, 4_000))}`)]],
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
  [1, (rng) => [at(soon(rng), 'bad-load')]],
  [1, (rng) => [at(soon(rng), 'guest-poweroff')]],
  [2, (rng) => lasting(rng, 'want stopped', 'want running', 3_000)],
  [1, (rng) => [at(soon(rng), 'want deleted')]],
  [1, lateLeader],
  [1, unfitWinner],
  [1, bothSides],
  [1, (rng) => lasting(rng, 'protect no', 'protect yes', 3_000)],
  [1, (rng) => [at(soon(rng), `step-clock ${process(rng)} ${Math.round(rng.between(-4e6, 4e6))}`)]],
];
const TOTAL = FAULTS.reduce((sum, [weight]) => sum + weight, 0);

/** What goes wrong between two rests, and how long it then stays as it is before all is healed. */
export interface Round {
  readonly faults: readonly Planned[];
  readonly tailMs: number;
  /** VMs that stand still since the last round come up first, or among the faults. */
  readonly warm: boolean;
}

export function drawRound(setup: Setup, round: number): Round {
  const rng = new Rng(setup.seed).fork(`round ${round}`);
  const warm = rng.chance(round === 0 ? 0.83 : 0.7);
  return { warm, faults: drawFaults(rng, setup), tailMs: spanMs(rng, 50, 1_500) };
}

function drawFaults(rng: Rng, setup: Setup): readonly Planned[] {
  const count = 1 + rng.int(rng.chance(0.3) ? 5 : 3);
  const planned: Planned[] = [];
  for (let k = 0; k < count; k += 1) {
    const fault = drawOne(rng, setup);
    // Now and then it does not come at an instant but at a step of what is going on, or while a certain row of the table decides.
    const [first, ...rest] = fault;
    if (first === undefined) continue;
    const on = rng.chance(0.25) ? `row ${rng.pick(ROWS)} of` : rng.pick(STEPS);
    if (k === 0) planned.push(rng.chance(0.15) ? { ...first, on: rng.pick(STEPS_OF_A_PAIR) } : first, ...rest);
    else planned.push(rng.chance(0.5) ? { ...first, atMs: first.atMs / 2, on } : first, ...rest);
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

/** One of etcd's members by itself; the clients must find the others. */
function oneMember(rng: Rng): readonly Planned[] {
  const member = `member e${1 + rng.int(3)}`;
  return lasting(rng, `${member} ${rng.pick(['pause', 'cut'])}`, `${member} well`, 5_000);
}

function hostDark(rng: Rng): readonly Planned[] {
  const atMs = soon(rng);
  const which = rng.pick(['host-primary', 'host-primary', 'host-secondary', 'host-leader']);
  return [at(atMs, `dark ${which}`), ...(rng.chance(0.6) ? [at(atMs + spanMs(rng, 100, 6_000), 'boot-all')] : [])];
}

/** The leader stood still while a pair broke, and comes back before anybody has taken its place: its silences may be its own. */
function lateLeader(rng: Rng): readonly Planned[] {
  const atMs = soon(rng);
  const what = rng.pick([
    'cut-both repl host-primary host-secondary',
    'hang secondary',
    'hang primary',
    'isolate mgmt host-secondary both',
  ]);
  const wakes = atMs + rng.between(200, 700);
  return [at(atMs, 'pause leader'), at(atMs + rng.between(0, 100), what), at(wakes, 'wake-all'), at(wakes + 1_500, 'heal-links')];
}

/** The primary is lost in the moment in which the secondary fails to load what it has received. */
function unfitWinner(rng: Rng): readonly Planned[] {
  const atMs = soon(rng);
  const how = rng.pick(['stop primary', 'hang primary', 'dark host-primary', 'isolate mgmt host-primary both', 'kill primary']);
  const more = rng.chance(0.5) ? [at(atMs + rng.between(1, 800), 'kill primary')] : [];
  return [at(atMs, 'bad-load'), { ...at(atMs, how), on: 'has received a checkpoint' }, ...more];
}

/** Both sides within a moment: hung, dead or unheard in all mixtures. */
function bothSides(rng: Rng): readonly Planned[] {
  const atMs = soon(rng);
  const ways = ['kill', 'stop', 'hang', 'isolate mgmt', 'dark'];
  const one = (side: string): string => {
    const way = rng.pick(ways);
    return way.startsWith('isolate') || way === 'dark' ? `${way} host-${side}` : `${way} ${side}`;
  };
  return [at(atMs, one('primary')), at(atMs + rng.between(0, 300), one('secondary'))];
}

function pauseProcess(rng: Rng): readonly Planned[] {
  const who = process(rng);
  const atMs = soon(rng);
  return [at(atMs, `pause ${who}`), at(atMs + spanMs(rng, 50, 4_000), 'wake-all')];
}
