// A process's way to etcd: the Store port over the simulated network, with the bounds of the real client (shared/io/etcd). A request may
// be lost on its way there, or its answer on its way back; a write that was sent and not answered is `unknown`, whether it was carried
// out, never will be, or will be later.

import { STORE_CALL_MS, STORE_OPERATION_MS, WATCH_SILENT_MS } from '../../../shared/core/limits.js';
import type { Instant } from '../../../shared/core/ids.js';
import { fail, ok, type Result } from '../../../shared/core/result.js';
import type { MirrorHandlers, Snapshot, Store, StoreError } from '../../../shared/ports.js';
import type { Etcd } from './etcd.js';
import type { Kernel } from './kernel.js';
import { never, type Life } from './life.js';
import type { Network } from './network.js';
import type { Rng } from './rng.js';

/** Where the members stand, for the network's cuts. */
export const ETCD = 'etcd';
const REOPEN_MS = 50;

export interface StoreFaults {
  /** Probability that a call meets a member that is slower than the client's patience. */
  slowMember: number;
  /** Mirrors of this machine deliver nothing before this instant, and say nothing of it. */
  readonly frozenUntil: Map<string, number>;
}

export interface Place {
  readonly kernel: Kernel;
  readonly network: Network;
  readonly etcd: Etcd;
  readonly rng: Rng;
  readonly faults: StoreFaults;
}

export function simulatedStore(place: Place, life: Life): Store {
  const { kernel, network, etcd, rng, faults } = place;
  let lastAnswerAt: Instant | null = null;

  const reaches = (): boolean => !etcd.isDown && network.passes('mgmt', life.machine, ETCD);
  const answers = (): boolean => network.passes('mgmt', ETCD, life.machine);

  /** One attempt: `lost` after the client's patience, whatever the member did or will do. */
  function attempt<T>(carryOut: () => T, settle: (outcome: { readonly answer: T } | 'lost') => void, mayComeLate = false): void {
    const slow = rng.chance(faults.slowMember);
    const thereMs = slow ? rng.between(0.5, 2 * STORE_CALL_MS) : network.delayMs();
    let over = false;
    const end = (outcome: { readonly answer: T } | 'lost'): void => {
      if (over) return;
      over = true;
      life.deliver(() => settle(outcome));
    };
    const giveUp = kernel.after(STORE_CALL_MS, () => end('lost'));
    kernel.after(thereMs, () => {
      if (!reaches()) {
        // What lies in a socket when a way is cut goes on its way when it is mended.
        if (mayComeLate && rng.chance(0.3)) kernel.after(rng.between(STORE_CALL_MS, 5_000), () => reaches() && carryOut());
        return;
      }
      const answer = carryOut();
      kernel.after(slow ? rng.between(0.5, STORE_CALL_MS) : network.delayMs(), () => {
        if (over || !answers()) return;
        giveUp();
        end({ answer });
      });
    });
  }

  function read<T>(call: string, carryOut: () => T): Promise<Result<T, StoreError>> {
    const startedAt = kernel.now;
    return life.act(
      call,
      () =>
        new Promise((resolve) => {
          const once = (): void =>
            attempt(carryOut, (outcome) => {
              if (outcome !== 'lost') {
                lastAnswerAt = life.clock.now();
                resolve(ok(outcome.answer));
              } else if (kernel.now - startedAt >= STORE_OPERATION_MS - STORE_CALL_MS) {
                resolve(fail({ kind: 'unavailable', detail: 'no member answered' }));
              } else once();
            });
          once();
        }),
      never(),
    );
  }

  const store: Store = {
    get: (key) => read(`etcd get ${key}`, () => ({ kv: etcd.read(key), revision: etcd.revision })),
    list: (prefix) => read(`etcd list ${prefix}`, () => etcd.list(prefix)),
    txn: (compares, writes) =>
      life.act(
        `etcd txn ${writes[0]?.key ?? ''}`,
        () =>
          new Promise((resolve) => {
            // Refused at the door, as by members that are not there at all.
            if (!reaches() && rng.chance(0.5)) {
              kernel.after(STORE_CALL_MS, () => life.deliver(() => resolve(fail({ kind: 'unavailable', detail: 'connection refused' }))));
              return;
            }
            attempt(
              () => etcd.txn(compares, writes, life.name),
              (outcome) => {
                if (outcome === 'lost') return resolve(fail({ kind: 'unknown', detail: 'no answer' }));
                lastAnswerAt = life.clock.now();
                const { answer } = outcome;
                if (answer.kind === 'refused') resolve(fail({ kind: 'refused', detail: answer.detail }));
                else resolve(ok({ succeeded: answer.succeeded, revision: answer.revision }));
              },
              true,
            );
          }),
        never(),
      ),
    mirror: (prefix, handlers) => mirror(place, life, prefix, handlers),
    grantLease: (ttlMs) => read('etcd grant', () => etcd.grant(ttlMs)),
    keepAlive: (lease) =>
      read('etcd keepalive', () => {
        const ttlMs = etcd.keepAlive(lease);
        return { alive: ttlMs > 0, ttlMs };
      }),
    revokeLease: (lease) =>
      read('etcd revoke', () => {
        etcd.revoke(lease);
        return null;
      }),
    lastAnswerAt: () => lastAnswerAt,
  };
  return store;
}

/** Follows a prefix: batches of events come as whole snapshots, some late; when the way is cut it is lost, and listed again afterwards. */
function mirror({ kernel, network, etcd, rng, faults }: Place, life: Life, prefix: string, handlers: MirrorHandlers): { close(): void } {
  let closed = false;
  let following = false;
  let last = 0;
  let scheduled = false;
  let judging = false;
  /** Events were due while the way was cut for less than the watch's patience. */
  let missed = false;

  const open = (): boolean => !etcd.isDown && network.passesBothWays('mgmt', life.machine, ETCD);
  const over = (): boolean => closed || !life.alive;

  function deliver(snapshot: Snapshot): void {
    life.deliver(() => {
      if (closed || snapshot.revision <= last) return;
      last = snapshot.revision;
      handlers.changed(snapshot);
    });
  }

  function send(): void {
    const snapshot = etcd.list(prefix);
    kernel.after(network.delayMs(), () => deliver(snapshot));
  }

  function changed(touched: readonly string[]): void {
    if (over()) return stop();
    if (!following || scheduled || !touched.some((key) => key.startsWith(prefix))) return;
    scheduled = true;
    const frozenMs = (faults.frozenUntil.get(life.machine) ?? 0) - kernel.now;
    kernel.after(Math.max(frozenMs, 0) + rng.delay(0.3, 5), () => {
      scheduled = false;
      if (over() || !following) return;
      if (!open()) missed = true;
      else send();
    });
  }

  /** A watch that was cut off notices its silence; one that is lost tries until it is there again. */
  function judge(): void {
    if (over()) return stop();
    if (judging) return;
    if (following === open()) {
      if (following && missed) send();
      missed = false;
      return;
    }
    judging = true;
    const waitMs = following ? rng.between(WATCH_SILENT_MS, 1.5 * WATCH_SILENT_MS) : rng.between(REOPEN_MS, 4 * REOPEN_MS);
    kernel.after(waitMs, () => {
      judging = false;
      if (over() || following === open()) return judge();
      following = !following;
      if (following) {
        deliver(etcd.list(prefix));
        life.deliver(() => !closed && handlers.health({ kind: 'following' }));
      } else {
        life.deliver(() => !closed && handlers.health({ kind: 'lost', detail: 'silent' }));
      }
      judge();
    });
  }

  function stop(): void {
    closed = true;
    etcd.onRevision.delete(changed);
    etcd.onDown.delete(judge);
    network.onChange.delete(judge);
  }

  life.act(
    `etcd mirror ${prefix}`,
    () => {
      etcd.onRevision.add(changed);
      etcd.onDown.add(judge);
      network.onChange.add(judge);
      judge();
    },
    undefined,
  );
  return { close: stop };
}
