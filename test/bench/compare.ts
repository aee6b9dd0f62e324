// What the settings of QEMU's compare and of checkpoints cost and give: a query that the guest itself begins leaves the two sides with
// different source ports, so nothing can be compared and it waits for the next checkpoint. For each setting one VM is made, protected, and
// asked for queries while another client holds a connection.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Capture } from '../../deploy/lab/capture/captures.js';
import { clusterStatus, coloctl, waitForVm } from '../../deploy/lab/coloctl.js';
import { LabError, waitFor } from '../../deploy/lab/command.js';
import { bringUpVm } from '../../deploy/lab/lab.js';
import type { LabPlan } from '../../deploy/lab/plan.js';
import { quantile, summarise } from '../../deploy/lab/probe-analysis.js';
import { startProber } from '../../deploy/lab/prober.js';
import type { QemuVersion } from '../../deploy/lab/tree.js';

export interface CompareSetting {
  readonly compareTimeoutMs: number;
  readonly expiredScanCycleMs: number;
  readonly checkpointDelayMs: number;
}

/** The first is what QEMU does when nothing is said. */
export const COMPARE_SETTINGS = '3000:1000:20000,300:100:1000,200:50:1000,100:25:1000';

const PROTECT_MS = 180_000;
const ANSWER_MS = 60_000;
const CALM_ANSWERS = 40;
/** Longest that one query may take: three tries of the guest, a second each, and a checkpoint. */
const QUERY_MS = 10_000;
/** QEMU's COLO_MESSAGE_CHECKPOINT_REQUEST, which a primary sends as a 32-bit number of its own at the begin of each checkpoint. */
const CHECKPOINT_REQUEST = '00000001';
const FOUR_BYTES_OF_TCP = 'tcp and ip[2:2] - ((ip[0] & 0xf) << 2) - ((tcp[12] & 0xf0) >> 2) = 4';

/** `timeout:scan:delay`, several with commas between them. */
export function parseSettings(text: string): readonly CompareSetting[] {
  return text.split(',').map((each) => {
    const [compareTimeoutMs = NaN, expiredScanCycleMs = NaN, checkpointDelayMs = NaN] = each.split(':').map(Number);
    return { compareTimeoutMs, expiredScanCycleMs, checkpointDelayMs };
  });
}

interface Measured {
  readonly setting: CompareSetting;
  readonly queries: readonly number[];
  readonly failed: number;
  readonly latencies: readonly number[];
  readonly checkpoints: number;
  readonly seconds: number;
  readonly broken: readonly string[];
}

export async function benchCompare(
  plan: LabPlan,
  qemu: QemuVersion,
  settings: readonly CompareSetting[],
  rounds: number,
  report: (line: string) => void,
): Promise<{ readonly text: string; readonly held: boolean }> {
  const measured: Measured[] = [];
  for (const [index, setting] of settings.entries()) {
    const vm = `compare${index}`;
    await bringUpVm(plan, vm, { qemu, report, keys: { ...setting } });
    const one = await measure(plan, vm, setting, rounds);
    measured.push(one);
    report(describe(one));
    await coloctl(plan, ['vm', 'stop', vm, '--wait', '--timeout', '60s'], { deadlineMs: 65_000 });
    await coloctl(plan, ['vm', 'delete', vm]);
    await waitFor({ what: `end of VM ${vm}`, boundMs: ANSWER_MS, everyMs: 100 }, async () =>
      (await clusterStatus(plan))?.vms.every((each) => each.name !== vm) === true ? true : null,
    );
  }
  writeFileSync(join(plan.runFolder, 'compare.json'), JSON.stringify(measured));
  const held = measured.every((each) => each.broken.length === 0);
  return { text: tableOf(measured), held };
}

async function measure(plan: LabPlan, vm: string, setting: CompareSetting, rounds: number): Promise<Measured> {
  const { primary } = await waitForVm(plan, vm, 'protected', PROTECT_MS);
  const host = plan.hosts.find((each) => each.name === primary);
  if (host === undefined) throw new LabError(`VM ${vm} has no primary`);
  const client = startProber(plan, { probe: 'closed-loop' });
  const capture = new Capture(plan, host, 'replication', 'in', FOUR_BYTES_OF_TCP);
  try {
    await capture.ready();
    await client.waitForMore(CALM_ANSWERS, ANSWER_MS);
    const began = performance.now();
    const asker = startProber(plan, { probe: 'dns', periodMs: 0 });
    await asker.waitForMore(rounds, rounds * QUERY_MS).finally(() => asker.stop());
    const seconds = (performance.now() - began) / 1_000;
    await capture.stop();
    const [asked, answered] = [asker.lines(), await client.stop()];
    const queries = asked.flatMap((line) => (line.kind === 'guest-query' ? [line.elapsedMs] : []));
    const requests = capture
      .frames()
      .filter((each) => each.content.kind === 'tcp' && each.content.payload.toString('hex') === CHECKPOINT_REQUEST);
    return {
      setting,
      queries: queries.filter((each) => each !== null),
      failed: queries.filter((each) => each === null).length,
      latencies: answered.flatMap((line) => (line.kind === 'answer' ? [line.monoMs - line.sentMonoMs] : [])),
      checkpoints: requests.length,
      seconds,
      broken: [...summarise(asked).broken, ...summarise(answered).broken],
    };
  } finally {
    await capture.stop();
    await client.stop();
  }
}

const COLUMNS = ['timeout:scan:delay', 'queries', 'p50', 'max', 'checkpoints/s', 'answers', 'p50', 'p99', 'max'] as const;

function cells({ setting, queries, latencies, checkpoints, seconds }: Measured): readonly string[] {
  const { compareTimeoutMs, expiredScanCycleMs, checkpointDelayMs } = setting;
  const ms = (values: readonly number[], part: number): string => (values.length === 0 ? '-' : quantile(values, part).toFixed(0));
  return [
    `${compareTimeoutMs}:${expiredScanCycleMs}:${checkpointDelayMs}`,
    String(queries.length),
    ms(queries, 0.5),
    ms(queries, 1),
    (checkpoints / seconds).toFixed(1),
    String(latencies.length),
    ms(latencies, 0.5),
    latencies.length < 100 ? '-' : ms(latencies, 0.99),
    ms(latencies, 1),
  ];
}

function describe(measured: Measured): string {
  return `${COLUMNS.map((name, k) => `${name} ${cells(measured)[k] ?? ''}`).join(', ')}, ${measured.failed} queries failed`;
}

function tableOf(measured: readonly Measured[]): string {
  const rows = [COLUMNS as readonly string[], ...measured.map(cells)];
  const widths = COLUMNS.map((_, k) => Math.max(...rows.map((row) => row[k]?.length ?? 0)) + 2);
  const lines = rows.map((row) => row.map((cell, k) => (k === 0 ? cell.padEnd(widths[k] ?? 0) : cell.padStart(widths[k] ?? 0))).join(''));
  return `milliseconds: queries that the guest began, and answers to a client meanwhile\n${lines.join('\n')}\n`;
}
