// The part of a world that its invariants look at.

import type { Keys } from '../../../shared/core/keys.js';
import type { VmRecord } from '../../../shared/core/model.js';
import type { KeyValue } from '../../../shared/ports.js';
import type { Client } from '../qemu/client.js';
import type { Machine } from '../qemu/shapes.js';
import type { Setup } from '../world/setup.js';

export interface Observed {
  readonly setup: Setup;
  readonly keys: Keys;
  readonly kernel: { readonly now: number; after(ms: number, run: () => void): () => void };
  readonly etcd: { read(key: string): KeyValue | null };
  readonly machines: ReadonlyMap<string, Machine>;
  readonly clients: ReadonlyMap<string, Client>;
  record(vm: string): VmRecord | null;
  /** Tells of rows of the table that decide now and did not before. */
  lookAtRows(): void;
  /** A row has changed a record, or taken it away. */
  rowFired(vm: string, row: string): void;
  note(text: string): void;
  violate(what: string): void;
}
