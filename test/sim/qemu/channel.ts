// A TCP connection between two QEMUs: what is sent arrives in order, waits while the way is cut, and a closed end is seen at the other one
// only where the way is open. A machine that went dark closes nothing: its peer hears of it when the machine is back, or never.

import type { Kernel } from '../world/kernel.js';
import type { Network } from '../world/network.js';
import type { Channel, Qemu } from './shapes.js';

type End = 'one' | 'other';

export class SimChannel implements Channel {
  /** The TCP port of the end that listened. */
  readonly port: number;
  readonly #kernel: Kernel;
  readonly #network: Network;
  readonly #ends: Readonly<Record<End, { readonly qemu: Qemu; open: boolean; readonly onEnd: () => void }>>;
  readonly #ways: Record<End, { readonly queue: (() => void)[]; lastAt: number; stuckAt: number | null }> = {
    one: { queue: [], lastAt: 0, stuckAt: null },
    other: { queue: [], lastAt: 0, stuckAt: null },
  };
  readonly #judge = (): void => this.#look();

  constructor(
    kernel: Kernel,
    network: Network,
    port: number,
    one: Qemu,
    other: Qemu,
    onEnd: { readonly one: () => void; readonly other: () => void },
  ) {
    this.port = port;
    this.#kernel = kernel;
    this.#network = network;
    this.#ends = { one: { qemu: one, open: true, onEnd: onEnd.one }, other: { qemu: other, open: true, onEnd: onEnd.other } };
    one.channels.add(this);
    other.channels.add(this);
    network.onChange.add(this.#judge);
  }

  isOpen(at: Qemu): boolean {
    return this.#end(at).open && at.alive;
  }

  /** Nothing passes between the two at the moment, though both ends may be open. */
  isSilent(): boolean {
    const { one, other } = this.#ends;
    const way = this.#network.passesBothWays('repl', one.qemu.machine.name, other.qemu.machine.name);
    return !way || one.qemu.stopped || other.qemu.stopped;
  }

  /** Since when something sent from here is not acknowledged; null = nothing waits. */
  stuckSince(at: Qemu): number | null {
    return this.#ways[this.#nameOf(at)].stuckAt;
  }

  peerOf(qemu: Qemu): Qemu {
    return this.#ends.one.qemu === qemu ? this.#ends.other.qemu : this.#ends.one.qemu;
  }

  /** Does nothing where the own end is closed. `arrive` runs at the other side as long as that end is open. */
  send(from: Qemu, arrive: () => void): void {
    const end = this.#nameOf(from);
    if (!this.isOpen(from)) return;
    this.#ways[end].queue.push(arrive);
    this.#carry(end);
  }

  /** The own end is closed: by `yank`, by QEMU, or by the kernel when the process ended. */
  close(by: Qemu): void {
    const mine = this.#end(by);
    if (!mine.open) return;
    mine.open = false;
    this.#tellEnd(this.#nameOf(by));
  }

  #look(): void {
    const { one, other } = this.#ends;
    if (!one.open && !other.open) {
      this.#network.onChange.delete(this.#judge);
      return;
    }
    for (const [name, end] of [
      ['one', one],
      ['other', other],
    ] as const) {
      this.#carry(name);
      // The machine is back and knows nothing of this connection.
      if (!end.qemu.alive) end.open = false;
      if (!end.open) this.#tellEnd(name);
    }
  }

  #carry(from: End): void {
    const [mine, theirs] = from === 'one' ? [this.#ends.one, this.#ends.other] : [this.#ends.other, this.#ends.one];
    const way = this.#ways[from];
    const passes = (): boolean => this.#network.passesBothWays('repl', mine.qemu.machine.name, theirs.qemu.machine.name);
    while (passes()) {
      const arrive = way.queue.shift();
      way.stuckAt = null;
      if (arrive === undefined) return;
      way.lastAt = Math.max(way.lastAt + 0.001, this.#kernel.now + this.#network.delayMs());
      this.#kernel.after(way.lastAt - this.#kernel.now, () => {
        if (!passes()) {
          way.queue.push(arrive);
          way.stuckAt ??= this.#kernel.now;
          return;
        }
        theirs.qemu.receive(() => {
          if (theirs.open) arrive();
        });
      });
    }
    if (way.queue.length > 0) way.stuckAt ??= this.#kernel.now;
  }

  #tellEnd(from: End): void {
    const [mine, theirs] = from === 'one' ? [this.#ends.one, this.#ends.other] : [this.#ends.other, this.#ends.one];
    if (!theirs.open || !theirs.qemu.alive) return;
    const passes = (): boolean => this.#network.passesBothWays('repl', mine.qemu.machine.name, theirs.qemu.machine.name);
    if (!passes()) return;
    const way = this.#ways[from];
    way.lastAt = Math.max(way.lastAt + 0.001, this.#kernel.now + this.#network.delayMs());
    this.#kernel.after(way.lastAt - this.#kernel.now, () => {
      if (!theirs.open || !passes()) return;
      theirs.qemu.receive(() => {
        if (!theirs.open) return;
        theirs.open = false;
        theirs.onEnd();
      });
    });
  }

  #end(at: Qemu): { open: boolean } {
    return this.#ends[this.#nameOf(at)];
  }

  #nameOf(at: Qemu): End {
    return this.#ends.one.qemu === at ? 'one' : 'other';
  }
}
