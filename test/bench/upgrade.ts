// `npm run bench -- upgrade`: what a client notices of an upgrade of the package on all hosts. Under TCG a client waits for checkpoints alone as
// long as an upgrade may cost, so what it waits while nothing is done is measured as often and for as long, in turn with the upgrades on the same
// cluster, and the two are laid side by side.

import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { waitForVm } from '../../deploy/lab/coloctl.js';
import { LabError, waitFor } from '../../deploy/lab/command.js';
import { gapsWithin, quantile, summarise } from '../../deploy/lab/probe-analysis.js';
import { startProber, type Prober } from '../../deploy/lab/prober.js';
import { tree } from '../../deploy/lab/tree.js';
import { bringUpPackaged, waitForVersion, type PackagedCluster } from '../../deploy/machines/cluster.js';
import { buildPackage, whyNoMachine } from '../../deploy/machines/machine.js';
import { markdown } from './markdown.js';
import type { BenchResult } from './own-lab.js';

export interface UpgradeOptions {
  readonly rounds: number;
  readonly report: (line: string) => void;
  readonly signal: AbortSignal;
}

const VM = 'demo';
const VERSIONS = ['99.0.0', '99.0.1'] as const;
const READY_MS = 60_000;
/** Packages of Debian are fetched the first time. */
const SETUP_MS = 900_000;
const ANSWER_MS = 60_000;
/** Between the hosts, and before and after everything: whatever a step sets in motion has ended. */
const SETTLED_ANSWERS = 60;
/** A calm window is at most so long. */
const WINDOW_MS = 300_000;
/** What an upgrade may add to the longest wait; judged by the middle one of all pairs, because one unlucky checkpoint is no upgrade's. */
const MOST_ADDED_MS = 250;

interface Pair {
  readonly lengthMs: number;
  readonly calm: readonly number[];
  readonly upgrade: readonly number[];
}

export async function benchUpgrade({ rounds, report, signal }: UpgradeOptions): Promise<BenchResult> {
  execFileSync('sh', [join(tree, 'deploy/setup.sh'), 'tests'], { stdio: ['ignore', 2, 2], timeout: SETUP_MS });
  const missing = whyNoMachine();
  if (missing !== null) throw new LabError(missing);
  const deb = buildPackage();
  const newer = VERSIONS.map((version) => buildPackage(version));
  const cluster = await bringUpPackaged({ name: `bench-${process.pid}`, suite: 'trixie', deb, vm: VM, report, signal });
  try {
    for (const host of cluster.plan.hosts) newer.forEach((each, index) => cluster.machine(host.name).copyIn(each, `root/${index}.deb`));
    return await measure(cluster, rounds, report, signal);
  } finally {
    await cluster.takeDown();
  }
}

async function measure(
  cluster: PackagedCluster,
  rounds: number,
  report: (line: string) => void,
  signal: AbortSignal,
): Promise<BenchResult> {
  const { plan } = cluster;
  const state = async (): Promise<string> => {
    const { epoch, primary, secondary } = await waitForVm(plan, VM, 'protected', READY_MS);
    return `${epoch} ${primary ?? ''} ${secondary ?? ''}`;
  };
  const before = await state();
  const client = startProber(plan, { probe: 'closed-loop' });
  await client.waitForMore(SETTLED_ANSWERS, ANSWER_MS, signal);
  const pairs: Pair[] = [];
  try {
    for (let k = 0; k < rounds; k += 1) {
      const pair = await upgradeAndRest(cluster, client, k % VERSIONS.length, signal);
      pairs.push(pair);
      report(
        `upgrade ${k + 1} of ${rounds}: longest wait ${Math.max(...pair.upgrade).toFixed(0)} ms in ${(pair.lengthMs / 1000).toFixed(1)} s, ${Math.max(...pair.calm).toFixed(0)} ms as long without`,
      );
    }
  } catch (error) {
    // Who interrupts is told what there is.
    if (!signal.aborted || pairs.length === 0) throw error;
  }
  const seen = summarise(await client.stop());
  const added = pairs.map(({ calm, upgrade }) => Math.max(...upgrade) - Math.max(...calm));
  const isSamePair = (await state()) === before;
  const isWhole = seen.connections === 1 && seen.counters.missing === 0 && seen.counters.backward === 0 && seen.wrong.length === 0;
  const text = [
    tableOf(pairs),
    `Longest wait in an upgrade, less the longest one of the calm after it: ${added.map((each) => Math.round(each)).join(', ')} ms; middle ${Math.round(quantile(added, 0.5))}.`,
    `${isSamePair ? 'The same pair in the same roles' : `THE PAIR CHANGED: ${before} -> ${await state()}`}; ${seen.connections} connection, ${seen.answers} answers, ${seen.counters.missing} counters missing.`,
  ];
  return { text: `${text.join('\n')}\n`, held: isSamePair && isWhole && quantile(added, 0.5) < MOST_ADDED_MS };
}

async function upgradeAndRest(cluster: PackagedCluster, client: Prober, index: number, signal: AbortSignal): Promise<Pair> {
  const { plan } = cluster;
  const from = monoMs();
  for (const host of plan.hosts) {
    await cluster.machine(host.name).must(`dpkg -i /root/${index}.deb`);
    await client.waitForMore(SETTLED_ANSWERS, ANSWER_MS, signal);
  }
  const lengthMs = monoMs() - from;
  const upgrade = gapsWithin(client.lines(), from, from + lengthMs);
  await waitForVersion(plan, VERSIONS[index] ?? '', READY_MS);
  await client.waitForMore(SETTLED_ANSWERS, ANSWER_MS, signal);
  const calmFrom = monoMs();
  await waitFor({ what: 'as much time without an upgrade', boundMs: WINDOW_MS, signal }, () =>
    Promise.resolve(monoMs() - calmFrom >= lengthMs ? true : null),
  );
  await client.waitForMore(1, ANSWER_MS, signal);
  return { lengthMs, upgrade, calm: gapsWithin(client.lines(), calmFrom, calmFrom + lengthMs) };
}

function tableOf(pairs: readonly Pair[]): string {
  const seconds = pairs.reduce((sum, { lengthMs }) => sum + lengthMs, 0) / 1000;
  const row = (name: string, windows: readonly (readonly number[])[]): readonly string[] => {
    const all = windows.flat();
    const longest = windows.map((each) => Math.max(...each));
    const over = (ms: number): string => String(all.filter((each) => each > ms).length);
    const ms = (value: number): string => String(Math.round(value));
    return [
      name,
      String(all.length),
      ms(quantile(all, 0.5)),
      ms(quantile(all, 0.99)),
      over(250),
      over(500),
      ms(quantile(longest, 0.5)),
      ms(Math.max(...all)),
    ];
  };
  const head = ['milliseconds', 'waits', 'p50', 'p99', 'above 250', 'above 500', 'longest of a window: p50', 'max'];
  const rows = [
    row(
      'while nothing is done',
      pairs.map(({ calm }) => calm),
    ),
    row(
      'while the package is upgraded',
      pairs.map(({ upgrade }) => upgrade),
    ),
  ];
  return `${pairs.length} upgrades of three hosts, ${seconds.toFixed(0)} s of each kind; a request every 30 ms:\n\n${markdown(head, rows)}`;
}

const monoMs = (): number => Number(process.hrtime.bigint()) / 1e6;
