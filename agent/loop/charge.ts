// The situation as one order sees it: a QEMU that its order is to launch is absent until that order has launched it, although the journal
// names it already (it does so before the launch, so that no crash can leave a QEMU that nobody knows).

import { startsQemu } from '../core/journal.js';
import type { Situation } from '../core/plan.js';
import type { Task, Vm } from './vm.js';

export function chargeOf(vm: Vm, task: Task): Situation {
  const situation = vm.situation();
  if (situation === 'unseen' && startsQemu(task.goal) && vm.process === null && vm.link === null && !vm.launching) return 'absent';
  return situation;
}
