// How long a failover takes, measured on a real cluster in namespaces: the primary and the secondary are killed in turn, n times each.
// All times come from the history that the cluster itself keeps and from one client; all processes share this machine's clocks.

import { coloctl, waitForVm } from '../../deploy/lab/coloctl.js';
import { LabError, waitFor } from '../../deploy/lab/command.js';
import type { LabPlan } from '../../deploy/lab/plan.js';
import { gapOfFault, gapOfPairing, summarise } from '../../deploy/lab/probe-analysis.js';
import { startProber } from '../../deploy/lab/prober.js';
import { killSide, sideOf, type Blow, type Role } from '../../deploy/lab/sides.js';
import { table, type Series } from './report.js';

const VM = 'demo';
const PROTECT_MS = 180_000;
const ANSWER_MS = 60_000;
const CALM_ANSWERS = 40;

interface Entry {
  readonly at: string;
  readonly row: string;
  readonly from: string;
  readonly to: string;
  readonly durationsMs: Readonly<Record<string, number>>;
}

export interface FailoverResult {
  readonly text: string;
  readonly held: boolean;
}

export async function benchFailover(plan: LabPlan, rounds: number, report: (line: string) => void): Promise<FailoverResult> {
  const series: Record<Role, { saved: number[]; executed: number[]; alone: number[]; gap: number[]; pairing: number[]; again: number[] }> =
    {
      primary: { saved: [], executed: [], alone: [], gap: [], pairing: [], again: [] },
      secondary: { saved: [], executed: [], alone: [], gap: [], pairing: [], again: [] },
    };
  await waitForVm(plan, VM, 'protected', PROTECT_MS);
  const client = startProber(plan, { probe: 'closed-loop' });
  await client.waitForMore(CALM_ANSWERS, ANSWER_MS);
  for (let round = 0; round < 2 * rounds; round += 1) {
    const role: Role = round % 2 === 0 ? 'primary' : 'secondary';
    const blow = killSide(await sideOf(plan, VM, role));
    await client.waitForMore(CALM_ANSWERS, ANSWER_MS);
    const { verdict, executed } = await edgesAfter(plan, blow);
    await waitForVm(plan, VM, 'protected', PROTECT_MS);
    const savedMs = Date.parse(verdict.at) + (executed.durationsMs['verdict'] ?? Number.NaN) - blow.wallMs;
    const aloneMs = Date.parse(executed.at) - blow.wallMs;
    const againMonoMs = Number(process.hrtime.bigint()) / 1e6;
    await client.waitForMore(CALM_ANSWERS, ANSWER_MS);
    const gapMs = gapOfFault(client.lines(), blow.monoMs, blow.monoMs + aloneMs)?.ms ?? Number.NaN;
    const pairingMs = gapOfPairing(client.lines(), blow.monoMs + aloneMs, againMonoMs)?.ms ?? Number.NaN;
    const into = series[role];
    into.saved.push(savedMs);
    into.executed.push(aloneMs - savedMs);
    into.alone.push(aloneMs);
    into.gap.push(gapMs);
    into.pairing.push(pairingMs);
    into.again.push(againMonoMs - blow.monoMs);
    report(
      `${round + 1}/${2 * rounds} ${role} killed: verdict ${Math.round(savedMs)} ms, alone ${Math.round(aloneMs)} ms, client gap ${Math.round(gapMs)} ms, ${Math.round(pairingMs)} ms at the next pair`,
    );
  }
  const seen = summarise(await client.stop());
  const held =
    seen.connections === 1 &&
    seen.broken.length === 0 &&
    seen.counters.missing === 0 &&
    seen.counters.backward === 0 &&
    seen.boots.length === 1;
  const rows = (['primary', 'secondary'] as const).flatMap((role): Series[] => [
    { name: `${role} killed: fault -> verdict saved`, values: series[role].saved },
    { name: `${role} killed: verdict -> running alone`, values: series[role].executed },
    { name: `${role} killed: fault -> running alone`, values: series[role].alone },
    { name: `${role} killed: client gap`, values: series[role].gap },
    { name: `${role} killed: client gap at the next pair`, values: series[role].pairing },
    { name: `${role} killed: fault -> protected again`, values: series[role].again },
  ]);
  const both: Series[] = [
    { name: 'both: fault -> running alone', values: [...series.primary.alone, ...series.secondary.alone] },
    { name: 'both: client gap', values: [...series.primary.gap, ...series.secondary.gap] },
    { name: 'both: client gap at the next pair', values: [...series.primary.pairing, ...series.secondary.pairing] },
  ];
  const verdict = held
    ? `One connection through all of it, ${seen.answers} answers, no counter missing.`
    : `IT DID NOT HOLD: ${seen.connections} connections, ${seen.counters.missing} counters missing, ${seen.boots.length} boots, ${seen.broken.join('; ')}`;
  return { text: `${table('milliseconds', [...rows, ...both])}\n${verdict}\n`, held };
}

/** The verdict and its execution that followed a blow. */
async function edgesAfter(plan: LabPlan, blow: Blow): Promise<{ readonly verdict: Entry; readonly executed: Entry }> {
  return waitFor({ what: 'the edges of a failover in the history', boundMs: PROTECT_MS }, async () => {
    const entries = JSON.parse(await coloctl(plan, ['history', VM, '-o', 'json'])) as readonly Entry[];
    const after = entries.filter((entry) => Date.parse(entry.at) >= blow.wallMs);
    const verdict = after.find((entry) => entry.to === 'verdict');
    const executed = after.find((entry) => entry.to === 'executed');
    if (after.some((entry) => entry.to === 'stopped' || entry.to === 'failed'))
      throw new LabError(`no failover but ${after.map((entry) => entry.row).join(', ')}`);
    return verdict === undefined || executed === undefined ? null : { verdict, executed };
  });
}
