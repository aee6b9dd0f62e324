// Stands before every method of a server: whether the caller may call it, how often, and how many at once. What it refuses costs no more
// than the refusal, and a peer that goes on all the same is put out for a while. Refused calls, and calls that change something, are logged
// with who made them. To handlers it says who calls.

import { Metadata, ServerInterceptingCall, status, type ServerInterceptor } from '@grpc/grpc-js';
import { describeCaller, isRecorded, ACCESS, whyForbidden, type Caller } from '../../core/access.js';
import { fullBucket, take, type Bucket, type Rate } from '../../core/token-bucket.js';
import type { Clock, Log } from '../../ports.js';
import type { Peer } from './door.js';

export interface GuardLimits {
  readonly calls: Rate;
  /** Calls under way, streams among them. */
  readonly callsAtOnce: number;
  readonly streamsAtOnce: number;
  /** So many calls over the rate, and the peer is put out. */
  readonly patience: number;
  readonly outsideMs: number;
  /** From a call's headers to the end of its request. */
  readonly requestMs: number;
  /** The same for a request of many messages; only reflection has such. */
  readonly uploadMs: number;
}

export const GUARD_LIMITS: GuardLimits = {
  calls: { perSecond: 100, burst: 200 },
  callsAtOnce: 64,
  streamsAtOnce: 16,
  patience: 200,
  outsideMs: 1_000,
  requestMs: 5_000,
  uploadMs: 30_000,
};
/** Peers that are remembered; beyond, those without a call under way are forgotten. */
const MOST_PEERS = 4_096;
/** Set by the guard alone: whatever a caller sends under this name is written over. */
const CALLER_KEY = 'colo-caller';

/** Who makes the call, as the history has it. Without a guard, in tests, some operator. */
export function callerOf(metadata: Metadata | undefined): string {
  const [caller] = metadata?.get(CALLER_KEY) ?? [];
  return typeof caller === 'string' ? caller : 'operator';
}

export interface Guard {
  readonly interceptor: ServerInterceptor;
  isWelcome(key: string): boolean;
}

interface Account {
  bucket: Bucket;
  refused: number;
  calls: number;
  streams: number;
  outsideUntil: number;
}

type NextCall = ConstructorParameters<typeof ServerInterceptingCall>[0];
type Verdict = { readonly kind: 'go' } | { readonly kind: 'no'; readonly code: status; readonly detail: string };

export function createGuard(
  ports: { readonly clock: Clock; readonly log: Log },
  peerAt: (address: string | undefined, port: number | undefined) => Peer | null,
  limits: GuardLimits = GUARD_LIMITS,
): Guard {
  const { clock, log } = ports;
  const accounts = new Map<string, Account>();

  function accountOf(key: string): Account {
    const found = accounts.get(key);
    if (found !== undefined) return found;
    if (accounts.size >= MOST_PEERS) for (const [name, each] of accounts) if (each.calls === 0) accounts.delete(name);
    const made: Account = { bucket: fullBucket(limits.calls, clock.now()), refused: 0, calls: 0, streams: 0, outsideUntil: 0 };
    accounts.set(key, made);
    return made;
  }

  function judge(peer: Peer, path: string, isStream: boolean): Verdict {
    const forbidden = whyForbidden(peer.caller, path);
    if (forbidden !== null) return { kind: 'no', code: status.PERMISSION_DENIED, detail: forbidden };
    if (!isLimited(peer.caller, path)) return { kind: 'go' };
    const account = accountOf(peer.key);
    const taken = take(account.bucket, limits.calls, clock.now());
    if (taken === null) {
      account.refused += 1;
      if (account.refused >= limits.patience) putOut(peer, account);
      return { kind: 'no', code: status.RESOURCE_EXHAUSTED, detail: `more than ${limits.calls.perSecond} calls a second` };
    }
    account.bucket = taken;
    account.refused = 0;
    if (account.calls >= limits.callsAtOnce || (isStream && account.streams >= limits.streamsAtOnce))
      return {
        kind: 'no',
        code: status.RESOURCE_EXHAUSTED,
        detail: `too many calls at once: ${account.calls}, ${account.streams} of them streams`,
      };
    return { kind: 'go' };
  }

  function putOut(peer: Peer, account: Account): void {
    account.refused = 0;
    account.outsideUntil = clock.now() + limits.outsideMs;
    log.warn({ by: describeCaller(peer.caller), address: peer.address }, 'peer-put-out');
    peer.cut();
  }

  const interceptor: ServerInterceptor = (method, call) => {
    const { remoteAddress, remotePort } = call.getConnectionInfo();
    const peer = peerAt(remoteAddress, remotePort);
    const isStream = method.requestStream || method.responseStream;
    if (peer === null) return refusing(call, status.UNAUTHENTICATED, 'the connection is gone');
    const by = describeCaller(peer.caller);
    const verdict = judge(peer, method.path, isStream);
    if (verdict.kind === 'no') {
      if (verdict.code === status.PERMISSION_DENIED) log.warn({ by, address: peer.address, method: method.path }, 'call-denied');
      return refusing(call, verdict.code, verdict.detail);
    }
    peer.settle();
    if (isRecorded(method.path)) log.info({ by, address: peer.address, method: method.path }, 'call');
    return carrying(call, by, method.requestStream, () => opened(peer, method.path, isStream));
  };

  /** Counts a call that has begun; the answer counts its end, once. */
  function opened(peer: Peer, path: string, isStream: boolean): () => void {
    if (!isLimited(peer.caller, path)) return () => undefined;
    const account = accountOf(peer.key);
    account.calls += 1;
    if (isStream) account.streams += 1;
    let over = false;
    return () => {
      if (over) return;
      over = true;
      account.calls -= 1;
      if (isStream) account.streams -= 1;
    };
  }

  function carrying(call: NextCall, by: string, isUpload: boolean, begin: () => () => void): ServerInterceptingCall {
    let cancelDeadline: () => void = () => undefined;
    let ended: () => void = () => undefined;
    return new ServerInterceptingCall(call, {
      start: (next) => {
        next({
          // A call that was cancelled before it began is told nothing of, so it is counted from here on.
          onReceiveMetadata: (metadata, proceed) => {
            ended = begin();
            // Whoever sends headers and then no request must not hold a call for ever.
            cancelDeadline = clock.after(isUpload ? limits.uploadMs : limits.requestMs, () =>
              call.sendStatus({ code: status.DEADLINE_EXCEEDED, details: 'the request did not come to its end' }),
            );
            metadata.set(CALLER_KEY, by);
            proceed(metadata);
          },
          onReceiveHalfClose: (proceed) => {
            cancelDeadline();
            proceed();
          },
          // Comes at the end of every call, when its answer has gone out or never will.
          onCancel: () => {
            cancelDeadline();
            ended();
          },
        });
      },
    });
  }

  return {
    interceptor,
    isWelcome: (key) => clock.now() >= (accounts.get(key)?.outsideUntil ?? 0),
  };
}

/** Coordinators are many calls at once when a host dies, and no strangers; methods that are theirs alone carry no bound for that reason. */
function isLimited(caller: Caller, path: string): boolean {
  if (caller.kind === 'certified') return caller.identity.role !== 'coordinator';
  return ACCESS[path]?.some((role) => role !== 'coordinator') === true;
}

/** The handler never hears of it. */
function refusing(call: NextCall, code: status, details: string): ServerInterceptingCall {
  return new ServerInterceptingCall(call, {
    start: (next) => {
      next({ onReceiveMetadata: () => undefined });
      call.sendStatus({ code, details });
    },
  });
}
