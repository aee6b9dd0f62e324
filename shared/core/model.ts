// The nouns of colo-ha: what an operator wants (VmSpec), what is (VmRecord), and what an agent sees (VmReport).
// Everything here is plain immutable data. Wire and disk forms are made in codec.ts, rules live in each wing's core.

import type { DiskId, Epoch, HostId, Incarnation, Term, VmUid } from './ids.js';

// ---------------------------------------------------------------- what the operator wants

/** How QEMU finds what to boot. Paths are on the host and must be the same on every host. */
export type Boot =
  { readonly kind: 'kernel'; readonly kernel: string; readonly initrd: string | null; readonly append: string } | { readonly kind: 'disk' };

export interface DiskSpec {
  /** Guest-visible size in bytes, a multiple of 1 MiB; every host's image is made to match. */
  readonly sizeBytes: number;
  /** Absolute path of the raw image on each host; null = `<stateDir>/vms/<vm>/disk<k>.raw`. */
  readonly path: string | null;
  /** Raw image copied once onto the first host at the first start; null = an empty disk. */
  readonly source: string | null;
}

export interface NicSpec {
  readonly mac: string;
  /** Host bridge that the tap is attached to; null = the agent's configured default. */
  readonly bridge: string | null;
}

/** `managed`: the agent starts QEMU. `external`: somebody else does; the agent owns its QMP sockets and never kills it. */
export type Launch =
  | { readonly kind: 'managed' }
  | { readonly kind: 'external'; readonly qmpSockets: readonly string[]; readonly startSecondary: readonly string[] | null };

/** `stop-copy`: the seed's resume. `live`: guest runs during the RAM copy. `identical-images`: the seed's cold start, no mirror. */
export type ProtectionMethod = 'stop-copy' | 'live' | 'identical-images';

export interface VmSpec {
  readonly name: string;
  readonly memoryMiB: number;
  readonly cpus: number;
  /** QEMU machine type, versioned, because both sides must be the same machine. */
  readonly machine: string;
  readonly cpuModel: string;
  readonly accel: 'kvm' | 'tcg' | 'auto';
  readonly disks: readonly DiskSpec[];
  readonly nics: readonly NicSpec[];
  readonly boot: Boot;
  readonly extraArgs: readonly string[];
  /** Hosts that may run this VM, most wanted first; empty = any host. */
  readonly hosts: readonly string[];
  readonly launch: Launch;
  readonly method: ProtectionMethod;
  /** x-checkpoint-delay: the longest time between two checkpoints, and so the beacon of a healthy pair. */
  readonly checkpointDelayMs: number;
  readonly compareTimeoutMs: number;
  readonly expiredScanCycleMs: number;
  /** Bytes per second for RAM and disk copies. */
  readonly maxBandwidthBytes: number;
  readonly onPoweroff: 'stop' | 'restart';
  /** What follows when both sides died: `always` boots the one valid disk again. */
  readonly restart: 'always' | 'never';
  /** How long `vm stop` lets the guest shut down by itself before QEMU is ended; 0 = at once. */
  readonly shutdownGraceMs: number;
}

/** The value of `<prefix>/vms/<vm>/spec`. */
export interface VmWanted {
  readonly uid: VmUid;
  readonly spec: VmSpec;
  readonly wanted: 'running' | 'stopped' | 'deleted';
  readonly protect: boolean;
  /** Failovers up to this one, by its time in the record, count no more against the hourly budget: an operator looked into them. */
  readonly releasedAtMs?: number | undefined;
  /** Place of the last history entry of this wish in the ring of such entries; absent = none was written. */
  readonly asked?: number | undefined;
}

// ---------------------------------------------------------------- what is

export const PHASES = ['stopped', 'starting', 'solo', 'syncing', 'protected', 'verdict', 'executed', 'stopping', 'failed', 'held'] as const;
export type Phase = (typeof PHASES)[number];

/** One QEMU of a VM. `born` is the epoch in which it was ordered to start: host and born together name one QEMU for ever. */
export interface Side {
  readonly host: string;
  readonly hostId: HostId;
  readonly born: Epoch;
}

/** TCP ports of one attempt, fresh per epoch, so that nothing of an earlier attempt can attach. */
export interface Ports {
  /** Secondary listens for the migration stream. */
  readonly migration: number;
  /** Secondary exports its parent disks. */
  readonly nbd: number;
  /** Primary listens; one per NIC. */
  readonly mirror: readonly number[];
  /** Primary listens; one per NIC. */
  readonly compare: readonly number[];
}

export interface Verdict {
  readonly row: string;
  readonly kind: 'solo-primary' | 'promote-secondary';
  readonly winner: Side;
  readonly loser: Side | null;
  readonly evidence: readonly string[];
  /** Wall clock, milliseconds since 1970, of the leader that decided. For people, never for decisions. */
  readonly atMs: number;
  /** Why the loser must not go on even if the winner is gone: its disk missed writes that the guest believes to be done. */
  readonly loserLacks?: string | undefined;
}

export type DiskState = 'clean' | 'merging' | 'stale';

/** The one place where the guest's data is. `images` is the chain from the topmost overlay down to the parent; one name when clean. */
export interface ValidDisk {
  readonly host: string;
  readonly diskId: DiskId;
  readonly epoch: Epoch;
  readonly state: DiskState;
  readonly images: readonly string[];
}

/** The value of `<prefix>/vms/<vm>/record`. */
export interface VmRecord {
  readonly vm: string;
  readonly uid: VmUid;
  readonly epoch: Epoch;
  readonly phase: Phase;
  /** Why it is in this phase, for people. */
  readonly reason: string;
  /** Name of the transition row that led here. */
  readonly row: string;
  readonly sinceMs: number;
  /** The side that runs the guest (or is to run it). Null only when stopped. */
  readonly primary: Side | null;
  readonly secondary: Side | null;
  readonly ports: Ports | null;
  readonly verdict: Verdict | null;
  readonly disk: ValidDisk | null;
  /** Last failure of a protection attempt or a start; null when none since the last success. */
  readonly lastError: string | null;
  /** Failed protection attempts since the last success; sets the backoff. */
  readonly failedAttempts: number;
  /** Wall clock times of the last failovers, newest last, bounded; the hourly budget is counted from them. */
  readonly failoversAtMs: readonly number[];
}

export interface HistoryEntry {
  readonly atMs: number;
  readonly vm: string;
  readonly epoch: Epoch;
  readonly row: string;
  readonly from: Phase;
  readonly to: Phase;
  readonly primary: string | null;
  readonly secondary: string | null;
  readonly evidence: readonly string[];
  readonly by: string;
  /** Named parts in milliseconds: `detect`, `verdict`, `execute`, `copy`, ... as far as known at this edge. */
  readonly durationsMs: Readonly<Record<string, number>>;
}

/** The value of `<prefix>/hosts/<host>` (leased) and `<prefix>/inventory/<host>` (kept, so that a coordinator can dial it again). */
export interface HostKey {
  readonly host: string;
  readonly hostId: HostId;
  /** `address:port` of the agent's gRPC server. */
  readonly agentAddress: string;
  /** IP address on the replication network. */
  readonly replicationAddress: string;
  readonly qemuVersion: string;
  readonly agentVersion: string;
}

/** The value of `<prefix>/cluster`. */
export interface Cluster {
  readonly name: string;
  readonly incarnation: Incarnation;
  /**
   * Added to the leader key's revision in every order. A store that was restored or emptied counts its revisions from an earlier point, and
   * agents obey no term below the highest that they know: `coloctl recover` sets this above it. Absent = 0.
   */
  readonly termBase?: number | undefined;
}

// ---------------------------------------------------------------- orders

/** Where a primary finds its secondary, or a secondary its primary. */
export interface Peer {
  readonly host: string;
  readonly address: string;
}

/**
 * What a coordinator may ask of one side. Every goal is safe to repeat and has a plan from every state in which it can be set.
 * `release-primary` is Primary Failover (or the rollback of an attempt that never reached COLO);
 * `release-secondary` is Secondary Failover; `hold` takes the tap down and touches nothing else. `acceptLoss`: an
 * operator chose this side although its disk may lack writes.
 */
export type Goal =
  | { readonly kind: 'start-alone'; readonly born: Epoch; readonly images: readonly string[] | null; readonly create: boolean }
  | { readonly kind: 'start-cold-primary'; readonly born: Epoch; readonly ports: Ports; readonly peer: Peer }
  | { readonly kind: 'start-secondary'; readonly born: Epoch; readonly ports: Ports; readonly peer: Peer }
  | { readonly kind: 'protect'; readonly born: Epoch; readonly ports: Ports; readonly peer: Peer; readonly method: ProtectionMethod }
  | { readonly kind: 'release-primary'; readonly born: Epoch; readonly acceptLoss: boolean }
  | { readonly kind: 'release-secondary'; readonly born: Epoch; readonly ports: Ports }
  | { readonly kind: 'hold'; readonly born: Epoch }
  | { readonly kind: 'checkpoint'; readonly born: Epoch }
  | { readonly kind: 'stop'; readonly born: Epoch }
  | { readonly kind: 'destroy' };
export type GoalKind = Goal['kind'];

export interface Order {
  readonly incarnation: Incarnation;
  readonly vm: string;
  readonly uid: VmUid;
  readonly term: Term;
  readonly epoch: Epoch;
  readonly goal: Goal;
  readonly spec: VmSpec;
}

export const ORDER_REFUSALS = [
  'older-term',
  'older-epoch',
  'foreign-uid',
  'foreign-incarnation',
  'not-this-qemu',
  'not-permitted-now',
  'unknown-journal',
  'invalid',
] as const;
export type OrderRefusal = (typeof ORDER_REFUSALS)[number];

export type OrderAnswer =
  { readonly kind: 'accepted' } | { readonly kind: 'refused'; readonly refusal: OrderRefusal; readonly detail: string };

// ---------------------------------------------------------------- what an agent sees

/** `alone`: runs the guest without a peer. `primary`/`secondary`: half of a pair, or being made one. */
export type QemuRole = 'none' | 'alone' | 'primary' | 'secondary';

export type QemuReport =
  | { readonly kind: 'absent' }
  | { readonly kind: 'starting'; readonly born: Epoch }
  /** Adopted or found, not yet looked at. */
  | { readonly kind: 'unknown'; readonly born: Epoch; readonly pid: number | null }
  | { readonly kind: 'alive'; readonly born: Epoch; readonly pid: number | null; readonly role: QemuRole; readonly runstate: string }
  /** The main loop does not answer; the process is there. */
  | { readonly kind: 'hung'; readonly born: Epoch; readonly pid: number | null }
  /** Exit proven. `guestShutdown`: the guest itself powered off, which is never a failover. */
  | { readonly kind: 'dead'; readonly born: Epoch; readonly why: string; readonly guestShutdown: boolean };

/** `ok`: fresh QEMU-level progress. `hard`: QEMU or the kernel says it is broken for good. `silent`: nothing heard past the limit on QEMU's own sockets. */
export type PairState = 'none' | 'ok' | 'hard' | 'silent' | 'unknown';

export interface PairReport {
  readonly state: PairState;
  /** What was seen, newest last, e.g. `COLO_EXIT secondary error 12 ms ago`. */
  readonly evidence: readonly string[];
}

/** Goal `unknown`: an agent of a newer version says a word that this one does not know. */
export type TaskReport =
  | { readonly kind: 'idle' }
  | {
      readonly kind: 'running';
      readonly goal: GoalKind | 'unknown';
      readonly epoch: Epoch;
      readonly procedure: string;
      readonly step: string;
    }
  /** `unknown`: a step's outcome was lost; the facts above were read again afterwards. */
  | { readonly kind: 'failed'; readonly goal: GoalKind | 'unknown'; readonly epoch: Epoch; readonly step: string; readonly error: string };

export interface DiskReport {
  readonly diskId: DiskId | null;
  readonly stampEpoch: Epoch | null;
  readonly state: DiskState | 'missing';
  readonly images: readonly string[];
  /** query-xen-replication-status and quorum events of this QEMU. */
  readonly replication: 'none' | 'clean' | 'error';
  /** QUORUM_REPORT_BAD named the local child, or a block I/O error stopped the guest. */
  readonly localError: boolean;
}

export interface VmReport {
  readonly vm: string;
  readonly uid: VmUid;
  /** Highest order that the journal holds. */
  readonly term: Term;
  readonly epoch: Epoch;
  readonly qemu: QemuReport;
  readonly pair: PairReport;
  /** Epoch whose order let this QEMU run the guest alone (start or release), as journalled and then seen; null = it may not release output. */
  readonly aloneSince: Epoch | null;
  /** Secondary: NBD exported and waiting for the migration stream of this epoch. */
  readonly readyFor: Epoch | null;
  /** Every check of the proof of protection passed on this side for this attempt. */
  readonly provenFor: Epoch | null;
  /** SHUTDOWN by the guest was seen on this QEMU. */
  readonly guestShutdown: boolean;
  /** Tap is down by a hold order. */
  readonly held: boolean;
  /** COLO_EXIT was seen, so that no checkpoint is half loaded (SAFETY 2). */
  readonly coloExited: boolean;
  /** Why this QEMU must not run the guest alone: a checkpoint that did not load, or a disk that lacks what its guest was told is written. */
  readonly unpromotable: string | null;
  readonly task: TaskReport;
  readonly disk: DiskReport;
  readonly resync: { readonly doneBytes: number; readonly totalBytes: number } | null;
  /** Milliseconds of finished procedures of this epoch, by name. */
  readonly durationsMs: Readonly<Record<string, number>>;
}

/** What a daemon says of its own certificate. */
export interface CertificateReport {
  /** `agent/host1` and the like. */
  readonly identity: string;
  /** Milliseconds since 1970. */
  readonly notAfterMs: number;
  readonly serial: string;
  /** Why newer files are not taken up; null = what is in the files is in use. */
  readonly problem: string | null;
}

export interface HostReport {
  readonly host: string;
  readonly hostId: HostId;
  /** Random per agent start; sequence restarts with it. */
  readonly session: string;
  readonly sequence: number;
  /** This agent's own tick was late by so much; its silences of this round are not to be believed. */
  readonly latenessMs: number;
  /** Last incarnation this agent has obeyed; null when it has none. */
  readonly incarnation: Incarnation | null;
  readonly vms: readonly VmReport[];
  /** Peers' replication addresses as heard by host heartbeats: milliseconds since the last one. */
  readonly peersSilentMs: Readonly<Record<string, number>>;
  readonly freeDiskBytes: number;
  /** Last time that etcd answered this agent, milliseconds ago; null = never. */
  readonly etcdSilentMs: number | null;
  /** The agent's own; null or absent = it runs without certificates. */
  readonly certificate?: CertificateReport | null;
}
