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
  readonly kernel: { readonly now: number };
  readonly etcd: { read(key: string): KeyValue | null };
  readonly machines: ReadonlyMap<string, Machine>;
  readonly clients: ReadonlyMap<string, Client>;
  record(vm: string): VmRecord | null;
  note(text: string): void;
  violate(what: string): void;
}
