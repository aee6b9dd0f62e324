// Keeps an eye on one QEMU from its start, or from its adoption, to its proven end: connects, asks for the facts four times a second,
// probes out of band, folds events, and reports a death in the very tick in which the monitor ends. It changes nothing in QEMU.

import {
  COLO_EXIT_NOTED_MS,
  CONNECT_AGAIN_MS,
  CONNECT_MS,
  EXIT_LOOK_AGAIN_MS,
  EXIT_POLL_MS,
  EXIT_SHOWN_MS,
  LOOK_INTERVAL_MS,
  LOOK_MS,
  MAIN_LOOP_HUNG_MS,
  MAIN_LOOP_SILENT_MS,
  MERGE_LOOK_INTERVAL_MS,
  PAIR_PROBE_INTERVAL_MS,
  PROBE_SILENT_MS,
  RECONNECT_MS,
} from '../core/bounds.js';
import type { QemuFacts } from '../core/facts.js';
import { lastWords } from '../core/qemu-log.js';
import type { MonitorHandlers, QemuPort, QmpEvent } from '../core/procedures/port.js';
import { releases } from '../core/plan.js';
import { nothingSeen, seeBreak, seeEvent } from '../core/seen.js';
import { isMerging } from '../core/situation.js';
import { noteMergeEnded } from './disk.js';
import { lookForMissedWrites } from './look.js';
import { readCapabilities, readFacts } from '../read-facts.js';
import { proveSecondary } from './pair.js';
import { noteLackingWrites, readQemuLog } from './unfit.js';
import type { Link, Vm } from './vm.js';
import { instant, type Epoch, type Instant } from '../../shared/core/ids.js';
import { LATE_TICK_MS } from '../../shared/core/limits.js';

/** Events after which the facts are probably other ones. COLO_EXIT says all by itself, and an order to release follows on its heels. */
const TELLING = new Set(['QUORUM_REPORT_BAD', 'BLOCK_IO_ERROR', 'SHUTDOWN', 'MIGRATION', 'RESUME', 'JOB_STATUS_CHANGE']);

/** Runs until the QEMU's end is proven or `signal` is aborted. */
export async function watchQemu(vm: Vm, born: Epoch, signal: AbortSignal): Promise<void> {
  const watch = new Watch(vm, born, signal);
  await watch.run();
}

class Watch {
  readonly #vm: Vm;
  readonly #born: Epoch;
  readonly #signal: AbortSignal;

  constructor(vm: Vm, born: Epoch, signal: AbortSignal) {
    this.#vm = vm;
    this.#born = born;
    this.#signal = signal;
  }

  get #over(): boolean {
    return this.#signal.aborted || this.#vm.qemu?.born !== this.#born || this.#vm.qemu.death !== null;
  }

  async run(): Promise<void> {
    const vm = this.#vm;
    this.#pollExit();
    while (!this.#over) {
      const link = await this.#connect();
      if (link !== null) {
        await this.#keepLooking(link);
      } else if (!(await this.#proveDeath('its monitor cannot be reached'))) {
        await vm.change(vm.launching ? CONNECT_AGAIN_MS : RECONNECT_MS, this.#signal);
      }
    }
  }

  /** Null = not this time. */
  async #connect(): Promise<Link | null> {
    const vm = this.#vm;
    const { clock, log, qemus } = vm.ports;
    const startedAt = clock.now();
    vm.seen = nothingSeen(startedAt);
    const handlers: MonitorHandlers = {
      onEvent: (event) => this.#onEvent(event),
      onClosed: () => this.#onClosed(),
      onStray: (stray) => log.debug({ vm: vm.name, stray: stray.kind }, 'qmp-stray-answer'),
    };
    const connected = await qemus.connect(vm.sockets(this.#born), handlers, CONNECT_MS, this.#signal);
    // What becomes of a call to a QEMU that has ended meanwhile says nothing about the one that may run in its place.
    if (!connected.ok && this.#over) return null;
    if (!connected.ok) {
      // Something listens and does not greet: a main loop that hangs cannot negotiate.
      if (connected.error.kind === 'lost' && !vm.launching) this.#hung(startedAt);
      else if (connected.error.kind === 'not-ours') log.warn({ vm: vm.name, error: connected.error.description }, 'monitor-not-ours');
      return null;
    }
    const monitor = connected.value;
    const capabilities = await readCapabilities(monitor, LOOK_MS);
    if (this.#over || !capabilities.ok) {
      if (!capabilities.ok) log.warn({ vm: vm.name, error: capabilities.error.description }, 'monitor-not-usable');
      monitor.close();
      return null;
    }
    const link = { born: this.#born, monitor, capabilities: capabilities.value };
    vm.link = link;
    return link;
  }

  async #keepLooking(link: Link): Promise<void> {
    const vm = this.#vm;
    const { clock } = vm.ports;
    let ended = false;
    void link.monitor.closed.then(() => {
      ended = true;
      vm.changed();
    });
    let looking: Promise<void> | null = null;
    let probing: Promise<void> | null = null;
    // Since when an answer is owed; null from the very moment of the answer on, so that what it wakes does not take it for missing.
    let lookOwedSince: Instant | null = null;
    let probeOwedSince: Instant | null = null;
    let again = true;
    let nextAt: number = clock.now();
    let nextProbeAt: number = nextAt;
    vm.lookSoon = () => {
      again = true;
      vm.changed();
    };
    while (!ended && !this.#over) {
      const now = clock.now();
      if (now >= nextAt) {
        again = true;
        nextAt = clock.now() + this.#intervalMs();
      }
      if (now >= nextProbeAt) {
        nextProbeAt = clock.now() + (this.#inPair() ? PAIR_PROBE_INTERVAL_MS : LOOK_INTERVAL_MS);
        if (probing === null) {
          probeOwedSince = now;
          probing = this.#probe(link, () => (probeOwedSince = null)).finally(() => {
            probing = null;
          });
        }
      }
      if (again && looking === null && !this.#busyReleasing()) {
        again = false;
        lookOwedSince = now;
        looking = this.#look(link, () => (lookOwedSince = null)).finally(() => {
          looking = null;
          if (again) vm.changed();
        });
      }
      if (lookOwedSince !== null && now - lookOwedSince >= MAIN_LOOP_SILENT_MS) this.#mainLoopSilent(lookOwedSince);
      if (probeOwedSince !== null && now - probeOwedSince >= PROBE_SILENT_MS) this.#hung(probeOwedSince);
      const deadlines = [nextAt, nextProbeAt];
      if (lookOwedSince !== null && vm.mainLoopSilentSince === null) deadlines.push(lookOwedSince + MAIN_LOOP_SILENT_MS);
      if (probeOwedSince !== null && vm.hungSince === null) deadlines.push(probeOwedSince + PROBE_SILENT_MS);
      const due = Math.max(clock.now() + 1, Math.min(...deadlines));
      await vm.change(due - clock.now(), this.#signal);
      // Time in which this process did not run is nobody's silence: the answers may lie there unread.
      const lateMs = clock.now() - due;
      if (lateMs > LATE_TICK_MS) {
        if (probeOwedSince !== null) probeOwedSince = instant(probeOwedSince + lateMs);
        if (lookOwedSince !== null) lookOwedSince = instant(lookOwedSince + lateMs);
      }
    }
    vm.lookSoon = () => undefined;
    if (vm.link === link) vm.link = null;
    link.monitor.close();
  }

  /** A release is not slowed by questions, but by the very first ones, without which it cannot begin. */
  #busyReleasing(): boolean {
    const { task } = this.#vm;
    return task !== null && releases(task.goal.kind) && this.#vm.situation() !== 'unseen';
  }

  #inPair(): boolean {
    const situation = this.#vm.situation();
    return situation === 'primary' || situation === 'secondary' || situation === 'hung';
  }

  #intervalMs(): number {
    const { facts } = this.#vm;
    return facts !== null && facts.role === 'alone' && isMerging(facts) ? MERGE_LOOK_INTERVAL_MS : LOOK_INTERVAL_MS;
  }

  async #look(link: Link, answered: () => void): Promise<void> {
    const vm = this.#vm;
    const broken = new AbortController();
    vm.stopLooking = () => broken.abort();
    const { monitor } = link;
    const port: QemuPort = {
      execute: (command, args, { deadlineMs, oob }) => monitor.execute(command, args, { deadlineMs, oob, signal: broken.signal }),
      subscribe: (listener) => monitor.subscribe(listener),
      closed: monitor.closed,
    };
    const read = await readFacts(port, vm.counts, LOOK_MS);
    answered();
    if (vm.link !== link || !read.ok) return;
    vm.mainLoopSilentSince = null;
    this.#take(read.value);
    await noteMergeEnded(vm, this.#born);
    await proveSecondary(vm);
    vm.changed();
  }

  #take(facts: QemuFacts): void {
    const vm = this.#vm;
    const now = vm.ports.clock.now();
    vm.facts = facts;
    if (vm.seen === null) return;
    // Nor is SHUTDOWN said twice. With -no-shutdown this is how QEMU stands after its guest has powered off, and after nothing else: a
    // signal and `quit` end it.
    if (facts.runstate === 'shutdown' && !vm.seen.guestShutdown) {
      vm.seen = { ...vm.seen, guestShutdown: true };
      if (vm.qemu?.guestShutdown === false) void vm.saveQemu(this.#born, () => ({ guestShutdown: true }));
    }
    // An agent that was not there when COLO began learns it here.
    const inColo = facts.colo.mode !== 'none' && facts.migration.status === 'colo' && vm.seen.coloExit === null;
    if (inColo && vm.seen.coloSince === null) vm.seen = { ...vm.seen, coloSince: now };
    if (facts.colo.mode === 'none' && vm.seen.coloSince !== null && facts.colo.reason === 'request')
      vm.seen = { ...vm.seen, coloSince: null };
    if (inColo) {
      const { nics } = vm.names;
      const peers = nics.flatMap((nic) => (facts.colo.mode === 'primary' ? [nic.mirror, nic.compareSecondary] : [nic.redIn, nic.redOut]));
      for (const chardev of facts.chardevs) {
        if (peers.includes(chardev.id) && !chardev.connected) vm.seen = seeBreak(vm.seen, now, `chardev ${chardev.id} disconnected`);
      }
    }
    noteLackingWrites(vm);
    void readQemuLog(vm, this.#born);
  }

  async #probe(link: Link, answered: () => void): Promise<void> {
    const vm = this.#vm;
    // `yank` of nothing is the one harmless command that QEMU allows out of band in all versions.
    const answer = await link.monitor.execute('yank', { instances: [] }, { deadlineMs: LOOK_MS, oob: true });
    answered();
    if (vm.link !== link || !answer.ok) return;
    const silentMs = vm.mainLoopSilentSince === null ? 0 : vm.ports.clock.now() - vm.mainLoopSilentSince;
    if (vm.hungSince !== null && silentMs < MAIN_LOOP_HUNG_MS) {
      vm.ports.log.info({ vm: vm.name, born: this.#born }, 'qemu-answers-again');
      vm.hungSince = null;
      vm.changed();
    }
  }

  #mainLoopSilent(since: Instant): void {
    const vm = this.#vm;
    if (vm.mainLoopSilentSince === null) {
      vm.mainLoopSilentSince = since;
      vm.ports.log.warn({ vm: vm.name, born: this.#born }, 'main-loop-silent');
      vm.changed();
    }
    // A secondary's main loop may wait for the rest of a checkpoint; an out-of-band yank frees it, so it is not lost.
    const waits = vm.facts?.role === 'secondary';
    if (!waits && vm.ports.clock.now() - since >= MAIN_LOOP_HUNG_MS) this.#hung(since);
  }

  #hung(since: Instant): void {
    const vm = this.#vm;
    if (vm.hungSince !== null) return;
    vm.hungSince = since;
    vm.ports.log.warn({ vm: vm.name, born: this.#born }, 'qemu-hung');
    vm.changed();
  }

  #onEvent(event: QmpEvent): void {
    const vm = this.#vm;
    if (this.#over || vm.seen === null) return;
    const before = vm.seen;
    vm.seen = seeEvent(before, event, vm.names);
    // A release takes the other copy away, and the writes on their way to it fail. No checkpoint follows them, so the other side, which has written
    // the same by itself, lacks nothing, and may have to go on if this one dies before it is released.
    if (vm.seen.peerDiskError && !before.peerDiskError && this.#busyReleasing()) vm.seen = { ...vm.seen, peerDiskError: false };
    if (vm.seen === before) return;
    if (vm.seen.ownWriteFailed && !before.ownWriteFailed) noteLackingWrites(vm);
    vm.changed();
    if (event.name === 'COLO_EXIT' && before.coloExit === null) {
      void readQemuLog(vm, this.#born);
      vm.ports.clock.after(COLO_EXIT_NOTED_MS, () => {
        if (!this.#over && vm.seen?.coloExit !== null && vm.qemu?.coloExited === false) {
          void vm.saveQemu(this.#born, () => ({ coloExited: true }));
        }
      });
    }
    if (vm.seen.guestShutdown && !before.guestShutdown) void vm.saveQemu(this.#born, () => ({ guestShutdown: true }));
    const routine = event.name === 'RESUME' && before.coloSince !== null && vm.qemu?.provenFor !== null;
    if (TELLING.has(event.name) && !routine) vm.lookSoon();
    if (event.name === 'STOP' && before.coloSince !== null && vm.situation() === 'primary' && !this.#busyReleasing()) {
      void lookForMissedWrites(vm);
    }
  }

  #pollExit(): void {
    const vm = this.#vm;
    if (this.#over) return;
    if (this.#inPair() && vm.process !== null && vm.ports.qemus.inspect(vm.process) !== 'running') return this.#dead();
    vm.ports.clock.after(EXIT_POLL_MS, () => this.#pollExit());
  }

  /** In the tick in which the kernel closed the monitor: nothing may come between a death and its report. */
  #onClosed(): void {
    const vm = this.#vm;
    if (this.#over) return;
    vm.link = null;
    const state = vm.process === null ? 'running' : vm.ports.qemus.inspect(vm.process);
    if (state !== 'running') this.#dead();
    else vm.changed();
  }

  /** True = the exit is proven and reported. */
  async #proveDeath(why: string): Promise<boolean> {
    const vm = this.#vm;
    const { clock, qemus } = vm.ports;
    if (this.#over) return true;
    if (vm.process === null) {
      // Of an external QEMU only the sockets are known; the kernel refuses a caller once the program that listened has ended.
      if (vm.launching || !(await qemus.abandoned(vm.sockets(this.#born)))) return false;
      if (!this.#over) this.#dead();
      return true;
    }
    const until = clock.now() + EXIT_SHOWN_MS;
    for (;;) {
      if (this.#over) return true;
      if (qemus.inspect(vm.process) !== 'running') {
        this.#dead();
        return true;
      }
      if (clock.now() >= until || vm.launching) break;
      await vm.change(EXIT_LOOK_AGAIN_MS, this.#signal);
    }
    vm.ports.log.debug({ vm: vm.name, why }, 'qemu-alive-without-monitor');
    return false;
  }

  #dead(): void {
    const vm = this.#vm;
    void readQemuLog(vm, this.#born);
    const why = lastWords(vm.ports.qemus.readLog(vm.paths(this.#born).logFile, Math.max(0, vm.logOffset - 4096)).text);
    const guestShutdown = vm.qemu?.guestShutdown === true || vm.seen?.guestShutdown === true;
    vm.die(this.#born, why === null ? 'it ended' : `it ended; its last words: ${why}`, guestShutdown);
    vm.ports.log.warn({ vm: vm.name, born: this.#born, why, guestShutdown }, 'qemu-dead');
  }
}
