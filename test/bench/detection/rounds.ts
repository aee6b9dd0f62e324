// The rounds of the measurement: a fault, the instants at which each side says `silent`, and the healing. `n` of each, and for those faults
// that are no silence, that nobody ever says so.

import { waitFor } from '../../support/wait.js';
import { HOSTS, machineMs, type HostName, type Stage, type Watcher } from './stage.js';

export interface Fault {
  readonly name: string;
  readonly strike: (stage: Stage) => Promise<void> | void;
  readonly heal: (stage: Stage) => Promise<void> | void;
  /** Sides that must say `silent`; the others must not. */
  readonly silentOn: readonly HostName[];
  /** For a fault that makes nobody silent: how long it lasts. */
  readonly lastsMs: number;
}

export const FAULTS: readonly Fault[] = [
  { name: 'link cut silently', strike: (stage) => stage.cutLink(), heal: (stage) => stage.heal(), silentOn: HOSTS, lastsMs: 0 },
  { name: 'host b dark', strike: (stage) => stage.darken('b'), heal: (stage) => stage.heal(), silentOn: HOSTS, lastsMs: 0 },
  { name: 'one way cut, a to b', strike: (stage) => stage.cutFrom('a'), heal: (stage) => stage.heal(), silentOn: HOSTS, lastsMs: 0 },
  { name: 'one way cut, b to a', strike: (stage) => stage.cutFrom('b'), heal: (stage) => stage.heal(), silentOn: HOSTS, lastsMs: 0 },
  {
    name: 'agent of b killed',
    strike: (stage) => void stage.watcher('b').child.kill('SIGKILL'),
    heal: (stage) => void stage.start('b'),
    silentOn: [],
    lastsMs: 1_500,
  },
  {
    name: 'agent of b stopped',
    strike: (stage) => void stage.watcher('b').child.kill('SIGSTOP'),
    heal: (stage) => void stage.watcher('b').child.kill('SIGCONT'),
    silentOn: [],
    lastsMs: 1_500,
  },
];

export interface Round {
  /** From just before the fault was ordered to the judgement `silent`, per side that says it, in milliseconds. */
  readonly silentMs: readonly number[];
  /** From a side's judgement to the filter being in place. */
  readonly silencedMs: readonly number[];
  /** Sides that said `silent` and must not have. */
  readonly falseAlarms: number;
}

const BOUND_MS = 10_000;

/** A primary is heard again only after a checkpoint, which may wait for its TCP connection to recover. */
function isHeard({ lines }: Watcher): boolean {
  const last = lines.findLast((line) => line.kind === 'log' && line.event === 'taps-silenced');
  return last?.kind !== 'log' || (last.fields['silenced'] as readonly string[]).length === 0;
}

export async function allWell(stage: Stage): Promise<void> {
  const isWell = (watcher: Watcher): boolean => watcher.state() === 'ok' && isHeard(watcher);
  await waitFor(() => HOSTS.every((host) => isWell(stage.watcher(host))), {
    what: 'both sides judging the pair to be ok, and heard',
    boundMs: BOUND_MS,
    everyMs: 5,
    context: () =>
      HOSTS.map((host) =>
        JSON.stringify(
          stage
            .watcher(host)
            .lines.filter((line) => line.kind !== 'lateness')
            .slice(-3),
        ),
      ).join('\n'),
  });
}

export async function round(stage: Stage, fault: Fault): Promise<Round> {
  await allWell(stage);
  // Faults must fall anywhere between two beats.
  await pass(Math.random() * 100);
  const watched = new Map(HOSTS.map((host) => [host, stage.watcher(host)]));
  const atMs = machineMs();
  await fault.strike(stage);
  if (fault.silentOn.length > 0) {
    await waitFor(() => fault.silentOn.every((host) => watched.get(host)?.judgedAfter(atMs, 'silent')), {
      what: `"silent" on ${fault.silentOn.join(' and ')} after: ${fault.name}`,
      boundMs: BOUND_MS,
      everyMs: 5,
    });
  }
  const silenced = (host: HostName): number[] => {
    const judged = watched.get(host)?.judgedAfter(atMs, 'silent');
    const done = watched.get(host)?.lines.find((line) => line.kind === 'log' && line.event === 'taps-silenced' && line.atMs >= atMs);
    return judged && done ? [done.atMs - judged.atMs] : [];
  };
  if (fault.silentOn.length > 0) {
    await waitFor(() => fault.silentOn.every((host) => silenced(host).length > 0), { what: 'the filter', boundMs: BOUND_MS, everyMs: 5 });
  }
  await pass(fault.lastsMs);
  await fault.heal(stage);
  await allWell(stage);
  const silent = HOSTS.map((host) => ({ host, line: watched.get(host)?.judgedAfter(atMs, 'silent') ?? null }));
  return {
    silentMs: silent.flatMap(({ host, line }) => (line !== null && fault.silentOn.includes(host) ? [line.atMs - atMs] : [])),
    silencedMs: fault.silentOn.flatMap(silenced),
    falseAlarms: silent.filter(({ host, line }) => line !== null && !fault.silentOn.includes(host)).length,
  };
}

/** Holds the present state for a while and counts the sides that say `silent` in it. */
export async function falseAlarmsWithin(stage: Stage, ms: number): Promise<number> {
  const since = HOSTS.map((host) => stage.watcher(host).lines.length);
  await pass(ms);
  return HOSTS.reduce(
    (sum, host, k) =>
      sum +
      stage
        .watcher(host)
        .lines.slice(since[k])
        .filter((line) => line.kind === 'judged' && line.state === 'silent').length,
    0,
  );
}

async function pass(ms: number): Promise<void> {
  const until = machineMs() + ms;
  await waitFor(() => machineMs() >= until, { what: 'time to pass', boundMs: ms + BOUND_MS, everyMs: 10 });
}
