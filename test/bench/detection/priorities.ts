// `npm run bench -- priorities`: what a priority is worth to an agent beside guests that take all processors. The same two agents are run with each
// setting in turn, many times over, so that whatever else the machine does strikes all of them alike: how late their beats are, how often they doubt
// a peer that is well, and how soon they notice a cut.

import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, rmdirSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { LabError } from '../../../deploy/lab/command.js';
import { quantile } from '../../../deploy/lab/probe-analysis.js';
import { waitFor } from '../../support/wait.js';
import { markdown } from '../markdown.js';
import type { BenchResult } from '../own-lab.js';
import { allWell, falseAlarmsWithin, FAULTS, round } from './rounds.js';
import { HOSTS, Stage } from './stage.js';

export interface PrioritiesOptions {
  readonly rounds: number;
  readonly seconds: number;
  readonly report: (line: string) => void;
  readonly signal: AbortSignal;
}

interface Setting {
  readonly name: string;
  /** Each busy loop has a group of its own, as each QEMU has under systemd once any unit sets CPUWeight=; else all share one group. */
  readonly isGrouped: boolean;
  /** CPUWeight= of the agents' own group; null = they are in none. */
  readonly weight: number | null;
  /** The program by which the agents are started. */
  readonly through: readonly string[];
}

const SETTINGS: readonly Setting[] = [
  { name: 'no groups, no priority', isGrouped: false, weight: null, through: [] },
  { name: 'no groups, nice -10', isGrouped: false, weight: null, through: ['nice', '-n', '-10'] },
  { name: 'CPUWeight=100, as every unit', isGrouped: true, weight: 100, through: [] },
  { name: 'CPUWeight=500', isGrouped: true, weight: 500, through: [] },
  // Where the kernel gives real time to groups (CONFIG_RT_GROUP_SCHED), a group of its own would have none.
  { name: 'SCHED_RR, priority 10', isGrouped: true, weight: null, through: ['chrt', '--rr', '10'] },
];

const LOOPS_A_PROCESSOR = 2;
const GONE_MS = 10_000;
const ENOUGH_FOR_P99 = 100;

interface Seen {
  readonly lateMs: number[];
  readonly silentMs: number[];
  readonly silencedMs: number[];
  doubts: number;
  falseAlarms: number;
}

export async function benchPriorities({ rounds, seconds, report, signal }: PrioritiesOptions): Promise<BenchResult> {
  const stage = new Stage(fileURLToPath(new URL('.', import.meta.url)));
  const groups = new Groups();
  const loops = Array.from({ length: LOOPS_A_PROCESSOR * availableParallelism() }, busyLoop);
  const seen = new Map(SETTINGS.map(({ name }) => [name, { lateMs: [], silentMs: [], silencedMs: [], doubts: 0, falseAlarms: 0 } as Seen]));
  try {
    await stage.raise();
    for (let k = 0; k < rounds; k += 1) {
      // Each setting is the first one as often as any other.
      for (const setting of SETTINGS.map((_, n) => SETTINGS[(n + k) % SETTINGS.length])) {
        if (signal.aborted) throw new LabError('interrupted');
        const into = setting && seen.get(setting.name);
        if (setting === undefined || into === undefined) continue;
        await begin(stage, groups, loops, setting);
        await listen(stage, seconds, into);
      }
      report(`round ${k + 1} of ${rounds}`);
    }
    return { text: tableOf(seen, loops.length), held: [...seen.values()].every(({ falseAlarms }) => falseAlarms === 0) };
  } finally {
    await stage.lower();
    await Promise.all(loops.map(ended));
    groups.remove();
  }
}

async function begin(stage: Stage, groups: Groups, loops: readonly ChildProcess[], { isGrouped, weight, through }: Setting): Promise<void> {
  loops.forEach((loop, index) => groups.move(loop, isGrouped ? `guest${index}` : null));
  await Promise.all(HOSTS.map((host) => ended(stage.watcher(host).child)));
  for (const host of HOSTS) stage.start(host, [...(weight === null ? [] : groups.entering(host, weight)), ...through]);
  await allWell(stage);
}

async function listen(stage: Stage, seconds: number, into: Seen): Promise<void> {
  const from = new Map(HOSTS.map((host) => [host, stage.watcher(host).lines.length]));
  into.falseAlarms += await falseAlarmsWithin(stage, seconds * 1_000);
  for (const host of HOSTS) {
    for (const line of stage.watcher(host).lines.slice(from.get(host))) {
      if (line.kind === 'lateness') into.lateMs.push(...line.latenessMs);
      if (line.kind === 'judged' && line.state === 'unknown') into.doubts += 1;
    }
  }
  const [cut] = FAULTS;
  if (cut === undefined) return;
  const { silentMs, silencedMs, falseAlarms } = await round(stage, cut);
  into.silentMs.push(...silentMs);
  into.silencedMs.push(...silencedMs);
  into.falseAlarms += falseAlarms;
}

function tableOf(seen: ReadonlyMap<string, Seen>, loops: number): string {
  const ms = (values: readonly number[]): string => {
    const p99 = values.length >= ENOUGH_FOR_P99 ? quantile(values, 0.99).toFixed(1) : '-';
    return values.length === 0 ? '-' : `${quantile(values, 0.5).toFixed(1)}, ${p99}, ${Math.max(...values).toFixed(1)}`;
  };
  const rows = [...seen].map(([name, { lateMs, doubts, falseAlarms, silentMs, silencedMs }]) => [
    name,
    String(lateMs.length),
    ms(lateMs),
    String(doubts),
    String(falseAlarms),
    String(silentMs.length),
    ms(silentMs),
    ms(silencedMs),
  ]);
  const head = [
    'agents',
    'beats',
    'late: p50, p99, max',
    'doubts',
    'false alarms',
    'n',
    'cut -> silent: p50, p99, max',
    'silent -> filter',
  ];
  return `${loops} busy loops on ${availableParallelism()} processors, milliseconds:\n\n${markdown(head, rows)}`;
}

function busyLoop(): ChildProcess {
  return spawn('setpriv', ['--pdeathsig', 'KILL', process.execPath, '-e', 'for(;;);'], { stdio: 'ignore' });
}

async function ended(child: ChildProcess): Promise<void> {
  child.kill('SIGKILL');
  await waitFor(() => child.exitCode !== null || child.signalCode !== null, { what: 'the end of a process', boundMs: GONE_MS, everyMs: 5 });
}

/** Groups of the controller of processors, of either version, made when they are first wanted. */
class Groups {
  readonly #isOld = existsSync('/sys/fs/cgroup/cpu/cpu.shares');
  readonly #base = this.#isOld ? '/sys/fs/cgroup/cpu' : '/sys/fs/cgroup';
  readonly #made = new Set<string>();

  #group(name: string, weight: number): string {
    const path = join(this.#base, `colo-bench-${process.pid}-${name}`);
    if (!this.#made.has(path)) {
      if (!this.#isOld) writeFileSync(join(this.#base, 'cgroup.subtree_control'), '+cpu');
      mkdirSync(path);
      this.#made.add(path);
    }
    // A weight of 100 is what 1024 shares are.
    if (this.#isOld) writeFileSync(join(path, 'cpu.shares'), String(Math.round((weight * 1024) / 100)));
    else writeFileSync(join(path, 'cpu.weight'), String(weight));
    return join(path, 'cgroup.procs');
  }

  /** `name`: null = where everything else of this machine is. */
  move(child: ChildProcess, name: string | null): void {
    writeFileSync(name === null ? join(this.#base, 'cgroup.procs') : this.#group(name, 100), String(child.pid));
  }

  /** A command that enters a group and becomes what follows. */
  entering(name: string, weight: number): readonly string[] {
    return ['sh', '-c', 'echo $$ >"$0" && exec "$@"', this.#group(name, weight)];
  }

  remove(): void {
    for (const path of this.#made) rmdirSync(path);
  }
}
