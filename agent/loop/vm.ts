// One VM of this host, in memory: its journal, the link to its QEMU, and what was last seen there. Others act; this keeps the pieces
// together, writes the journal in order, and tells the host's loop when the report may have changed.

import type { QemuCapabilities } from '../core/capabilities.js';
import type { QemuFacts } from '../core/facts.js';
import { hasMergeFailed, situationOf } from '../core/situation.js';
import type { QemuJournal, VmJournal } from '../core/journal.js';
import { vmNames, type VmNames } from '../core/names.js';
import type { PairTls } from '../core/pair-tls.js';
import { qemuPaths, type Folders, type QemuPaths } from '../core/paths.js';
import type { Situation } from '../core/plan.js';
import type { Monitor, QemuVersion } from '../core/procedures/port.js';
import { reportOf, type DiskView } from '../core/report.js';
import type { Seen } from '../core/seen.js';
import type { AgentPorts, ProcessId } from '../ports.js';
import { assert } from '../../shared/core/assert.js';
import type { Epoch, HostId, Instant } from '../../shared/core/ids.js';
import type { Keys } from '../../shared/core/keys.js';
import type { Goal, PairReport, TaskReport, VmRecord, VmReport, VmSpec } from '../../shared/core/model.js';
import { ok, type Result } from '../../shared/core/result.js';

export interface AgentSetup {
  readonly host: string;
  readonly hostId: HostId;
  readonly replicationAddress: string;
  readonly folders: Folders;
  readonly keys: Keys;
  /** Bridge of NICs that name none. */
  readonly bridge: string | null;
  /** QEMU's program and its version. */
  readonly program: string;
  readonly version: QemuVersion;
  /** QEMU closes to itself, by seccomp, what a QEMU does not need. */
  readonly sandbox: boolean;
  /** Of the streams between the two QEMUs of a pair; null = in the open. */
  readonly tls: PairTls | null;
}

export interface Link {
  readonly born: Epoch;
  readonly monitor: Monitor;
  readonly capabilities: QemuCapabilities;
}

/** What is being done for one order. */
export interface Task {
  readonly goal: Goal;
  readonly epoch: Epoch;
  readonly spec: VmSpec;
  /** The record that permitted a destruction. */
  readonly record: VmRecord | null;
  readonly abort: AbortController;
  procedure: string;
  step: string;
  /** A step was begun after which output may leave this QEMU uncompared. */
  freed: boolean;
}

const NO_DISK: DiskView = { diskId: null, stampEpoch: null, state: 'missing', images: [] };

export class Vm {
  readonly name: string;
  readonly ports: AgentPorts;
  readonly setup: AgentSetup;
  /** Null until the first order was obeyed. Changed by `save` only. */
  journal: VmJournal | null;
  process: ProcessId | null = null;
  link: Link | null = null;
  facts: QemuFacts | null = null;
  seen: Seen | null = null;
  /** An out-of-band probe is unanswered, or no monitor answers at all, since. */
  hungSince: Instant | null = null;
  mainLoopSilentSince: Instant | null = null;
  launching = false;
  task: Task | null = null;
  disk: DiskView = NO_DISK;
  resync: VmReport['resync'] = null;
  durationsMs: Readonly<Record<string, number>> = {};
  logOffset = 0;
  /** QEMU's log says that it has left COLO. */
  coloLeftInLog = false;
  /** Resolves when what was last found against this QEMU is in the journal. */
  unfitTaken: Promise<Result<null, string>> = Promise.resolve(ok(null));
  /** When this QEMU last left a pair, or an attempt at one. */
  pairEndedAt: Instant | null = null;
  /** When a guest that a failed write had stopped was last let go on. */
  writeMadeAgainAt: Instant | null = null;
  /** Ends the watch of the QEMU that is here. */
  watching: AbortController | null = null;
  /** Asks the watch over pairs; set when there is one. */
  judgePair: (() => PairReport) | null = null;
  /** Looks again soon; set by the watch. */
  lookSoon: () => void = () => undefined;
  /** Breaks off a round of questions, when an order must not wait behind them; set by the watch. */
  stopLooking: () => void = () => undefined;
  readonly #onChange: () => void;
  readonly #waiting = new Set<() => void>();
  readonly #unwritten: {
    readonly next: (journal: VmJournal | null) => VmJournal | null;
    readonly resolve: (saved: Result<null, string>) => void;
  }[] = [];
  #writing = false;

  constructor(name: string, ports: AgentPorts, setup: AgentSetup, journal: VmJournal | null, onChange: () => void) {
    this.name = name;
    this.ports = ports;
    this.setup = setup;
    this.journal = journal;
    this.#onChange = onChange;
  }

  get qemu(): QemuJournal | null {
    return this.journal?.qemu ?? null;
  }

  /** Only for callers behind an obeyed order. */
  get spec(): VmSpec {
    assert(this.journal !== null, 'a VM without a journal has no spec');
    return this.journal.spec;
  }

  get counts(): { readonly disks: number; readonly nics: number } {
    return { disks: this.spec.disks.length, nics: this.spec.nics.length };
  }

  get names(): VmNames {
    return vmNames(this.counts.disks, this.counts.nics);
  }

  paths(born: Epoch): QemuPaths {
    return qemuPaths(this.setup.folders, this.spec, born);
  }

  /** Monitor sockets: out of band first. */
  sockets(born: Epoch): readonly string[] {
    const { launch } = this.spec;
    return launch.kind === 'external' ? launch.qmpSockets : this.paths(born).sockets;
  }

  situation(): Situation {
    return situationOf({
      qemu: this.qemu,
      connected: this.link !== null,
      hung: this.hungSince !== null,
      facts: this.facts,
      seen: this.seen,
    });
  }

  report(): VmReport | null {
    const { journal } = this;
    if (journal === null) return null;
    return reportOf(
      {
        journal,
        situation: this.situation(),
        launching: this.launching,
        pid: this.process?.pid ?? null,
        runstate: this.facts?.runstate ?? 'unknown',
        seen: this.seen,
        replication: this.facts?.replication ?? 'none',
        mergeFailed: this.facts !== null && hasMergeFailed(this.facts),
        pair: this.judgePair?.() ?? null,
        mainLoopSilentSince: this.mainLoopSilentSince,
        task: this.#taskReport(journal),
        disk: this.disk,
        resync: this.resync,
        durationsMs: this.durationsMs,
      },
      this.ports.clock.now(),
    );
  }

  /** Something that a report or a waiting task may depend on has changed. */
  changed(): void {
    this.#onChange();
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const wake of waiting) wake();
  }

  /** Resolves at the next change, after `ms`, or when aborted. */
  change(ms: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      if (signal.aborted) return resolve();
      const end = (): void => {
        cancel();
        this.#waiting.delete(end);
        signal.removeEventListener('abort', end);
        resolve();
      };
      const cancel = this.ports.clock.after(ms, end);
      this.#waiting.add(end);
      signal.addEventListener('abort', end, { once: true });
    });
  }

  /** Waits until `holds`, at most `ms`. False = it does not. */
  async until(holds: () => boolean, ms: number, signal: AbortSignal): Promise<boolean> {
    const end = this.ports.clock.now() + ms;
    for (;;) {
      if (holds()) return true;
      const left = end - this.ports.clock.now();
      if (left <= 0 || signal.aborted) return false;
      await this.change(left, signal);
    }
  }

  /**
   * Writes the journal that `next` makes of the one at its turn; what is in memory changes only when it is on disk. Null = nothing to
   * write. What comes while a write is under way is written together by the next one.
   */
  save(next: (journal: VmJournal | null) => VmJournal | null): Promise<Result<null, string>> {
    return new Promise((resolve) => {
      this.#unwritten.push({ next, resolve });
      if (!this.#writing) void this.#write();
    });
  }

  async #write(): Promise<void> {
    this.#writing = true;
    while (this.#unwritten.length > 0) {
      const batch = this.#unwritten.splice(0);
      const all = (journal: VmJournal | null): VmJournal | null => batch.reduce((now, each) => each.next(now), journal);
      const before = this.journal;
      const journal = all(before);
      const saved = journal === null || journal === before ? ok(null) : await this.ports.journal.saveVm(journal);
      if (!saved.ok) {
        this.ports.log.error({ vm: this.name, error: saved.error }, 'journal-write-failed');
      } else if (journal !== before) {
        // A death that was seen meanwhile is in memory already and must not be unseen.
        this.journal = this.journal === before ? journal : all(this.journal);
        this.changed();
      }
      for (const each of batch) each.resolve(saved);
    }
    this.#writing = false;
  }

  /** The same for facts about one QEMU; nothing is written when it has been replaced meanwhile. */
  saveQemu(born: Epoch, patch: (qemu: QemuJournal) => Partial<QemuJournal>): Promise<Result<null, string>> {
    return this.save((journal) => {
      if (journal?.qemu?.born !== born) return journal;
      return { ...journal, qemu: { ...journal.qemu, ...patch(journal.qemu) } };
    });
  }

  /** The exit of this QEMU is proven. Reported at once and written after: a death can be seen again, unlike a promise. */
  die(born: Epoch, why: string, guestShutdown: boolean): void {
    const { journal } = this;
    if (journal?.qemu?.born !== born || journal.qemu.death !== null) return;
    this.journal = { ...journal, qemu: { ...journal.qemu, death: { why }, guestShutdown } };
    this.link = null;
    this.hungSince = null;
    this.mainLoopSilentSince = null;
    this.changed();
    void this.save((now) => (now === null ? now : { ...now }));
  }

  /** Forgets all that was seen of a QEMU, when another takes its place. */
  letGo(): void {
    this.watching?.abort();
    this.watching = null;
    this.link?.monitor.close();
    this.link = null;
    this.process = null;
    this.facts = null;
    this.seen = null;
    this.hungSince = null;
    this.mainLoopSilentSince = null;
    this.logOffset = 0;
    this.coloLeftInLog = false;
    this.unfitTaken = Promise.resolve(ok(null));
    this.pairEndedAt = null;
    this.writeMadeAgainAt = null;
    this.resync = null;
  }

  #taskReport(journal: VmJournal): TaskReport {
    const { task } = this;
    if (task !== null) return { kind: 'running', goal: task.goal.kind, epoch: task.epoch, procedure: task.procedure, step: task.step };
    if (journal.outcome.kind !== 'failed') return { kind: 'idle' };
    return { kind: 'failed', goal: journal.goal.kind, epoch: journal.epoch, step: journal.outcome.step, error: journal.outcome.error };
  }
}
