// Writes that a secondary refused and of which nobody could ever hear. The primary's QEMU alone knows of them; where its host's agent is dead, or
// stands still, from the first one until that QEMU has ended, the word ends with it. The other side then goes on without those writes, because
// nothing that anybody has seen speaks against it. As soon as an agent is awake beside that QEMU the word is there to be had, and a side that
// goes on without the write is wrong.

import type { Qemu } from '../qemu/shapes.js';
import type { Life } from '../world/life.js';

interface Untold {
  readonly primary: Qemu;
  readonly answers: Set<number>;
}

export class Refusals {
  /** The agent that lived last, by host. */
  readonly #agents = new Map<string, Life>();
  /** By the secondary that refused them. */
  readonly #untold = new Map<Qemu, Untold>();
  /** Of those whose primary ended with the word: their numbers, by the wish that the VM is of. */
  readonly #lost = new Map<string, Set<number>>();

  began(life: Life): void {
    if (life.name.startsWith('agent ')) this.#agents.set(life.machine, life);
  }

  refused(primary: Qemu, secondary: Qemu, k: number): void {
    if (this.#isAwake(primary)) return;
    const untold = this.#untold.get(secondary) ?? { primary, answers: new Set() };
    untold.answers.add(k);
    this.#untold.set(secondary, untold);
  }

  /** After every event. */
  look(uidOf: (vm: string) => string): void {
    for (const [secondary, { primary, answers }] of this.#untold) {
      const isLost = !primary.alive;
      if (!isLost && !this.#isAwake(primary)) continue;
      this.#untold.delete(secondary);
      if (!isLost) continue;
      const uid = uidOf(primary.vm);
      this.#lost.set(uid, new Set([...(this.#lost.get(uid) ?? []), ...answers]));
    }
  }

  /** Of what a client was given, that which a copy of the guest must have. */
  owed<T extends { readonly k: number }>(uidOf: () => string, given: readonly T[]): readonly T[] {
    const lost = this.#lost.size === 0 ? undefined : this.#lost.get(uidOf());
    return lost === undefined ? given : given.filter((each) => !lost.has(each.k));
  }

  #isAwake({ machine }: Qemu): boolean {
    const agent = this.#agents.get(machine.name);
    return agent?.alive === true && !agent.paused;
  }
}
