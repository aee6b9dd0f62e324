// A chaos from its first blow to its verdict: rounds of faults on a protected pair while clients ask the guest without a pause, then the
// guest is stopped and its disk read. Whatever is against the rules is written down; when something is, the evidence is kept.

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { coloctl } from '../../deploy/lab/coloctl.js';
import { messageOf } from '../../deploy/lab/command.js';
import { logFile } from '../../deploy/lab/daemons.js';
import { readRecords } from '../../deploy/lab/disk-records.js';
import { recordOf } from '../../deploy/lab/lab.js';
import type { HostPlan, LabPlan } from '../../deploy/lab/plan.js';
import { monoMs } from '../../deploy/lab/probes.js';
import { startProber } from '../../deploy/lab/prober.js';
import { livingQemus } from '../../deploy/lab/qemus.js';
import { isAlive } from '../../deploy/lab/process-identity.js';
import { lastLines } from '../../deploy/lab/processes.js';
import { collectEvidence } from '../e2e/cluster/evidence.js';
import { waitFor } from '../support/wait.js';
import { Blows, etcdLeader } from './blows.js';
import { startClients, type Clients } from './clients.js';
import { captureEmissions } from './emissions.js';
import { openEye, untilMono, type Eye, type Picture } from './eye.js';
import { mayEndGuest, summaryText, violationsIn, type Blown, type Evidence } from './judge.js';
import { lostWrites, type ClientLog } from './operations.js';
import { describeFault, planOf, type Fault, type Round, type Target } from './plan.js';
import { ownDeathsIn } from './qemu-deaths.js';

export interface ChaosOptions {
  readonly plan: LabPlan;
  readonly vm: string;
  readonly seed: number;
  readonly minutes: number;
  readonly report: (line: string) => void;
  readonly signal?: AbortSignal;
}

export interface ChaosResult {
  readonly violations: readonly string[];
  readonly summary: string;
  /** Where everything was kept; null = there was no violation. */
  readonly folder: string | null;
}

/** From the end of a round's faults until the VM is protected and every host there. */
const WHOLE_MS = 120_000;
/** The same when the guest has to boot, which takes its time in lock-step under TCG. */
const WHOLE_AFTER_BOOT_MS = 300_000;
/** A client that waited for long asks again only now and then: its kernel doubles the time between two tries. */
const ANSWER_MS = 120_000;
const FRESH_MS = 1_000;
const STOP_MS = 120_000;
/** More rounds than any run has time for. */
const MANY = 10_000;

export async function runChaos(options: ChaosOptions): Promise<ChaosResult> {
  const { plan, vm, seed, minutes } = options;
  const beganMs = monoMs();
  const eye = openEye(plan, vm);
  const initial = await initialCounter(plan);
  const captures = await captureEmissions(plan);
  const clients = startClients(plan);
  const course = new Course(options, eye, clients);
  const rounds = planOf(seed, MANY);
  let done = 0;
  try {
    await course.settle(0);
    for (const round of rounds) {
      if (monoMs() - beganMs > minutes * 60_000 || course.isOver()) break;
      await course.round(done, round);
      done += 1;
    }
    if (!course.isOver()) await course.settle(done);
  } catch (error) {
    course.against(`the chaos itself ended: ${messageOf(error)}`);
  }
  const lasted = (monoMs() - beganMs) / 60_000;
  const logs = await clients.stop();
  const emissions = await captures.stop();
  const lost = course.isOver() ? [] : await diskViolations(options, logs);
  await eye.refresh();
  await eye.close();
  const evidence: Evidence = {
    blown: course.blown,
    wholeMs: course.wholeMs,
    logs,
    initial,
    history: eye.history(),
    releases: eye.releases(),
    splits: eye.splits(),
    emissions,
    ownDeaths: ownDeathsIn(plan, vm),
  };
  const violations = [...course.found, ...violationsIn(evidence), ...lost];
  const summary = summaryText(evidence, { minutes: lasted, seed, rounds: done, skipped: course.skipped, violations });
  const folder = violations.length === 0 ? null : await keep(options, evidence, summary, rounds.slice(0, done));
  return { violations, summary, folder };
}

/** The counter before anybody of ours asks. */
async function initialCounter(plan: LabPlan): Promise<number> {
  const prober = startProber(plan, { probe: 'read', reconnect: true });
  await prober.waitForMore(1, ANSWER_MS);
  const lines = await prober.stop();
  return lines.find((line) => line.kind === 'value')?.counter ?? 0;
}

class Course {
  readonly blown: Blown[] = [];
  readonly wholeMs: number[] = [];
  readonly found: string[] = [];
  skipped = 0;
  readonly #options: ChaosOptions;
  readonly #eye: Eye;
  readonly #clients: Clients;
  readonly #blows: Blows;

  constructor(options: ChaosOptions, eye: Eye, clients: Clients) {
    this.#options = options;
    this.#eye = eye;
    this.#clients = clients;
    this.#blows = new Blows(options.plan, options.vm);
  }

  against(what: string): void {
    this.found.push(what);
    this.#options.report(`VIOLATION: ${what}`);
  }

  /** Something is wrong already: what follows would only cover the traces. */
  isOver(): boolean {
    return this.found.length > 0 || this.#options.signal?.aborted === true;
  }

  async round(number: number, round: Round): Promise<void> {
    const { report } = this.#options;
    await untilMono(monoMs() + round.calmMs);
    const beganMs = monoMs();
    report(`round ${number + 1}: ${round.faults.map(describeFault).join('; ')}`);
    await Promise.all(round.faults.map((fault) => this.#fault(number, fault, beganMs)));
    if (round.recovers) await this.settle(number);
  }

  async #fault(number: number, fault: Fault, beganMs: number): Promise<void> {
    const { vm } = this.#options;
    await untilMono(beganMs + fault.atMs);
    const picture = this.#eye.last();
    const host = await this.#hostOf(fault.target, picture);
    const seen = picture?.status.vms.find((each) => each.name === vm);
    const atMs = monoMs();
    const struck = await this.#blows.strike(fault, host);
    if (struck === null) {
      this.skipped += 1;
      return;
    }
    const isFresh = picture !== null && atMs - picture.seenMs < FRESH_MS;
    const side = seen?.primary === host.name ? 'primary' : seen?.secondary === host.name ? 'secondary' : null;
    const phase = isFresh ? (seen?.phase ?? null) : null;
    this.blown.push({ round: number, kind: fault.kind, target: fault.target, host: host.name, atMs, phase, side });
    await untilMono(atMs + fault.holdMs);
    await struck.undo();
  }

  async #hostOf(target: Target, picture: Picture | null): Promise<HostPlan> {
    const { plan, vm } = this.#options;
    const seen = picture?.status.vms.find((each) => each.name === vm);
    const named = (name: string | undefined): HostPlan | undefined => plan.hosts.find((each) => each.name === name);
    const chosen = async (): Promise<HostPlan | null | undefined> => {
      switch (target) {
        case 'primary':
          return named(seen?.primary);
        case 'secondary':
          return named(seen?.secondary);
        case 'spare':
          return plan.hosts.find((each) => each.name !== seen?.primary && each.name !== seen?.secondary);
        case 'leader':
          return named(picture?.status.leader);
        case 'etcd-leader':
          return etcdLeader(plan);
      }
    };
    const host = (await chosen()) ?? plan.hosts[0];
    if (host === undefined) throw new Error('a lab without hosts');
    return host;
  }

  /** Until the VM is protected, every host is there, and every client is answered. */
  async settle(number: number): Promise<void> {
    const { vm, report } = this.#options;
    this.#refuseDeaths(number);
    const fromMs = monoMs();
    const lastWhole = this.wholeMs.at(-1) ?? -Infinity;
    const mayBoot = mayEndGuest(
      this.blown.filter((each) => each.atMs >= lastWhole),
      0,
    );
    try {
      await waitFor(() => this.isOver() || this.#isWhole(fromMs), {
        what: `VM ${vm} protected and all hosts ready after round ${number + 1}`,
        boundMs: mayBoot ? WHOLE_AFTER_BOOT_MS : WHOLE_MS,
        everyMs: 50,
        context: () => this.#told(),
      });
      const wholeMs = monoMs();
      await waitFor(() => this.#clients.unanswered(wholeMs).length === 0, {
        what: `answers to all clients after round ${number + 1}`,
        boundMs: mayBoot ? WHOLE_AFTER_BOOT_MS : ANSWER_MS,
        everyMs: 50,
        context: () => `unanswered: ${this.#clients.unanswered(wholeMs).join(', ')}`,
      });
      // A guest that had to boot is whole when it answers, which may be after the record says `protected`.
      this.wholeMs.push(monoMs());
      report(`  whole again ${((wholeMs - fromMs) / 1000).toFixed(1)} s after the last fault was undone; ${this.#told()}`);
    } catch (error) {
      this.against(messageOf(error));
    }
    this.#refuseDeaths(number);
  }

  #isWhole(fromMs: number): boolean {
    const { vm, plan } = this.#options;
    const picture = this.#eye.last();
    if (picture === null || picture.seenMs < fromMs) return false;
    const { status } = picture;
    const seen = status.vms.find((each) => each.name === vm);
    const pair = seen?.sides.filter((side) => side.qemu === 'alive' && side.pair === 'ok') ?? [];
    return (
      status.leader !== '' &&
      seen?.phase === 'protected' &&
      pair.length === 2 &&
      livingQemus(plan).filter((each) => each.vm === vm).length === 2 &&
      status.hosts.length === plan.hosts.length &&
      status.hosts.every((each) => each.state === 'ready')
    );
  }

  #told(): string {
    const picture = this.#eye.last();
    const seen = picture?.status.vms.find((each) => each.name === this.#options.vm);
    if (picture === null || seen === undefined) return 'no coordinator answered';
    const hosts = picture.status.hosts.map((each) => `${each.name} ${each.state}`).join(', ');
    const sides = seen.sides.map((each) => `${each.host} ${each.qemu} pair ${each.pair} ${each.task}`).join(', ');
    return `${seen.phase}, epoch ${seen.epoch}: ${seen.reason} [${sides}] ${seen.lastError === '' ? '' : `last error: ${seen.lastError}; `}${hosts}`;
  }

  /** All that was killed has been started again, so whoever is not there has ended by itself. */
  #refuseDeaths(number: number): void {
    const { plan } = this.#options;
    for (const { host: name, daemon, ...process } of recordOf(plan.name).processes) {
      const host = plan.hosts.find((each) => each.name === name);
      if (isAlive(process) || host === undefined) continue;
      this.against(`${daemon} of ${name} has ended by itself by round ${number + 1}: ${lastLines(logFile(host, daemon))}`);
    }
  }
}

/** Stops the guest and reads its disk without it. */
async function diskViolations({ plan, vm, report }: ChaosOptions, logs: readonly ClientLog[]): Promise<readonly string[]> {
  try {
    await coloctl(plan, ['vm', 'stop', vm, '--wait', '--timeout', `${STOP_MS / 1000}s`], { deadlineMs: STOP_MS + 10_000 });
    const status = JSON.parse(await coloctl(plan, ['status', '-o', 'json'])) as {
      readonly vms: readonly { readonly name: string; readonly disk: { readonly host: string; readonly state: string } | null }[];
    };
    const disk = status.vms.find((each) => each.name === vm)?.disk ?? null;
    const host = plan.hosts.find((each) => each.name === disk?.host);
    if (disk?.state !== 'clean' || host === undefined) return [`the stopped VM's disk is ${JSON.stringify(disk)}`];
    const lost = lostWrites(await readRecords(join(host.agentStateDir, 'vms', vm, 'disk0.raw')), logs);
    report(`the disk on ${host.name} was read: ${lost.length} acknowledged writes are not on it`);
    return lost.map((each) => `LOST WRITE: ${each}`);
  } catch (error) {
    return [`the VM could not be stopped and read: ${messageOf(error)}`];
  }
}

async function keep(options: ChaosOptions, evidence: Evidence, summary: string, rounds: readonly Round[]): Promise<string> {
  const folder = await collectEvidence(options.plan, `chaos seed ${options.seed}`);
  mkdirSync(folder, { recursive: true });
  const put = (name: string, text: string): void => writeFileSync(join(folder, name), text);
  const { logs, emissions, ...papers } = evidence;
  put('summary.txt', `${summary}\n`);
  put('plan.json', JSON.stringify(rounds, null, 2));
  put('papers.json', JSON.stringify(papers, null, 2));
  for (const [host, frames] of emissions.frames) put(`frames-${host}.jsonl`, frames.map((frame) => JSON.stringify(frame)).join('\n'));
  for (const { client, lines } of logs)
    put(`client-${client.replaceAll(' ', '-')}.jsonl`, lines.map((line) => JSON.stringify(line)).join('\n'));
  return folder;
}
