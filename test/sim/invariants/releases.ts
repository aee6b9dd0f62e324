// Which QEMUs may have released their guest's output although no journal says `aloneSince`: those of which their agent cannot testify the
// contrary, however good it is. It is judged from what happened, not from what the agent says of itself, so that an agent which claims such
// a doubt without having it is still found out (SAFETY 4).

import type { VmJournal } from '../../../agent/core/journal.js';
import type { Side } from '../../../shared/core/model.js';
import type { Machine, Qemu } from '../qemu/shapes.js';
import type { Observed } from './observed.js';

/** Commands after which output may flow, whatever became of them. */
const FREEING: ReadonlySet<string> = new Set(['object-del', 'x-colo-lost-heartbeat', 'cont']);

export class Releases {
  readonly #world: Observed;
  /** QEMUs and epochs whose order to release was on their host's disk while they lived. */
  readonly #ordered = new Set<string>();
  /** Those of them that nobody can speak for. */
  readonly #doubtful = new Set<string>();

  constructor(world: Observed) {
    this.#world = world;
  }

  /** A QEMU that had ended before is not released by any order. */
  journalled(machine: Machine, vm: string): void {
    const name = releaseIn(machine.vmJournals.get(vm));
    const born = machine.vmJournals.get(vm)?.qemu?.born;
    const lives = machine.running().some((each) => each.vm === vm && each.born === born);
    if (name !== null && lives) this.#ordered.add(`${machine.name} ${name}`);
  }

  /** An agent sends a command to this QEMU, and may never hear what came of it. */
  told(qemu: Qemu, command: string): void {
    if (FREEING.has(command)) this.#doubt(qemu.machine, qemu.vm);
  }

  /** An agent begins, and knows of its forerunner's release only that it was ordered: not how far it went. */
  agentBegins(host: string): void {
    const machine = this.#world.machines.get(host);
    if (machine !== undefined) for (const vm of machine.vmJournals.keys()) this.#doubt(machine, vm);
  }

  /** Nobody can say that this side, the winner of the verdict of this epoch, let nothing out. */
  isDoubtful(vm: string, side: Side | null, epoch: number): boolean {
    return side !== null && this.#doubtful.has(`${side.host} ${nameOf(vm, side.born, epoch)}`);
  }

  #doubt(machine: Machine, vm: string): void {
    const name = `${machine.name} ${releaseIn(machine.vmJournals.get(vm)) ?? ''}`;
    if (this.#ordered.has(name)) this.#doubtful.add(name);
  }
}

/** The release that this journal says is ordered and not known to have ended; null = none. */
function releaseIn(journal: VmJournal | undefined): string | null {
  const qemu = journal?.qemu ?? null;
  return journal === undefined || qemu === null || qemu.releasing === null ? null : nameOf(journal.vm, qemu.born, qemu.releasing.epoch);
}

const nameOf = (vm: string, born: number, epoch: number): string => `${vm}#${born}@${epoch}`;
