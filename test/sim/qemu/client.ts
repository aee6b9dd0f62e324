// Somebody who uses the guest: one request after another, each repeated until it is answered, as a TCP connection would. It keeps every
// answer that it was given; whatever side runs the guest must know them all.

import type { Kernel } from '../world/kernel.js';
import type { Network } from '../world/network.js';
import type { Rng } from '../world/rng.js';
import type { Qemu } from './shapes.js';

export const CLIENT = 'client';
const PAUSE_MS = { least: 20, most: 150 };
const AGAIN_FIRST_MS = 200;
const AGAIN_LAST_MS = 1_600;

export interface ClientEvents {
  /** An answer that is not the one that was given before. */
  contradicted(what: string): void;
  /** The first answer from this QEMU after others. */
  hears(qemu: Qemu): void;
}

export class Client {
  /** Answers that were received, in order; index k - 1. */
  readonly given: { readonly k: number; readonly v: number }[] = [];
  lastAnswerAt = 0;
  /** Longest time between two answers since this was last set to zero. */
  longestGapMs = 0;
  readonly #kernel: Kernel;
  readonly #network: Network;
  readonly #rng: Rng;
  readonly #qemus: () => readonly Qemu[];
  readonly #events: ClientEvents;
  #asked = 0;
  #hears = '';
  #cancel: () => void = () => undefined;

  constructor(kernel: Kernel, network: Network, rng: Rng, qemus: () => readonly Qemu[], events: ClientEvents) {
    this.#kernel = kernel;
    this.#network = network;
    this.#rng = rng;
    this.#qemus = qemus;
    this.#events = events;
    this.#next();
  }

  /** The guest is another one: what the earlier one said is of no account. */
  beginAnew(): void {
    this.#cancel();
    this.given.length = 0;
    this.#next();
  }

  /** A frame of the guest with an answer, sent by this QEMU. */
  answered(from: Qemu, k: number, v: number): void {
    this.#network.send('guest', from.machine.name, CLIENT, () => {
      const before = this.given[k - 1];
      if (before !== undefined) {
        if (before.v !== v) this.#events.contradicted(`request ${k} was answered ${before.v} and then ${v} by ${from.name}`);
        return;
      }
      // An answer to what was never asked, or to a request of the past that was given up: TCP drops it.
      if (k !== this.#asked) return;
      this.given.push({ k, v });
      this.longestGapMs = Math.max(this.longestGapMs, this.#kernel.now - this.lastAnswerAt);
      this.lastAnswerAt = this.#kernel.now;
      if (from.name !== this.#hears) this.#events.hears(from);
      this.#hears = from.name;
      this.#cancel();
      this.#cancel = this.#kernel.after(this.#rng.between(PAUSE_MS.least, PAUSE_MS.most), () => this.#next());
    });
  }

  #next(): void {
    this.#asked = this.given.length + 1;
    this.#ask(AGAIN_FIRST_MS);
  }

  #ask(againMs: number): void {
    const k = this.#asked;
    for (const qemu of this.#qemus()) {
      if (!qemu.tapIsUp()) continue;
      this.#network.send('guest', CLIENT, qemu.machine.name, () => qemu.receive(() => qemu.guest.fromClient(k)));
    }
    this.#cancel = this.#kernel.after(againMs, () => this.#ask(Math.min(AGAIN_LAST_MS, againMs * 2)));
  }
}
