// Whether an order may be obeyed. The fence against old leaders, emptied stores and other clusters is here: (term, epoch) never go
// back, the uid is this VM's, and without a journal nothing is obeyed before the record itself has been read.

import type { Epoch, Incarnation } from '../../shared/core/ids.js';
import type { Order, OrderRefusal, VmRecord } from '../../shared/core/model.js';
import { bornOf, sameOrder, startsQemu, type AgentJournal, type Outcome, type VmJournal } from './journal.js';

export type OrderJudgement =
  | { readonly kind: 'obey' }
  /** The same order again, and nothing is to be done for it: it is running, or done. */
  | { readonly kind: 'repeated' }
  /** The journal does not suffice: read the cluster's incarnation and the VM's record, linearizably, and judge with them. */
  | { readonly kind: 'ask-store'; readonly why: string }
  | { readonly kind: 'refuse'; readonly refusal: OrderRefusal; readonly detail: string };

/** What a linearizable read said. Null where the key does not exist. */
export interface StoreWord {
  readonly incarnation: Incarnation | null;
  readonly record: VmRecord | null;
}

/**
 * `word` is null until the store was asked. `taskRunning`: a task for the journalled goal is at work.
 */
export function judgeOrder(
  order: Order,
  agent: AgentJournal,
  vm: VmJournal | null,
  taskRunning: boolean,
  word: StoreWord | null,
): OrderJudgement {
  if (order.spec.name !== order.vm) return refuse('invalid', `the spec is of VM "${order.spec.name}", the order of "${order.vm}"`);

  if (agent.incarnation !== order.incarnation) {
    if (word === null) return { kind: 'ask-store', why: 'an incarnation that this agent has not obeyed before' };
    if (word.incarnation !== order.incarnation) {
      return refuse('foreign-incarnation', `order of incarnation ${order.incarnation}, the store has ${word.incarnation ?? 'none'}`);
    }
  }

  if (vm === null || vm.uid !== order.uid) return judgeWithoutJournal(order, vm, word);

  if (order.term < vm.term) return refuse('older-term', `term ${order.term}, obeyed ${vm.term}`);
  if (order.epoch < vm.epoch) return refuse('older-epoch', `epoch ${order.epoch}, obeyed ${vm.epoch}`);

  const wrong = wrongQemu(order, vm);
  if (wrong !== null) return wrong;
  if (sameOrder(vm, order) && (taskRunning || repeatedIsDone(vm.outcome, order))) return { kind: 'repeated' };
  return { kind: 'obey' };
}

/** First order for a VM on this host, or a name that now belongs to another VM. */
function judgeWithoutJournal(order: Order, vm: VmJournal | null, word: StoreWord | null): OrderJudgement {
  if (vm !== null && vm.qemu !== null) {
    return refuse('foreign-uid', `this host has a QEMU of VM uid ${vm.uid}; the order is for ${order.uid}`);
  }
  if (word === null) return { kind: 'ask-store', why: 'no journal of this VM' };
  const { record } = word;
  if (record === null) return refuse('unknown-journal', 'no journal here, and no record of this VM in the store');
  if (record.uid !== order.uid) return refuse('foreign-uid', `the record is of uid ${record.uid}, the order of ${order.uid}`);
  if (order.epoch < record.epoch) return refuse('older-epoch', `epoch ${order.epoch}, the record has ${record.epoch}`);
  if (order.epoch > record.epoch)
    return refuse('unknown-journal', `no journal here, and the record's epoch ${record.epoch} is behind the order's ${order.epoch}`);
  if (!startsQemu(order.goal) && order.goal.kind !== 'destroy') {
    return refuse('not-this-qemu', `this host has no QEMU of ${order.vm}`);
  }
  return { kind: 'obey' };
}

function wrongQemu(order: Order, vm: VmJournal): OrderJudgement | null {
  const { goal } = order;
  const wanted: Epoch | null = bornOf(goal);
  if (wanted === null) return null;
  if (startsQemu(goal)) {
    // A QEMU is started once. A start of an earlier birth than the one that is here comes too late.
    if (vm.qemu !== null && wanted < vm.qemu.born) return refuse('not-this-qemu', `start of ${wanted}, this host has ${vm.qemu.born}`);
    return null;
  }
  if (vm.qemu === null || vm.qemu.born !== wanted) {
    return refuse('not-this-qemu', `the order means the QEMU born in epoch ${wanted}; here is ${vm.qemu === null ? 'none' : vm.qemu.born}`);
  }
  return null;
}

function repeatedIsDone(outcome: Outcome, order: Order): boolean {
  return outcome.kind === 'done' && order.goal.kind !== 'checkpoint';
}

function refuse(refusal: OrderRefusal, detail: string): OrderJudgement {
  return { kind: 'refuse', refusal, detail };
}
