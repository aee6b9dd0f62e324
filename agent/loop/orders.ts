// The way of an order from its arrival to its answer: judged, journalled, begun. Orders of one VM go one by one. What becomes of an
// accepted order is seen in the reports; here is only whether it was obeyed.

import { acceptsLoss, bornOf, journalOrder, startsQemu, type AgentJournal, type VmJournal } from '../core/journal.js';
import { judgeDestroy } from '../core/destroy-rule.js';
import { releases } from '../core/plan.js';
import { judgeOrder, type OrderJudgement, type StoreWord } from '../core/orders.js';
import { cleanUp } from './end.js';
import { readRecord, readWord } from './store.js';
import type { Tasks } from './tasks.js';
import type { Vm } from './vm.js';
import { KILL_MS } from '../core/bounds.js';
import { diskId, type Instant } from '../../shared/core/ids.js';
import type { Order, OrderAnswer, OrderRefusal, VmRecord } from '../../shared/core/model.js';
import { fail, ok, type Result } from '../../shared/core/result.js';

/** The part of the agent that all VMs share. */
export interface AgentMemory {
  journal(): AgentJournal;
  /** Journals a new incarnation before any of its orders is obeyed. */
  obeyIncarnation(order: Order): Promise<Result<null, string>>;
}

const refuse = (refusal: OrderRefusal, detail: string): OrderAnswer => ({ kind: 'refused', refusal, detail });

export class Orders {
  readonly #vm: Vm;
  readonly #tasks: Tasks;
  readonly #memory: AgentMemory;
  #last: Promise<unknown> = Promise.resolve();
  #arrivedAt: Instant;

  constructor(vm: Vm, tasks: Tasks, memory: AgentMemory) {
    this.#vm = vm;
    this.#tasks = tasks;
    this.#memory = memory;
    this.#arrivedAt = vm.ports.clock.now();
  }

  /** Answers when the order is on disk, or refused. */
  obey(order: Order): Promise<OrderAnswer> {
    const turn = this.#last.then(() => this.#obey(order));
    this.#last = turn.catch(() => undefined);
    return turn;
  }

  /** Orders wait until then, because what is here is not known yet. */
  waitFor(known: Promise<void>): void {
    this.#last = this.#last.then(() => known);
  }

  async #obey(order: Order): Promise<OrderAnswer> {
    const vm = this.#vm;
    this.#arrivedAt = vm.ports.clock.now();
    let word: StoreWord | null = null;
    let judgement = this.#judge(order, word);
    if (judgement.kind === 'ask-store') {
      const read = await readWord(vm.ports.store, vm.setup.keys, order.vm);
      if (!read.ok) return refuse('unknown-journal', `${judgement.why}, and ${read.error}`);
      word = read.value;
      judgement = this.#judge(order, word);
    }
    switch (judgement.kind) {
      case 'refuse':
        return refuse(judgement.refusal, judgement.detail);
      case 'ask-store':
        return refuse('unknown-journal', judgement.why);
      case 'repeated':
        return this.#repeat(order);
      case 'obey':
        return this.#begin(order);
    }
  }

  #judge(order: Order, word: StoreWord | null): OrderJudgement {
    return judgeOrder(order, this.#memory.journal(), this.#vm.journal, this.#vm.task !== null, word);
  }

  /** Nothing to do but to remember a later term, so that the earlier leader is not obeyed any more. */
  async #repeat(order: Order): Promise<OrderAnswer> {
    const { journal } = this.#vm;
    if (journal === null || order.term <= journal.term) return { kind: 'accepted' };
    const saved = await this.#vm.save((now) => (now === null ? now : { ...now, term: order.term }));
    return saved.ok ? { kind: 'accepted' } : refuse('not-permitted-now', saved.error);
  }

  async #begin(order: Order): Promise<OrderAnswer> {
    const vm = this.#vm;
    const { goal } = order;
    if (releases(goal.kind) && vm.qemu !== null && vm.qemu.unpromotable !== null && !acceptsLoss(goal)) {
      return refuse('not-permitted-now', `this QEMU must not run the guest: ${vm.qemu.unpromotable}`);
    }
    let record: VmRecord | null = null;
    if (goal.kind === 'destroy') {
      const permitted = await this.#mayDestroy();
      if (!permitted.ok) return refuse('not-permitted-now', permitted.error);
      record = permitted.value;
    }
    if (startsQemu(goal) && vm.qemu !== null && vm.qemu.born !== bornOf(goal)) {
      const cleared = await this.#clear(goal.kind === 'start-alone' ? (goal.images ?? []) : []);
      if (!cleared.ok) return refuse('not-permitted-now', cleared.error);
    }
    const remembered = await this.#memory.obeyIncarnation(order);
    if (!remembered.ok) return refuse('not-permitted-now', remembered.error);
    if (vm.journal?.epoch !== order.epoch) vm.durationsMs = {};
    const saved = await vm.save((journal) => this.#withSeen(journalOrder(journal, order, diskId(vm.ports.random.id()))));
    if (!saved.ok) return refuse('not-permitted-now', saved.error);
    const journalMs = Math.round((vm.ports.clock.now() - this.#arrivedAt) * 10) / 10;
    vm.ports.log.info({ vm: vm.name, goal: goal.kind, epoch: order.epoch, term: order.term, journalMs }, 'order-journalled');
    this.#tasks.begin(record);
    return { kind: 'accepted' };
  }

  /** What was seen and cannot be asked again goes to disk with the order. */
  #withSeen(journal: VmJournal): VmJournal {
    const { qemu } = journal;
    const seen = this.#vm.link?.born === qemu?.born ? this.#vm.seen : null;
    return qemu === null || seen === null || seen.coloExit === null ? journal : { ...journal, qemu: { ...qemu, coloExited: true } };
  }

  /** The agent's own linearizable read decides, not the order (SAFETY 6). */
  async #mayDestroy(): Promise<Result<VmRecord | null, string>> {
    const vm = this.#vm;
    const read = await readRecord(vm.ports.store, vm.setup.keys, vm.name);
    if (!read.ok) return read;
    if (vm.journal === null || vm.qemu === null) return ok(read.value);
    const judged = judgeDestroy(vm.journal, vm.qemu, vm.setup.hostId, read.value);
    return judged.kind === 'permitted' ? ok(read.value) : fail(judged.detail);
  }

  /** Another QEMU of this VM is here and must be gone before a new one is started: the same rule as for an order to destroy. */
  async #clear(keep: readonly string[]): Promise<Result<null, string>> {
    const vm = this.#vm;
    const { qemu } = vm;
    if (qemu === null) return ok(null);
    const permitted = await this.#mayDestroy();
    if (!permitted.ok) return permitted;
    await this.#tasks.abort();
    if (qemu.death === null) {
      if (qemu.external) return fail('another QEMU of this VM is here and is not ours to kill');
      const { qemus } = vm.ports;
      const process = vm.process ?? qemus.processOf(vm.name, qemu.born, vm.sockets(qemu.born)[0] ?? '');
      if (process !== null) {
        vm.ports.log.info({ vm: vm.name, born: qemu.born, pid: process.pid }, 'destroying-predecessor');
        qemus.kill(process);
        const until = vm.ports.clock.now() + KILL_MS;
        while (qemus.inspect(process) === 'running') {
          if (vm.ports.clock.now() >= until) return fail('the QEMU that was here before does not end');
          await vm.change(1, new AbortController().signal);
        }
      }
      vm.die(qemu.born, 'destroyed to make place', false);
    }
    const error = await cleanUp(vm, permitted.value, keep);
    return error === null ? ok(null) : fail(error);
  }
}
