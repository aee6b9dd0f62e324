// A coordinator process: the real catalogue, leadership and loop, wired as coordinator/main.ts wires them, on simulated ports.

import { followStore, type Catalogue } from '../../../coordinator/catalogue.js';
import { createLeadership, type Leadership } from '../../../coordinator/leadership.js';
import { runCoordinator, type CoordinatorLoop } from '../../../coordinator/loop.js';
import { clusterCodec } from '../../../shared/core/codec.js';
import { incarnation } from '../../../shared/core/ids.js';
import type { Keys } from '../../../shared/core/keys.js';
import { LEASE_TTL_MS } from '../../../shared/core/limits.js';
import type { Store } from '../../../shared/ports.js';
import { simulatedAgents, type AgentsPlace } from './agents-port.js';
import { simulatedLeaderWatch, type WatchPlace } from './leader-watch.js';
import type { Life } from './life.js';

export interface CoordinatorProcess {
  readonly life: Life;
  readonly address: string;
  readonly leadership: Leadership;
  readonly catalogue: Catalogue;
  readonly loop: CoordinatorLoop;
}

export function startCoordinator(
  place: AgentsPlace & WatchPlace,
  life: Life,
  store: Store,
  options: {
    readonly keys: Keys;
    readonly name: string;
    readonly address: string;
    readonly ports: { readonly first: number; readonly last: number };
    readonly failoversPerHour: number;
  },
): CoordinatorProcess {
  const { clock, random, log } = life;
  const { keys, name, address } = options;
  let loop: CoordinatorLoop | null = null;
  let leadership: Leadership | null = null;
  const wake = (): void => loop?.wake(null);
  const agents = simulatedAgents(place, life, { changed: wake });
  const catalogue = followStore({ clock, store, log }, keys, {
    changed: () => {
      agents.follow([...catalogue.hosts().values()].map((each) => each.key));
      wake();
    },
  });
  const leaderWatch = simulatedLeaderWatch(place, life, {
    suspected: (reason) => leadership?.suspectLeader(reason),
    heard: () => leadership?.trustLeader(),
  });
  const leading = createLeadership(
    { clock, random, log, store },
    { keys, name, address, ttlMs: LEASE_TTL_MS, fit: () => catalogue.lost() === null },
    {
      changed: (state) => {
        leaderWatch.follow(state.kind === 'leader' ? null : state.address);
        wake();
      },
    },
  );
  leadership = leading;
  loop = runCoordinator(
    { clock, random, log, store, agents },
    { keys, portRange: options.ports, failoversPerHour: options.failoversPerHour },
    catalogue,
    leading,
  );
  nameCluster(life, store, keys, () => catalogue.snapshot() !== null && catalogue.cluster() === null);
  return { life, address, leadership: leading, catalogue, loop };
}

function nameCluster(life: Life, store: Store, keys: Keys, missing: () => boolean): void {
  const attempt = async (): Promise<void> => {
    if (missing()) {
      const value = clusterCodec.encode({ name: 'sim', incarnation: incarnation(life.random.id()) });
      await store.txn([{ kind: 'create', key: keys.cluster, revision: 0 }], [{ kind: 'put', key: keys.cluster, value, lease: null }]);
    }
    life.clock.after(1_000, () => void attempt());
  };
  life.clock.after(50, () => void attempt());
}
