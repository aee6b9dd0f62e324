// What the coordinator's loops need from the world beyond the shared ports: the agents. The real one dials gRPC; the simulator's is a model.

import type { HostLink } from './core/link.js';
import type { HostKey, Order, OrderAnswer } from '../shared/core/model.js';
import type { Clock, Log, Random, Store } from '../shared/ports.js';

/** `lost`: the call's outcome is not known; the next report tells. */
export type OrderOutcome = OrderAnswer | { readonly kind: 'lost'; readonly detail: string };

export interface AgentHandlers {
  /** A report came, or the stream went silent or came back. */
  changed(host: string): void;
}

export interface Agents {
  /** Keep a stream to each of these hosts and to no other. Called whenever the set or an address changes. */
  follow(hosts: readonly HostKey[]): void;
  links(): ReadonlyMap<string, HostLink>;
  order(host: string, order: Order): Promise<OrderOutcome>;
  /** Asks for a report made now, with an out-of-band look at the VM; bounded by `deadlineMs`. */
  probe(host: string, vm: string, deadlineMs: number): Promise<void>;
  close(): void;
}

export interface CoordinatorPorts {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly store: Store;
  readonly agents: Agents;
}
