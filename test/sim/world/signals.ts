// AbortController and AbortSignal as the loops use them, without Node's event machinery: those make an Event, an exception with its stack
// and a weak reference for each wait, and a tenth of a simulated second went there. Listeners run at once and in order, as Node's do, and
// signals made by `any` follow after the listeners of their sources. What the loops do not use is not here.

class SimSignal {
  aborted = false;
  readonly #listeners = new Set<() => void>();
  readonly #followers = new Set<SimSignal>();
  #sources: readonly SimSignal[] = [];

  static any(sources: readonly SimSignal[]): SimSignal {
    const signal = new SimSignal();
    signal.aborted = sources.some((each) => each.aborted);
    if (signal.aborted) return signal;
    signal.#sources = sources;
    for (const each of sources) each.#followers.add(signal);
    return signal;
  }

  addEventListener(_type: 'abort', listener: () => void): void {
    if (!this.aborted) this.#listeners.add(listener);
  }

  removeEventListener(_type: 'abort', listener: () => void): void {
    this.#listeners.delete(listener);
  }

  abort(): void {
    if (this.aborted) return;
    this.aborted = true;
    for (const each of this.#sources) each.#followers.delete(this);
    for (const listener of [...this.#listeners]) if (this.#listeners.delete(listener)) listener();
    for (const each of [...this.#followers]) each.abort();
  }
}

class SimController {
  readonly signal = new SimSignal();

  abort(): void {
    this.signal.abort();
  }
}

/** From now on this thread's `AbortController` and `AbortSignal` are these. */
export function useSimulatedSignals(): void {
  Object.assign(globalThis, { AbortController: SimController, AbortSignal: SimSignal });
}
