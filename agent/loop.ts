// The agent of one host: all its VMs, their orders and the report about them. It takes up every QEMU that an earlier agent left running,
// from the journals and what QEMU says, and it never ends one because it ends itself.

import { ACTION_TABLE } from './loop/actions.js';
import { refreshDisk } from './loop/disk.js';
import { makeFailedWriteAgain } from './loop/failed-write.js';
import { Orders, type AgentMemory } from './loop/orders.js';
import { beginWatch } from './loop/start.js';
import { Tasks } from './loop/tasks.js';
import { Vm, type AgentSetup } from './loop/vm.js';
import type { AgentJournal, VmJournal } from './core/journal.js';
import { saysTheSame } from './core/report.js';
import { pairSource } from './loop/pair-facts.js';
import type { PairWatch } from './peer-ports.js';
import type { AgentPorts } from './ports.js';
import { PROBE_SILENT_MS } from './core/bounds.js';
import { LATE_TICK_MS, REPORT_INTERVAL_MS } from '../shared/core/limits.js';
import type { Instant } from '../shared/core/ids.js';
import type { HostReport, Order, OrderAnswer, VmReport } from '../shared/core/model.js';
import { ok } from '../shared/core/result.js';

/** Free space changes slowly and asking for it costs a turn of the disk. */
const FREE_SPACE_EVERY_TICKS = 8;

interface Entry {
  readonly vm: Vm;
  readonly tasks: Tasks;
  readonly orders: Orders;
  /** What the last report said that was told to the listeners. */
  told: VmReport | null;
  /** Whether the peers were told that its QEMU hangs. */
  hung: boolean;
}

export interface AgentLoop {
  /** The state of the host as it is now. */
  report(): HostReport;
  /** Calls back in the same tick in which a report would say something new. */
  subscribe(changed: () => void): () => void;
  order(order: Order): Promise<OrderAnswer>;
  /** Looks at one VM now, within the bound of an out-of-band probe. */
  probe(vm: string): Promise<void>;
  /** When the last tick was done; the watchdog is fed by this. */
  lastTickAt(): Instant;
  /** Lets running tasks stop at their next step and lets go of every monitor. QEMUs run on. */
  close(): Promise<void>;
}

/** `pairs`: null = pairs are judged by QEMU's own word alone. */
export function runAgent(
  ports: AgentPorts,
  setup: AgentSetup,
  journals: { readonly agent: AgentJournal; readonly vms: readonly VmJournal[] },
  pairs: PairWatch | null = null,
): AgentLoop {
  return new Agent(ports, setup, journals, pairs);
}

class Agent implements AgentLoop {
  readonly #ports: AgentPorts;
  readonly #setup: AgentSetup;
  readonly #pairs: PairWatch | null;
  readonly #session: string;
  readonly #vms = new Map<string, Entry>();
  readonly #listeners = new Set<() => void>();
  #journal: AgentJournal;
  #sequence = 0;
  #latenessMs = 0;
  #freeDiskBytes = 0;
  #ticks = 0;
  #lastTickAt: Instant;
  #cancelTick: () => void = () => undefined;
  #closed = false;

  constructor(
    ports: AgentPorts,
    setup: AgentSetup,
    journals: { readonly agent: AgentJournal; readonly vms: readonly VmJournal[] },
    pairs: PairWatch | null,
  ) {
    this.#ports = ports;
    this.#pairs = pairs;
    this.#setup = setup;
    this.#journal = journals.agent;
    this.#session = ports.random.id();
    this.#lastTickAt = ports.clock.now();
    for (const journal of journals.vms) {
      const { vm, orders } = this.#add(journal.vm, journal);
      orders.waitFor(this.#adopt(vm, journal));
    }
    this.#tick(this.#lastTickAt);
  }

  report(): HostReport {
    const { clock, store } = this.#ports;
    this.#sequence += 1;
    const lastAnswerAt = store.lastAnswerAt();
    return {
      host: this.#setup.host,
      hostId: this.#setup.hostId,
      session: this.#session,
      sequence: this.#sequence,
      latenessMs: Math.max(this.#latenessMs, this.#pairs?.latenessMs() ?? 0),
      incarnation: this.#journal.incarnation,
      vms: [...this.#vms.values()].map(({ vm }) => vm.report()).filter((report) => report !== null),
      peersSilentMs: this.#pairs?.peersSilentMs() ?? {},
      freeDiskBytes: this.#freeDiskBytes,
      etcdSilentMs: lastAnswerAt === null ? null : clock.now() - lastAnswerAt,
    };
  }

  subscribe(changed: () => void): () => void {
    this.#listeners.add(changed);
    return () => this.#listeners.delete(changed);
  }

  order(order: Order): Promise<OrderAnswer> {
    if (this.#closed) return Promise.resolve({ kind: 'refused', refusal: 'not-permitted-now', detail: 'this agent is ending' });
    return (this.#vms.get(order.vm) ?? this.#add(order.vm, null)).orders.obey(order);
  }

  async probe(name: string): Promise<void> {
    const vm = this.#vms.get(name)?.vm;
    const link = vm?.link ?? null;
    if (vm === undefined || link === null) return;
    vm.lookSoon();
    await link.monitor.execute('yank', { instances: [] }, { deadlineMs: PROBE_SILENT_MS, oob: true });
  }

  lastTickAt(): Instant {
    return this.#lastTickAt;
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#cancelTick();
    await Promise.all(
      [...this.#vms.values()].map(async ({ vm, tasks }) => {
        await tasks.abort();
        vm.letGo();
      }),
    );
  }

  #add(name: string, journal: VmJournal | null): Entry {
    const vm = new Vm(name, this.#ports, this.#setup, journal, () => this.#changed(name));
    const tasks = new Tasks(vm, ACTION_TABLE);
    const entry: Entry = { vm, tasks, orders: new Orders(vm, tasks, this.#memory), told: null, hung: false };
    this.#vms.set(name, entry);
    const pairs = this.#pairs;
    if (pairs !== null) {
      pairs.add(name, pairSource(vm));
      vm.judgePair = () => pairs.judge(name);
    }
    return entry;
  }

  readonly #memory: AgentMemory = {
    journal: () => this.#journal,
    obeyIncarnation: async (order) => {
      if (this.#journal.incarnation === order.incarnation) return ok(null);
      const journal = { ...this.#journal, incarnation: order.incarnation };
      const saved = await this.#ports.journal.saveAgent(journal);
      if (saved.ok) this.#journal = journal;
      return saved;
    },
  };

  /**
   * An earlier agent's QEMU: its process is looked for, and its monitor then tells the rest. Orders that were cut off come again. The
   * disk is looked at first, so that whoever hears of a QEMU hears of its disk in the same report.
   */
  async #adopt(vm: Vm, journal: VmJournal): Promise<void> {
    const { qemu } = journal;
    await refreshDisk(vm);
    if (this.#closed || qemu === null || qemu.death !== null) return;
    const [socket] = vm.sockets(qemu.born);
    vm.process = qemu.external || socket === undefined ? null : this.#ports.qemus.processOf(journal.vm, qemu.born, socket);
    const isThere = qemu.external || (vm.process !== null && this.#ports.qemus.inspect(vm.process) === 'running');
    this.#ports.log.info({ vm: journal.vm, born: qemu.born, pid: vm.process?.pid ?? null, isThere }, 'qemu-adopted');
    if (isThere) beginWatch(vm, qemu.born);
    else vm.die(qemu.born, 'its process ended while no agent watched', qemu.guestShutdown);
  }

  #changed(name: string): void {
    const entry = this.#vms.get(name);
    if (entry === undefined) return;
    if (entry.hung !== (entry.vm.hungSince !== null)) {
      entry.hung = entry.vm.hungSince !== null;
      this.#pairs?.tell();
    }
    const report = entry.vm.report();
    if (report === null) return;
    if (entry.told !== null && saysTheSame(entry.told, report)) return;
    entry.told = report;
    for (const listener of this.#listeners) listener();
  }

  /** Measures our own lateness, lets what only time changes be told (a pair that went silent), and counts free space now and then. */
  #tick(due: Instant): void {
    const { clock, log, disks } = this.#ports;
    const now = clock.now();
    this.#latenessMs = Math.max(0, now - due);
    if (this.#latenessMs > LATE_TICK_MS) log.warn({ latenessMs: Math.round(this.#latenessMs) }, 'late-tick');
    for (const name of this.#vms.keys()) this.#changed(name);
    for (const { vm } of this.#vms.values()) makeFailedWriteAgain(vm);
    if (this.#ticks % FREE_SPACE_EVERY_TICKS === 0) {
      disks.freeBytes().then(
        (bytes) => {
          this.#freeDiskBytes = bytes;
        },
        (error: unknown) => log.warn({ error }, 'free-space-unknown'),
      );
    }
    this.#ticks += 1;
    this.#lastTickAt = now;
    const next = (now + REPORT_INTERVAL_MS) as Instant;
    this.#cancelTick = clock.after(REPORT_INTERVAL_MS, () => this.#tick(next));
  }
}
