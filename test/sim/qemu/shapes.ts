// The parts of a simulated QEMU and its host as they see each other: shapes only, so that no two of their files need one another.

import type { Stamp } from '../../../agent/core/disk-rules.js';
import type { AgentJournal, VmJournal } from '../../../agent/core/journal.js';
import type { JsonObject, QemuVersion } from '../../../agent/core/procedures/port.js';
import type { Kernel } from '../world/kernel.js';
import type { Network } from '../world/network.js';
import type { Rng } from '../world/rng.js';
import type { Answer, Content } from './content.js';
import type { CommandLine } from './options.js';

/** What all QEMUs of a world share. */
export interface QemuWorld {
  readonly kernel: Kernel;
  readonly network: Network;
  readonly rng: Rng;
  readonly version: QemuVersion;
  machineAt(address: string): Machine | null;
  /** A line for the event log. */
  note(text: string): void;
  /** Tells the invariants that something changed that they look at. */
  touched(): void;
  /** An agent sends this QEMU a command that is no question; nobody knows yet what comes of it. */
  told(qemu: Qemu, command: string): void;
  /** A frame with payload left towards the client. */
  sent(qemu: Qemu, k: number, v: number): void;
  /** The answer `k` could not be written to the secondary's image, and the primary is about to hear so. */
  refused(primary: Qemu, secondary: Qemu, k: number): void;
  /** The filter at a host's taps lets other taps pass than before. */
  silenced(machine: Machine, before: ReadonlySet<string>): void;
}

// ---------------------------------------------------------------- a host

/** What a secondary's overlays hold together with their parent: the guest's disk as that QEMU sees it. */
export interface Chain {
  view: Content;
  /** Files without which the view cannot be read. */
  readonly files: readonly string[];
  /** All of it is in the parent, and what was written since is only there. */
  merged: boolean;
}

export interface SimImage {
  readonly path: string;
  kind: 'raw' | 'qcow2';
  sizeBytes: number;
  /** Of a raw image. */
  content: Content;
  /** Of an overlay that QEMU uses. */
  chain: Chain | null;
  stamp: Stamp | null;
  /** The device under it fails. */
  bad: boolean;
}

export interface Machine {
  readonly name: string;
  readonly address: string;
  up: boolean;
  boots: number;
  readonly images: Map<string, SimImage>;
  readonly taps: Map<string, { up: boolean }>;
  /** By pid. Dead ones stay until the next boot, as their notes do. */
  readonly processes: Map<number, Qemu>;
  readonly notes: Map<string, { readonly born: number; readonly pid: number }>;
  readonly logs: Map<string, string>;
  readonly vmJournals: Map<string, VmJournal>;
  agentJournal: AgentJournal | null;
  /** Taps that the host's filter lets nothing but IPv4 pass from. */
  silenced: ReadonlySet<string>;
  /** Whoever listens for heartbeats; false = nobody does any more. */
  hearHeartbeat: ((from: string, text: string) => boolean) | null;
  /** No space is left for what a secondary must write. */
  isFull: boolean;
  image(path: string): SimImage | null;
  running(): readonly Qemu[];
  writeLog(path: string, line: string): void;
}

// ---------------------------------------------------------------- a QEMU

export interface Channel {
  /** The TCP port of the end that listened. */
  readonly port: number;
  /** Since when something sent from here is not acknowledged; null = nothing waits. */
  stuckSince(at: Qemu): number | null;
  isOpen(at: Qemu): boolean;
  /** Nothing passes between the two at the moment, though both ends may be open. */
  isSilent(): boolean;
  peerOf(qemu: Qemu): Qemu;
  /** Does nothing where the own end is closed. `arrive` runs at the other side as long as that end is open. */
  send(from: Qemu, arrive: () => void): void;
  /** The own end is closed: by `yank`, by QEMU, or by the kernel when the process ended. */
  close(by: Qemu): void;
}

export interface Chardev {
  readonly id: string;
  readonly listens: boolean;
  /** Null = a unix socket inside the host. */
  readonly port: number | null;
  readonly host: string;
  readonly path: string;
  channel: Channel | null;
  /** The other end of a unix socket. */
  mate: string | null;
}

export interface SimObject {
  readonly id: string;
  readonly type: string;
  readonly outdev: string;
  readonly vnetHdr: boolean;
  on: boolean;
}

/** Who listens to its events: a connected monitor. */
export interface EventSink {
  event(name: string, data: JsonObject): void;
  ended(): void;
}

export interface Guest {
  /** All that it knows. */
  ram: Answer | null;
  /** RAM of one moment and devices of another: a state that failed to load. */
  ramTorn: boolean;
  /** The next checkpoint that this secondary receives does not load. */
  nextLoadFails: boolean;
  booted: boolean;
  /** Before a migration stopped it. */
  wasRunning: boolean;
  fromClient(k: number): void;
  handle(k: number): void;
  goesOn(): void;
  saidBySecondary(k: number, v: number): void;
  flush(): void;
  forgetWithheld(): void;
  load(ram: Answer | null): void;
  boot(ms: number): void;
}

export interface Child {
  readonly node: 'replication0' | 'nbd0';
  readonly channel: Channel;
}

export interface CopyJob {
  readonly id: string;
  ready: boolean;
  offset: number;
  readonly length: number;
  readonly channel: Channel;
}

export interface Block {
  /** The raw image as it was opened: a file put in its place afterwards is another one. */
  readonly image: SimImage;
  /** A secondary's own view; null = the raw image is the guest's disk. */
  readonly chain: Chain | null;
  /** The replication driver stands between quorum and parent: at work, done, or with a merge that failed. */
  readonly replicationNode: 'none' | 'active' | 'done' | 'failed';
  replicationError: boolean;
  /** A write of this pair did not reach the peer's copy, whichever driver carried it. */
  missedByPeer: boolean;
  /** A write of which its guest was told that it is done is not on this image. */
  readonly lacksWrites: boolean;
  readonly merging: boolean;
  readonly hasFailedWrite: boolean;
  child: Child | null;
  /** Nodes that are there beside the quorum's children. */
  readonly nodes: Map<string, Channel>;
  readonly job: CopyJob | null;
  server: { readonly port: number; readonly exports: Set<string> } | null;
  useOverlays(active: string, hidden: string): void;
  read(): Content;
  write(answer: Answer, done: () => void): void;
  /** The guest goes on: a write whose error stopped it is tried again. */
  guestRuns(): void;
  takeFromPrimary(answer: Answer): boolean;
  /** When all is over that the guest has asked of its disk. */
  drain(then: () => void): void;
  connect(host: string, port: number): Channel | 'refused' | 'silent';
  peerGone(channel: Channel): void;
  startCopy(id: string, channel: Channel): void;
  cancelCopy(force: boolean): boolean;
  discardOverlays(): void;
  mergeOverlays(): void;
  stopServer(): void;
  usesForDisk(channel: Channel): boolean;
  ended(): void;
}

export interface Pair {
  readonly primary: Qemu;
  readonly secondary: Qemu;
  readonly step: 'copying' | 'before-switch' | 'colo' | 'over';
  /** The first whole transfer has ended. */
  readonly resumed: boolean;
  checkpoint(): void;
  switchOver(): void;
  cancel(): void;
  yank(qemu: Qemu): void;
  failOver(qemu: Qemu): void;
}

export interface Qemu {
  readonly world: QemuWorld;
  readonly machine: Machine;
  readonly pid: number;
  readonly vm: string;
  readonly born: number;
  readonly line: CommandLine;
  readonly logFile: string;
  readonly name: string;
  readonly chardevs: Map<string, Chardev>;
  readonly objects: Map<string, SimObject>;
  readonly channels: Set<Channel>;
  readonly sinks: Set<EventSink>;
  readonly capabilities: Set<string>;
  readonly guest: Guest;
  readonly block: Block;
  readonly alive: boolean;
  /** SIGSTOP. */
  readonly stopped: boolean;
  /** Monitors can be opened. */
  listening: boolean;
  runstate: string;
  migration: string | null;
  colo: { mode: 'none' | 'primary' | 'secondary'; lastMode: string; reason: string };
  checkpointDelayMs: number;
  compareTimeoutMs: number;
  maxBandwidthBytes: number;
  /** What holds the main loop, and what a yank of that very thing frees. */
  readonly hang: string | null;
  /** When it last went on after it had been stopped or its main loop held. */
  readonly stoodStillUntil: number;
  /** Its guest last went on, in COLO at the end of a checkpoint. */
  readonly resumedAt: number;
  gaveUpConnecting: boolean;
  pair: Pair | null;
  readonly running: boolean;
  /** A timer of its own: it fires only while it lives, and late when it was stopped. */
  after(ms: number, run: () => void): () => void;
  receive(run: () => void): void;
  emit(name: string, data?: JsonObject): void;
  setRunstate(runstate: string): void;
  setMigration(status: string): void;
  /** Where frames of the guest go. */
  outputPath(): 'tap' | 'compare' | 'secondary' | 'nowhere';
  /** Its guest's output does not go to the tap when it runs. */
  hasFilters(): boolean;
  tapIsUp(): boolean;
  /** Its guest is heard, and nobody compares what it says. */
  releases(): boolean;
  /** The main loop stands still until `release` of the same thing. */
  hold(by: string): void;
  release(by: string): void;
  onHangEnd(run: () => void): void;
  stop(): void;
  cont(): void;
  die(by: string, silently?: boolean): void;
  keepConnecting(chardev: Chardev): void;
  closeChardev(chardev: Chardev): void;
}
