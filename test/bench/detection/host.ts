// The agent of one host of a measured pair, as a process of its own: the real watch over pairs with the real heartbeats, probes and filter,
// and a stand-in for QEMU. It prints what it judges.

import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { canonicalAddress, udpHeartbeats } from '../../../agent/io/host-heartbeat.js';
import { procSockets, tcpProbe } from '../../../agent/io/kernel-evidence.js';
import { nftSilence } from '../../../agent/io/silence.js';
import { Peers } from '../../../agent/loop/peers.js';
import type { PairFacts } from '../../../agent/peer-ports.js';
import { epoch, vmUid, type Instant } from '../../../shared/core/ids.js';
import { systemClock } from '../../../shared/io/clock.js';
import { systemRandom } from '../../../shared/io/random.js';
import type { Log } from '../../../shared/ports.js';

export interface HostOptions {
  readonly host: string;
  readonly address: string;
  readonly peerAddress: string;
  readonly role: 'primary' | 'secondary';
  readonly intervalMs: number;
  readonly suspectAfterMs: number;
  readonly taps: readonly string[];
  readonly port: number;
  /** Unix socket of the stand-in for QEMU. */
  readonly monitor: string;
  readonly checkpointDelayMs: number;
}

/** A line that the host prints. `atMs` is CLOCK_MONOTONIC, which is one and the same in all processes of a machine. */
export type HostLine =
  | { readonly kind: 'judged'; readonly atMs: number; readonly state: string; readonly evidence: readonly string[] }
  | { readonly kind: 'log'; readonly atMs: number; readonly event: string; readonly fields: Readonly<Record<string, unknown>> }
  | { readonly kind: 'lateness'; readonly atMs: number; readonly latenessMs: readonly number[]; readonly cpuMs: number };

const DIAL_AGAIN_MS = 20;
const LATENESS_MS = 1_000;

const clock = systemClock();

function say(line: HostLine): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

function machineMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

function saying(): Log {
  const at =
    (_level: string) =>
    (fields: Readonly<Record<string, unknown>>, event: string): void =>
      say({ kind: 'log', atMs: machineMs(), event, fields });
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') };
}

/** The stand-in's monitor: one letter for each checkpoint that ended. */
function openMonitor(path: string, resumed: () => void): { force(): void } {
  let monitor: Socket | null = null;
  const dial = (): void => {
    const socket = connect(path);
    socket.once('connect', () => (monitor = socket));
    socket.on('data', resumed);
    socket.once('error', () => clock.after(DIAL_AGAIN_MS, dial));
  };
  dial();
  return { force: () => void monitor?.write('C') };
}

function main(options: HostOptions): void {
  const log = saying();
  const wire = { address: options.address, port: 7401, keys: () => [] };
  const startedAt = clock.now();
  let checkpoints = 0;
  let resumedAt: Instant | null = null;
  const monitor = openMonitor(options.monitor, () => {
    checkpoints += 1;
    resumedAt = clock.now();
  });
  const facts = (): PairFacts => ({
    uid: vmUid('measured'),
    role: options.role,
    born: epoch(1),
    peerAddress: options.peerAddress,
    ports: { migration: options.port, nbd: options.port + 1, mirror: [], compare: [] },
    pid: null,
    taps: options.taps,
    released: false,
    isKnown: true,
    breaks: [],
    replicationError: false,
    hungSince: null,
    mainLoopSilentSince: null,
    checkpointDelayMs: options.checkpointDelayMs,
    coloSince: startedAt,
    connectedAt: startedAt,
    checkpoints,
    lastStopAt: null,
    lastResumeAt: resumedAt,
    provenAt: resumedAt,
  });
  const peers = new Peers(
    {
      clock,
      log,
      probe: tcpProbe(options.address, wire.port),
      sockets: procSockets(),
      silence: nftSilence(log),
      openWire: (handlers) => udpHeartbeats(wire, handlers),
      canonical: canonicalAddress,
    },
    {
      cluster: '/measured',
      host: options.host,
      session: systemRandom().id(),
      intervalMs: options.intervalMs,
      suspectAfterMs: options.suspectAfterMs,
    },
  );
  peers.add('vm', {
    facts,
    changed: () => {
      const { state, evidence } = peers.judge('vm');
      say({ kind: 'judged', atMs: machineMs(), state, evidence });
    },
    forceCheckpoint: () => monitor.force(),
  });
  peers.start();
  tellLateness(peers, options.intervalMs);
}

function tellLateness(peers: Peers, intervalMs: number): void {
  let late: number[] = [];
  let toldAt = clock.now();
  const turn = (): void => {
    late.push(Math.round(peers.latenessMs() * 10) / 10);
    if (clock.now() - toldAt >= LATENESS_MS) {
      const { user, system } = process.cpuUsage();
      say({ kind: 'lateness', atMs: machineMs(), latenessMs: late, cpuMs: (user + system) / 1000 });
      late = [];
      toldAt = clock.now();
    }
    clock.after(intervalMs, turn);
  };
  turn();
}

main(JSON.parse(readFileSync(0, 'utf8')) as HostOptions);
