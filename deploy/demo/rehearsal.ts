// What the demo does, step by step, and what it makes of the client's log at the end. It uses nothing but the lab, coloctl and signals.

import { coloctl, waitForVm } from '../lab/coloctl.js';
import { tryRun, waitFor } from '../lab/command.js';
import { missingCounters, readRecords } from '../lab/disk-records.js';
import { bringUp } from '../lab/lab.js';
import { coloctlEnvironment, type LabPlan } from '../lab/plan.js';
import { gapAround, summarise } from '../lab/probe-analysis.js';
import { startProber } from '../lab/prober.js';
import { killSide, sideOf, type Blow, type Role } from '../lab/sides.js';
import { programs } from '../lab/tree.js';

const VM = 'demo';
const PROTECT_MS = 180_000;
const ANSWER_MS = 60_000;
/** So many answers before and after each blow, so that a gap has an edge on both sides. */
const CALM_ANSWERS = 60;
/** Ends before the next blow. */
const GAP_WINDOW_MS = 5_000;

export interface RehearsalOptions {
  readonly name: string;
  readonly say: (line: string) => void;
  readonly show: (title: string, text: string) => void;
  readonly signal: AbortSignal;
}

export interface Rehearsal {
  readonly held: boolean;
  readonly summary: string;
}

interface Round {
  readonly role: Role;
  readonly blow: Blow;
  readonly protectedAfterMs: number;
}

export async function rehearse(options: RehearsalOptions): Promise<Rehearsal> {
  const { name, say, show, signal } = options;
  say('three hosts, each with etcd, a coordinator and an agent');
  const plan = await bringUp({ name, hostCount: 3, qemu: '11.1', vm: VM, report: say, signal });
  const look = async (...args: readonly string[]): Promise<void> => show(`coloctl ${args.join(' ')}`, await anyExit(plan, args, signal));
  const first = await waitForVm(plan, VM, 'protected', PROTECT_MS, { signal });
  say(`protected: primary on ${first.primary ?? '?'}, secondary on ${first.secondary ?? '?'}`);

  const client = startProber(plan, { probe: 'closed-loop' });
  await client.waitForMore(CALM_ANSWERS, ANSWER_MS);
  say(
    `ONE TCP connection to the guest at ${plan.guest.address}:${plan.guest.port}, a request every 30 ms, each answer written to disk first`,
  );
  await look('status');

  const rounds: Round[] = [];
  for (const role of ['primary', 'secondary'] as const) {
    const blow = killSide(await sideOf(plan, VM, role));
    say(`SIGKILL to the ${role}: QEMU ${blow.side.pid} on ${blow.side.host}`);
    await client.waitForMore(CALM_ANSWERS, ANSWER_MS);
    say('the guest answers on the same connection');
    const gap = gapAround(client.lines(), blow.monoMs, ANSWER_MS);
    say(`the client waited ${Math.round(gap?.ms ?? Number.NaN)} ms`);
    await waitForEdge(plan, blow, signal);
    await look('status');
    const again = await waitForVm(plan, VM, 'protected', PROTECT_MS, { signal });
    const protectedAfterMs = Number(process.hrtime.bigint()) / 1e6 - blow.monoMs;
    say(
      `protected again after ${(protectedAfterMs / 1000).toFixed(1)} s: primary on ${again.primary ?? '?'}, secondary on ${again.secondary ?? '?'}`,
    );
    rounds.push({ role, blow, protectedAfterMs });
    await client.waitForMore(CALM_ANSWERS, ANSWER_MS);
    await look('status');
    await look('history', VM);
  }

  const lines = await client.stop();
  say('stopping the VM, to read its disk without a guest');
  const { primary } = await waitForVm(plan, VM, 'protected', PROTECT_MS, { signal });
  const disk = (await sideOf(plan, VM, 'primary')).disk;
  await coloctl(plan, ['vm', 'stop', VM, '--wait', '--timeout', '60s'], { deadlineMs: 65_000, signal });
  const seen = summarise(lines);
  const missing = await missingRecords(disk, seen);
  return judge(rounds, seen, missing, primary, lines);
}

/** After a kill the status still shows the old phase for some milliseconds; the demo shows it when the verdict is in. */
async function waitForEdge(plan: LabPlan, blow: Blow, signal: AbortSignal): Promise<void> {
  await waitFor({ what: 'an executed failover', boundMs: PROTECT_MS, signal }, async () => {
    const entries = JSON.parse(await coloctl(plan, ['history', VM, '-o', 'json'], { signal })) as readonly { at: string; to: string }[];
    return entries.some((entry) => entry.to === 'executed' && Date.parse(entry.at) >= blow.wallMs) ? true : null;
  });
}

/** A degraded cluster makes coloctl end with another status than 0, and its table is worth showing all the same. */
async function anyExit(plan: LabPlan, args: readonly string[], signal: AbortSignal): Promise<string> {
  const ran = await tryRun(process.execPath, [programs.coloctl, ...args], {
    deadlineMs: 15_000,
    environment: coloctlEnvironment(plan),
    signal,
  });
  return `${ran.stdout}${ran.stderr}`;
}

async function missingRecords(disk: string, seen: ReturnType<typeof summarise>): Promise<number | null> {
  const boot = seen.boots[0];
  const { first, last } = seen.counters;
  if (boot === undefined || first === null || last === null) return null;
  return missingCounters(await readRecords(disk), boot, first, last).length;
}

/** What a client that held one connection must have seen, with rows of one's own before. */
export function rehearsalEnd(
  seen: ReturnType<typeof summarise>,
  otherwise: boolean,
  own: readonly (readonly [string, string])[],
): Rehearsal {
  const survived = seen.connections === 1 && seen.broken.length === 0;
  const continuous = seen.counters.missing === 0 && seen.counters.backward === 0 && seen.boots.length === 1 && seen.wrong.length === 0;
  const held = survived && continuous && otherwise && seen.diskErrors === 0;
  const rows = [
    ...own,
    ['longest client gap:', `${Math.round(seen.maxGap?.ms ?? Number.NaN)} ms in ${seen.answers} answers`],
    ['connection survived:', survived ? 'yes' : `NO (${seen.connections} connections, ${seen.broken.join('; ')})`],
    [
      'counter continuous:',
      continuous ? 'yes' : `NO (${seen.counters.missing} missing, ${seen.counters.backward} backward, ${seen.boots.length} boots)`,
    ],
  ] as const;
  const text = rows.map(([name, value]) => `  ${name.padEnd(30)}${value}`).join('\n');
  return { held, summary: `${held ? 'It held.' : 'IT DID NOT HOLD.'}\n\n${text}` };
}

function judge(
  rounds: readonly Round[],
  seen: ReturnType<typeof summarise>,
  missing: number | null,
  host: string | null,
  lines: Parameters<typeof gapAround>[0],
): Rehearsal {
  const survived = seen.connections === 1 && seen.broken.length === 0;
  const continuous = seen.counters.missing === 0 && seen.counters.backward === 0 && seen.boots.length === 1 && seen.wrong.length === 0;
  const held = survived && continuous && missing === 0 && seen.diskErrors === 0 && rounds.length === 2;
  const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;
  const rows = [
    ...rounds.map((round) => {
      const gap = gapAround(lines, round.blow.monoMs, GAP_WINDOW_MS);
      return (
        `${round.role} killed:`.padEnd(30) +
        `client waited ${Math.round(gap?.ms ?? Number.NaN)} ms, protected again after ${seconds(round.protectedAfterMs)}`
      );
    }),
    'longest client gap:'.padEnd(30) + `${Math.round(seen.maxGap?.ms ?? Number.NaN)} ms in ${seen.answers} answers`,
    'connection survived:'.padEnd(30) + (survived ? 'yes' : `NO (${seen.connections} connections, ${seen.broken.join('; ')})`),
    'counter continuous:'.padEnd(30) +
      (continuous ? 'yes' : `NO (${seen.counters.missing} missing, ${seen.counters.backward} backward, ${seen.boots.length} boots)`),
    'disk records missing:'.padEnd(30) + (missing === null ? 'UNKNOWN' : `${missing} of ${seen.answers} on the disk of ${host ?? '?'}`),
  ];
  return { held, summary: `${held ? 'It held.' : 'IT DID NOT HOLD.'}\n\n${rows.map((row) => `  ${row}`).join('\n')}` };
}
