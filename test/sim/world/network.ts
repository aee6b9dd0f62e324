// What lies between machines: each direction between two of them can be cut by itself, and every message takes its own time, so that
// messages overtake each other, get lost and come twice. `mgmt` carries the agents' and the store's traffic, `repl` what two QEMUs say to
// each other, `guest` the client's.

import type { Kernel } from './kernel.js';
import type { Rng } from './rng.js';

export type Net = 'mgmt' | 'repl' | 'guest';

export interface Weather {
  /** Probability that a message is lost, or comes twice. */
  drop: number;
  twice: number;
  /** Longest delay of the few slow messages. */
  slowMs: number;
}

export class Network {
  /** Whoever must notice that a way was cut or mended. */
  readonly onChange = new Set<() => void>();
  readonly weather: Weather = { drop: 0, twice: 0, slowMs: 5 };
  readonly #kernel: Kernel;
  readonly #rng: Rng;
  readonly #cut = new Set<string>();
  readonly #dark = new Set<string>();

  constructor(kernel: Kernel, rng: Rng) {
    this.#kernel = kernel;
    this.#rng = rng;
  }

  /** One direction. */
  cut(net: Net, from: string, to: string): void {
    this.#cut.add(`${net} ${from} ${to}`);
    this.#changed();
  }

  mend(net: Net, from: string, to: string): void {
    this.#cut.delete(`${net} ${from} ${to}`);
    this.#changed();
  }

  mendAll(): void {
    this.#cut.clear();
    this.#changed();
  }

  /** A machine without power hears and says nothing on any network. */
  setDark(machine: string, dark: boolean): void {
    if (dark) this.#dark.add(machine);
    else this.#dark.delete(machine);
    this.#changed();
  }

  isDark(machine: string): boolean {
    return this.#dark.has(machine);
  }

  passes(net: Net, from: string, to: string): boolean {
    if (this.#dark.has(from) || this.#dark.has(to)) return false;
    return from === to || this.#cut.size === 0 || !this.#cut.has(`${net} ${from} ${to}`);
  }

  passesBothWays(net: Net, one: string, other: string): boolean {
    return this.passes(net, one, other) && this.passes(net, other, one);
  }

  delayMs(): number {
    return this.#rng.delay(0.5, Math.max(1, this.weather.slowMs));
  }

  /** A message that is on its own: it may be lost, come twice, or overtake another. */
  send(net: Net, from: string, to: string, arrive: () => void): void {
    if (!this.passes(net, from, to) || this.#rng.chance(this.weather.drop)) return;
    const copies = this.#rng.chance(this.weather.twice) ? 2 : 1;
    for (let copy = 0; copy < copies; copy += 1) {
      this.#kernel.after(this.delayMs(), () => {
        if (this.passes(net, from, to)) arrive();
      });
    }
  }

  #changed(): void {
    for (const each of [...this.onChange]) each();
  }
}
