// What the watch over pairs needs from the world: datagrams to other hosts, a question to their kernels, the kernel's list of sockets, and
// the filter that silences a tap. None of these decides anything, and none throws.

import type { TcpSocket } from './core/kernel-evidence.js';
import type { Epoch, Instant, VmUid } from '../shared/core/ids.js';
import type { PairReport, Ports } from '../shared/core/model.js';
import type { Result } from '../shared/core/result.js';
import type { Clock, Log } from '../shared/ports.js';

export interface HeartbeatHandlers {
  /** A datagram whose seal was right, if seals are in use. `address`: as `canonical` writes it. */
  heard(address: string, text: string): void;
  /** The kernel of that host says that nobody listens there. */
  refused(address: string): void;
}

/** Heartbeats on the replication network. What cannot be sent is lost, as on any network. */
export interface HeartbeatWire {
  /** Null = it listens. Otherwise why it does not; it goes on trying with every datagram sent. */
  problem(): string | null;
  send(address: string, text: string): void;
  /** No more to this host for now. */
  forget(address: string): void;
  close(): void;
}

/** Asks a host's kernel for an answer that it gives by itself: the refusal of a TCP connection to a closed port. */
export interface KernelProbe {
  /** `answered` is called at most once, when an answer came within a second. */
  ask(address: string, answered: () => void): void;
  close(): void;
}

export interface SocketTables {
  /** Sockets in the network namespace of that process; null = of this one. */
  read(pid: number | null): Result<readonly TcpSocket[], string>;
}

/** Drops every frame that is not plain IPv4 (ARP, IPv6, VLAN-tagged and the like) where it leaves the VM's tap. */
export interface TapSilence {
  /** Makes the filter ready. The answer is what an earlier agent of this host had silenced and not lifted. */
  open(): Promise<ReadonlySet<string>>;
  /** Exactly these taps are to be silent from now on. Repeats until it is so; the latest call counts. */
  want(taps: ReadonlySet<string>): void;
  /** Why taps cannot be silenced on this host; null = they can. */
  problem(): string | null;
}

export interface PeerPorts {
  readonly clock: Clock;
  readonly log: Log;
  readonly probe: KernelProbe;
  readonly sockets: SocketTables;
  readonly silence: TapSilence;
  /** Opens the wire; the handlers are called from then on. */
  openWire(handlers: HeartbeatHandlers): HeartbeatWire;
  /** One form for each address, so that a configured one and a heard one are the same text. */
  canonical(address: string): string;
}

/** What a VM's own loop knows of its side, asked anew at each judgement. */
export interface PairFacts {
  readonly uid: VmUid;
  /** `none`: not half of a pair that reached COLO. A side whose QEMU hangs keeps the role that it had. */
  readonly role: 'primary' | 'secondary' | 'none';
  /** False until this agent has looked at its QEMU: then `none` says nothing. */
  readonly isKnown: boolean;
  /** Of this side's QEMU. */
  readonly born: Epoch;
  /** Where the other side is, from the last order that said so; heartbeats go there while the pair is being made, too. */
  readonly peerAddress: string | null;
  readonly ports: Ports | null;
  readonly pid: number | null;
  readonly taps: readonly string[];
  /** An order lets this side run the guest alone, or it does so: it must be heard. */
  readonly released: boolean;
  readonly breaks: readonly { readonly what: string; readonly at: Instant }[];
  readonly replicationError: boolean;
  readonly hungSince: Instant | null;
  readonly mainLoopSilentSince: Instant | null;
  readonly checkpointDelayMs: number;
  readonly coloSince: Instant | null;
  readonly connectedAt: Instant;
  readonly checkpoints: number;
  readonly lastStopAt: Instant | null;
  readonly lastResumeAt: Instant | null;
  /** No later than the newest proof by a checkpoint that packets went both ways. */
  readonly provenAt: Instant | null;
}

/** A VM as the watch sees it. */
export interface PairSource {
  /** Null: nothing is known of a QEMU. */
  facts(): PairFacts | null;
  /** The judgement is another one: report it at once. */
  changed(): void;
  /** Sends `migrate-set-parameters x-checkpoint-delay`, without waiting for it. Not called before the pair's first RESUME. */
  forceCheckpoint(): void;
}

/** What the agent's other loops use. */
export interface PairWatch {
  /** Watches a VM until the answer is called. */
  add(vm: string, source: PairSource): () => void;
  judge(vm: string): PairReport;
  /** What the peers must know of this side has changed: they are told at once. */
  tell(): void;
  /** For the host's report: milliseconds since each peer was last heard, lateness of ours left out. */
  peersSilentMs(): Readonly<Record<string, number>>;
  /** How late the last tick was; the report's silences are to be doubted by as much. */
  latenessMs(): number;
}
