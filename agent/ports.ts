// What the agent's loops need from the world beyond the shared ports: QEMU processes and their monitors, disk images, taps, and the
// journal. The real ones use /proc, `ip` and `qemu-img`; the simulator's are models. None of these decides anything, and none throws:
// what can go wrong is a value with a text for the operator.

import type { Stamp } from './core/disk-rules.js';
import type { AgentJournal, VmJournal } from './core/journal.js';
import type { Monitor, MonitorHandlers, QmpError } from './core/procedures/port.js';
import type { Epoch } from '../shared/core/ids.js';
import type { Result } from '../shared/core/result.js';
import type { Clock, Log, Random, Store } from '../shared/ports.js';

/** A process and no other: the kernel gives a pid again, but never with the same start time in the same boot. */
export interface ProcessId {
  readonly pid: number;
  /** Field 22 of /proc/PID/stat: clock ticks since boot. */
  readonly startTime: string;
  /** /proc/sys/kernel/random/boot_id. */
  readonly bootId: string;
}

/** `exiting`: still in the table, but it will never run guest code again (zombie, or its exit has begun). */
export type ProcessState = 'running' | 'exiting' | 'gone';

export interface LaunchRequest {
  readonly vm: string;
  readonly born: Epoch;
  /** Program and arguments. */
  readonly argv: readonly string[];
  /** Made with mode 0700 before the start. */
  readonly runtimeDir: string;
  readonly sockets: readonly string[];
  readonly logFile: string;
  /** Of the guest's serial port. */
  readonly serialFile: string;
  /** All images that QEMU opens; they become its user's. */
  readonly images: readonly string[];
}

/** The QEMU processes of this host. They outlive the agent. */
export interface Qemus {
  /** Starts a QEMU and notes its process where `processOf` finds it after an agent's death. */
  launch(request: LaunchRequest): Promise<Result<ProcessId, string>>;
  /**
   * The process of this QEMU: as noted, or, when an agent died between start and note, the one whose command line names the socket.
   * Null = there is no such process in this boot.
   */
  processOf(vm: string, born: Epoch, socket: string): ProcessId | null;
  inspect(process: ProcessId): ProcessState;
  /** SIGKILL, only if the pid still belongs to that very process. */
  kill(process: ProcessId): void;
  /**
   * One attempt to open the monitors on one or two sockets (one = both duties on it). Bounded by `deadlineMs`.
   * `refused` with class `Client` when nothing listens there.
   */
  connect(
    sockets: readonly string[],
    handlers: MonitorHandlers,
    deadlineMs: number,
    signal: AbortSignal,
  ): Promise<Result<Monitor, QmpError>>;
  /** Nothing listens on any of these sockets: the program that made them has ended. For a QEMU whose process is not known. */
  abandoned(sockets: readonly string[]): Promise<boolean>;
  /** What QEMU has written to its log, from `offset` on, at most 64 KiB; and the offset to go on from. */
  readLog(logFile: string, offset: number): { readonly text: string; readonly offset: number };
  /** Makes the runtime folder, for its owner only. `launch` does so itself. */
  makeRuntimeFolder(runtimeDir: string): Promise<Result<null, string>>;
  /** Removes the runtime folder of a QEMU that is gone, and the note of its process. */
  forget(vm: string, born: Epoch, runtimeDir: string): Promise<void>;
  /** Runs an operator's command to its end (external launch), with these variables beside our own. */
  run(argv: readonly string[], deadlineMs: number, environment: Readonly<Record<string, string>>): Promise<Result<null, string>>;
}

/** An image as it is on the host. */
export type Image = { readonly kind: 'missing' } | { readonly kind: 'present'; readonly sizeBytes: number; readonly stamp: Stamp | null };

export interface Disks {
  look(image: string): Promise<Result<Image, string>>;
  /** A raw image with all its space reserved; `source` (raw) is copied into it and may be shorter. Never overwrites a file. */
  create(image: string, sizeBytes: number, source: string | null): Promise<Result<null, string>>;
  /** An empty image of that size in the place of the old one. For a parent that a resync is going to fill. */
  recreate(image: string, sizeBytes: number): Promise<Result<null, string>>;
  /** Grows a raw image; never shrinks one. */
  grow(image: string, sizeBytes: number): Promise<Result<null, string>>;
  /** From now on no write to it can fail for want of space; what is in it stays. Also for an image that a QEMU has open. */
  reserve(image: string, sizeBytes: number): Promise<Result<null, string>>;
  /** On disk (fsync) before it answers. */
  writeStamp(image: string, stamp: Stamp): Promise<Result<null, string>>;
  /** A fresh empty qcow2 of the given size; replaces a file of that name. */
  makeOverlay(path: string, sizeBytes: number): Promise<Result<null, string>>;
  /**
   * Whether QEMU had merged this chain (topmost first, raw parent last) before it ended: then the parent is newer than its overlays, and
   * to merge them again would put old data over new.
   */
  merged(chain: readonly string[]): Promise<Result<boolean, string>>;
  /** Commits a chain (topmost first, raw parent last) into its parent, offline, and removes the overlays. Safe to repeat after a crash. */
  flatten(chain: readonly string[]): Promise<Result<null, string>>;
  remove(paths: readonly string[]): Promise<void>;
  /** Removes every overlay in a VM's folder (`active*`, `hidden*`) but those to be kept. */
  sweepOverlays(folder: string, keep: readonly string[]): Promise<void>;
  /** Where the folders of VMs are, and with them the overlays. */
  freeBytes(): Promise<number>;
}

export interface Taps {
  /** Makes a tap with vnet_hdr, puts it on the bridge, sets it up. Safe to repeat. */
  make(name: string, bridge: string): Promise<Result<null, string>>;
  setUp(name: string, up: boolean): Promise<Result<null, string>>;
  /** Safe to repeat. */
  remove(name: string): Promise<Result<null, string>>;
}

/** What survives the agent's death. Each `save` is on disk (fsync of file and folder) before it answers. */
export interface JournalStore {
  saveVm(journal: VmJournal): Promise<Result<null, string>>;
  saveAgent(journal: AgentJournal): Promise<Result<null, string>>;
}

export interface AgentPorts {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly store: Store;
  readonly journal: JournalStore;
  readonly qemus: Qemus;
  readonly disks: Disks;
  readonly taps: Taps;
}
