// Captures of what a guest sends at the switch's port of every host, before any cut of the lab can drop it. tcpdump stamps frames with the
// wall clock, which all hosts of a lab share with the logs and the history.

import { spawn, type ChildProcess } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { LabError, waitFor } from '../command.js';
import { logFile } from '../daemons.js';
import type { HostPlan, LabPlan, Link } from '../plan.js';
import { judgeCapture, type CaptureJudgement, type FaultPeriod, type Silence } from './judgement.js';
import { parsePcap, streamsIn, type Frame } from './pcap.js';

export interface Captures {
  /** By host, all that its guest has sent since the start, oldest first. */
  frames(): ReadonlyMap<string, readonly Frame[]>;
  /** Ends the captures, judges what they saw, with what the agents' logs say of their suspicions, and throws the files away. */
  judge(vm: string, period: Omit<FaultPeriod, 'suspicions' | 'toldByTwin' | 'statesReceivedWallMs'>): Promise<CaptureJudgement>;
  /** Ends them without a judgement. Safe to repeat. */
  stop(): Promise<void>;
}

const READY_MS = 10_000;
const STOP_MS = 10_000;
/** KiB that the kernel holds while tcpdump is kept from running: a thousand frames, each in a slot that could hold the longest. */
const BUFFER_KIB = '65536';
const LONGEST_FRAME = '65535';
/** Migration's return path: a 32-bit number, QEMU's COLO_MESSAGE_VMSTATE_RECEIVED. */
const VMSTATE_RECEIVED = '00000005';
let started = 0;

/**
 * Resolves when every port is listened to: those of all guests, and that on which the primary is told what the secondary's guest sends. What
 * comes out of the switch there has passed every cut, so that no clock has to say which of it reached the primary.
 */
export async function startCaptures(plan: LabPlan, pair: { readonly primary: string; readonly secondary: string }): Promise<Captures> {
  const running = plan.hosts.map((host) => new Capture(plan, host, 'guest', 'in', `ether src ${plan.guest.mac}`));
  const told = plan.hosts.find((host) => host.name === pair.secondary)?.links.replication.address;
  const ears = plan.hosts.filter((host) => host.name === pair.primary && told !== undefined);
  const twins = ears.map((host) => new Capture(plan, host, 'replication', 'out', `tcp and src host ${told ?? ''}`));
  const all = [...running, ...twins];
  const stop = async (): Promise<void> => {
    await Promise.all(all.map((each) => each.stop()));
  };
  const frames = (): ReadonlyMap<string, readonly Frame[]> => new Map(running.map((each) => [each.host.name, each.frames()]));
  try {
    await Promise.all(all.map((each) => each.ready()));
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    frames,
    judge: async (vm, period) => {
      await stop();
      const suspicions = [period.primary, period.secondary].flatMap((name) => {
        const host = plan.hosts.find((each) => each.name === name);
        const atWallMs = host === undefined ? null : suspicionOf(host, vm, period.faultWallMs);
        return atWallMs === null || atWallMs >= period.untilWallMs ? [] : [{ host: name, atWallMs }];
      });
      const toldByTwin = twins.flatMap((each) => streamsIn(each.frames()));
      const statesReceivedWallMs = twins.flatMap((each) =>
        each
          .frames()
          .filter(saysStateReceived)
          .map((frame) => frame.wallMs),
      );
      const judgement = judgeCapture(frames(), { ...period, suspicions, toldByTwin, statesReceivedWallMs });
      for (const each of all) rmSync(each.file, { force: true });
      return judgement;
    },
    stop,
  };
}

const saysStateReceived = ({ content }: Frame): boolean =>
  content.kind === 'tcp' && content.payload.length === 4 && content.payload.toString('hex') === VMSTATE_RECEIVED;

/** Of what one host sends (`in`, as the switch sees it) or is sent (`out`) on one of its links; `filter` in tcpdump's language. */
export class Capture {
  readonly host: HostPlan;
  readonly file: string;
  readonly #child: ChildProcess;
  #said = '';
  #failure: Error | null = null;

  constructor(plan: LabPlan, host: HostPlan, link: Link, way: 'in' | 'out', filter: string) {
    started += 1;
    this.host = host;
    this.file = join(plan.runFolder, `capture-${process.pid}-${started}-${host.name}.pcap`);
    const where = ['-i', host.links[link].switchPort, '-Q', way, '-w', this.file];
    const how = ['-n', '-s', LONGEST_FRAME, '-B', BUFFER_KIB, '--immediate-mode', '-U', '-Z', 'root'];
    const command = ['netns', 'exec', plan.switchNamespace, 'tcpdump', ...where, ...how, filter];
    this.#child = spawn('ip', command, { stdio: ['ignore', 'ignore', 'pipe'] });
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => (this.#said += text));
    this.#child.once('error', (error) => (this.#failure = error));
  }

  async ready(): Promise<void> {
    await waitFor({ what: `capture at the port of ${this.host.name}`, boundMs: READY_MS }, () => {
      if (this.#failure !== null || this.#ended) throw new LabError(`tcpdump: ${this.#failure?.message ?? this.#said}`);
      return this.#said.includes('listening on') ? true : null;
    });
  }

  get #ended(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  frames(): readonly Frame[] {
    return parsePcap(readFileSync(this.file));
  }

  async stop(): Promise<void> {
    if (this.#failure !== null || this.#ended) return;
    this.#child.kill('SIGINT');
    await waitFor({ what: 'end of tcpdump', boundMs: STOP_MS }, () => (this.#ended ? true : null)).catch((error: unknown) => {
      this.#child.kill('SIGKILL');
      throw error;
    });
    const dropped = /(\d+) packets? dropped by kernel/.exec(this.#said)?.[1] ?? '?';
    // A capture with holes could not have seen what must not be there.
    if (dropped !== '0') throw new LabError(`the capture at the port of ${this.host.name} lost ${dropped} frames`);
  }
}

/** When the agent of that host judged its pair broken, first after the fault; null = it did not. */
function suspicionOf(host: HostPlan, vm: string, faultWallMs: number): number | null {
  for (const line of readFileSync(logFile(host, 'agent'), 'utf8').split('\n')) {
    if (!line.includes('"pair-judged"')) continue;
    const said = JSON.parse(line) as { readonly time: string; readonly vm: string; readonly pair: string };
    const atWallMs = Date.parse(said.time);
    if (said.vm === vm && atWallMs >= faultWallMs && (said.pair === 'hard' || said.pair === 'silent')) return atWallMs;
  }
  return null;
}

/** One line for people. */
export function describeCapture({ violations, unverdicted, silences }: CaptureJudgement): string {
  const { frames, bytes, sameBytes, continuedBytes, twinBytes, checkpointBytes } = unverdicted;
  const payload =
    frames === 0
      ? 'no IPv4 payload left without a verdict'
      : `${frames} IPv4 frames (${bytes} bytes) left without a verdict, ${sameBytes} bytes as the survivor's, ${continuedBytes} gone on from, ${twinBytes} as the secondary's, ${checkpointBytes} by a checkpoint`;
  const lines = [payload, ...silences.map(describeSilence), ...(violations.length === 0 ? [] : [`BROKEN: ${violations.join('; ')}`])];
  return lines.join('; ');
}

function describeSilence({ host, suspectedAfterMs, heardBefore, lastHeardAfterMs, liftedAfterMs }: Silence): string {
  const quiet = lastHeardAfterMs === null ? 'quiet at once' : `last frame ${lastHeardAfterMs.toFixed(1)} ms later`;
  const lifted = liftedAfterMs === null ? '' : `, heard again ${liftedAfterMs.toFixed(1)} ms after the verdict`;
  return `${host} suspected after ${Math.round(suspectedAfterMs)} ms (${heardBefore} uncompared frames until then), ${quiet}${lifted}`;
}
