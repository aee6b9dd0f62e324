// A follower's evidence about the leader, as coordinator/io/leader-watch.ts gathers it: pings many times a second, and after a silence or
// a refusal a second look before it counts.

import type { Kernel } from './kernel.js';
import type { Life } from './life.js';
import type { Network } from './network.js';

const PING_MS = 100;
const PING_TIMEOUT_MS = 150;
const SECOND_LOOK_MS = 150;

export interface WatchPlace {
  readonly kernel: Kernel;
  readonly network: Network;
  /** The coordinator at an address; null = nobody listens there. */
  coordinatorAt(address: string): Life | null;
  machineOf(address: string): string;
}

export interface SimulatedLeaderWatch {
  follow(address: string | null): void;
  close(): void;
}

export function simulatedLeaderWatch(
  place: WatchPlace,
  life: Life,
  handlers: { suspected(reason: string): void; heard(): void },
): SimulatedLeaderWatch {
  let watched: string | null = null;
  let cancel: () => void = () => undefined;

  function look(address: string): 'answers' | 'refuses' | 'silent' {
    if (!place.network.passesBothWays('mgmt', life.machine, place.machineOf(address))) return 'silent';
    const other = place.coordinatorAt(address);
    if (other === null) return 'refuses';
    return other.paused ? 'silent' : 'answers';
  }

  function turn(address: string, lastAnswerAt: number): void {
    const next = (ms: number, run: () => void): void => {
      cancel = life.clock.after(ms, run);
    };
    const seen = look(address);
    const now = life.clock.now();
    if (seen === 'answers') {
      handlers.heard();
      return next(PING_MS, () => turn(address, now));
    }
    if (seen === 'silent' && now - lastAnswerAt < PING_MS + PING_TIMEOUT_MS) return next(PING_MS / 2, () => turn(address, lastAnswerAt));
    next(seen === 'refuses' ? 2 : SECOND_LOOK_MS, () => {
      if (look(address) === 'answers') handlers.heard();
      else handlers.suspected(`leader at ${address} ${seen}`);
      next(PING_MS, () => turn(address, lastAnswerAt));
    });
  }

  return {
    follow: (address) => {
      if (watched === address) return;
      cancel();
      watched = address;
      if (address !== null) turn(address, life.clock.now());
    },
    close: () => {
      cancel();
      watched = null;
    },
  };
}
