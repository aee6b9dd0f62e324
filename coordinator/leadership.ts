// Who leads among the coordinators: one key in the store, under the leader's own lease. Its mod revision is the term. Being leader is never
// what makes a decision safe (every decision's transaction is guarded by the key's revision); it only says who should try. That is why a
// follower with evidence that the leader is dead may take the key over by a transaction on that revision, without waiting for the lease.

import { coordinatorKeyCodec, type CoordinatorKey } from '../shared/core/codec.js';
import { term as termOf, type Instant, type Term } from '../shared/core/ids.js';
import type { Keys } from '../shared/core/keys.js';
import { keepLease } from '../shared/lease.js';
import type { Clock, Compare, KeyValue, Log, Random, Store } from '../shared/ports.js';

/** Candidates wait a random part of this, so that they do not all write at the same instant. */
const HOLD_OFF_MS = 50;
/**
 * Two coordinators that do not hear each other could take the key from each other for ever. A process that leads again within the window was
 * alive when it was taken for dead: so many such returns are free, each further one doubles the wait. New processes do not count.
 */
const RETURN_WINDOW_MS = 30_000;
const RETURNS_FREE = 2;
const REIGNS_KEPT = 30;
const PENALTY_FIRST_MS = 250;
const PENALTY_LAST_MS = 8_000;
const RETRY_MS = 200;

export type LeadershipState =
  | { readonly kind: 'leader'; readonly term: Term }
  /** `leader` and `address` are null while nobody leads or the key cannot be read; `term` is the last one seen, 0 = none. */
  | { readonly kind: 'follower'; readonly leader: string | null; readonly address: string | null; readonly term: Term };

export interface LeadershipOptions {
  readonly keys: Keys;
  readonly name: string;
  /** `address:port` of this coordinator's gRPC server, which must already be bound. */
  readonly address: string;
  readonly ttlMs: number;
  /** False = this coordinator is itself cut off and must not take a living leader's place. A leaderless cluster it may lead all the same. */
  readonly fit?: () => boolean;
}

export interface LeadershipHandlers {
  changed(state: LeadershipState): void;
}

export interface Leadership {
  /** Judged at the time of the call: leader only while the own lease's deadline holds and the key was last seen as the own. */
  state(): LeadershipState;
  /** For every transaction of the present term. A follower's guard never holds. */
  guard(): Compare;
  /** Evidence that the leader last seen is dead. Repeat it while it lasts; it ends with the term or with `trustLeader`. */
  suspectLeader(reason: string): void;
  trustLeader(): void;
  /** Resigns, so that another may lead at once. */
  close(): Promise<void>;
}

/** The guard of decisions made in a certain term, whoever leads by now. */
export function guardOf(keys: Keys, term: Term): Compare {
  return { kind: 'mod', key: keys.leader, revision: term };
}

interface Picture {
  readonly revision: number;
  readonly key: { readonly modRevision: number; readonly lease: string; readonly holder: CoordinatorKey | null } | null;
}

export function createLeadership(
  ports: { readonly clock: Clock; readonly random: Random; readonly log: Log; readonly store: Store },
  options: LeadershipOptions,
  handlers: LeadershipHandlers,
): Leadership {
  const { clock, random, log, store } = ports;
  const { keys, name, address } = options;
  const own: CoordinatorKey = { name, address, session: random.id() };
  const ownValue = coordinatorKeyCodec.encode(own);
  let picture: Picture | null = null;
  let suspicion: { readonly modRevision: number; readonly reason: string } | null = null;
  /** Who led lately, newest last. */
  let reigns: readonly { readonly session: string; readonly at: Instant; readonly isReturn: boolean }[] = [];
  let announced = '';
  let closed = false;
  /** Set while a candidacy waits or is under way; there is never more than one. */
  let candidacy: { cancel: () => void } | null = null;

  const keeper = keepLease(
    ports,
    { ttlMs: options.ttlMs, keys: () => [{ key: keys.member(name), value: ownValue, leased: true }] },
    { held: () => consider(), lost: () => consider() },
  );
  const mirror = store.mirror(keys.leader, {
    changed: (snapshot) => see(snapshot.revision, snapshot.keys.get(keys.leader) ?? null),
    health: () => undefined,
  });

  function see(revision: number, kv: KeyValue | null): void {
    // Answers and the mirror arrive in any order; only a newer picture counts.
    if (picture !== null && revision < picture.revision) return;
    const before = picture?.key?.modRevision ?? 0;
    if (kv === null) picture = { revision, key: null };
    else {
      const holder = coordinatorKeyCodec.decode(kv.key, kv.value);
      if (!holder.ok) log.error({ detail: holder.error.detail }, 'leader-key-unreadable');
      picture = { revision, key: { modRevision: kv.modRevision, lease: kv.lease, holder: holder.ok ? holder.value : null } };
    }
    if (kv !== null && kv.modRevision !== before) {
      suspicion = null;
      noteReign(picture.key?.holder?.session ?? '');
    }
    consider();
  }

  function noteReign(session: string): void {
    const recent = reigns.filter((each) => clock.now() - each.at < RETURN_WINDOW_MS).slice(-REIGNS_KEPT);
    reigns = [...recent, { session, at: clock.now(), isReturn: recent.some((each) => each.session === session) }];
  }

  function leads(): { readonly term: Term } | null {
    const held = keeper.state();
    const key = picture?.key ?? null;
    if (closed || held.kind !== 'held' || key === null) return null;
    // The lease is compared as well: a key under an earlier lease of ours may vanish at any moment.
    return key.holder?.session === own.session && key.lease === held.lease ? { term: termOf(key.modRevision) } : null;
  }

  function state(): LeadershipState {
    const leading = leads();
    if (leading !== null) return { kind: 'leader', term: leading.term };
    const key = picture?.key ?? null;
    const other = key?.holder?.session === own.session ? null : (key?.holder ?? null);
    return { kind: 'follower', leader: other?.name ?? null, address: other?.address ?? null, term: termOf(key?.modRevision ?? 0) };
  }

  /** Level-triggered: looks at everything and starts or ends a candidacy. */
  function consider(): void {
    announce();
    const reason = reasonToStand();
    if (reason === null) {
      candidacy?.cancel();
      return;
    }
    if (candidacy !== null) return;
    stand(holdOffMs());
  }

  /** Why the key should be ours and is not; null = it should not. */
  function reasonToStand(): string | null {
    if (closed || picture === null || keeper.state().kind !== 'held' || leads() !== null) return null;
    const key = picture.key;
    if (key === null) return 'nobody leads';
    if (key.holder === null) return null;
    if (key.holder.session === own.session) return 'the own key is under an earlier lease';
    // Two processes cannot be bound to one address, and ours is.
    if (key.holder.name === name && key.holder.address === address) return 'the leader was an earlier process of this coordinator';
    if (suspicion?.modRevision !== key.modRevision) return null;
    return (options.fit?.() ?? true) ? suspicion.reason : null;
  }

  function holdOffMs(): number {
    const returns = reigns.filter((each) => each.isReturn && clock.now() - each.at < RETURN_WINDOW_MS).length - RETURNS_FREE;
    const penaltyMs = returns <= 0 || picture?.key === null ? 0 : Math.min(PENALTY_LAST_MS, PENALTY_FIRST_MS * 2 ** (returns - 1));
    return random.fraction() * HOLD_OFF_MS + penaltyMs * (0.5 + random.fraction() / 2);
  }

  function stand(afterMs: number): void {
    const cancelTimer = clock.after(afterMs, () => {
      const reason = reasonToStand();
      if (reason === null) return end();
      // From here on the transaction cannot be called back.
      current.cancel = () => undefined;
      void campaign(reason).then((againMs) => {
        if (againMs === null) {
          end();
          consider();
        } else if (!closed) {
          stand(againMs);
        } else end();
      });
    });
    const current = { cancel: () => (cancelTimer(), end()) };
    const end = (): void => {
      if (candidacy === current) candidacy = null;
    };
    candidacy = current;
  }

  /** Answers in how many milliseconds to try again; null = the picture is new, so look at it again. */
  async function campaign(reason: string): Promise<number | null> {
    const held = keeper.state();
    if (held.kind !== 'held' || picture === null) return null;
    const expected = picture.key?.modRevision ?? 0;
    const done = await store.txn(
      [{ kind: 'mod', key: keys.leader, revision: expected }],
      [{ kind: 'put', key: keys.leader, value: ownValue, lease: held.lease }],
    );
    if (done.ok && done.value.succeeded) {
      const revision = done.value.revision;
      log.info({ term: revision, reason, before: expected }, 'leadership-won');
      see(revision, { key: keys.leader, value: ownValue, createRevision: revision, modRevision: revision, lease: held.lease });
      return null;
    }
    if (!done.ok) log.warn({ error: done.error.kind, detail: done.error.detail, reason }, 'leadership-candidacy-failed');
    if (!done.ok && done.error.kind !== 'unknown') return RETRY_MS;
    // Lost to another, or the outcome is not known: either way the key itself tells. A late win shows in the mirror.
    const seen = await store.get(keys.leader);
    if (!seen.ok) return RETRY_MS;
    see(seen.value.revision, seen.value.kv);
    return (seen.value.kv?.modRevision ?? 0) === expected ? RETRY_MS : null;
  }

  function announce(): void {
    const now = state();
    const text = JSON.stringify(now);
    if (text === announced) return;
    announced = text;
    log.info({ ...now }, 'leadership-changed');
    handlers.changed(now);
  }

  return {
    state,
    guard: () => {
      const leading = leads();
      return leading === null ? { kind: 'mod', key: keys.leader, revision: -1 } : guardOf(keys, leading.term);
    },
    suspectLeader: (reason) => {
      const key = picture?.key ?? null;
      if (key === null) return;
      if (suspicion?.modRevision !== key.modRevision)
        log.warn({ leader: key.holder?.name, term: key.modRevision, reason }, 'leader-suspected');
      suspicion = { modRevision: key.modRevision, reason };
      consider();
    },
    trustLeader: () => {
      suspicion = null;
      consider();
    },
    close: async () => {
      const leading = leads();
      closed = true;
      candidacy?.cancel();
      mirror.close();
      announce();
      if (leading !== null) await store.txn([guardOf(keys, leading.term)], [{ kind: 'delete', key: keys.leader }]);
      await keeper.close();
    },
  };
}
