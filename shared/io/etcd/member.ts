// One etcd member through the etcd3 package. etcd3's own fault handling (retries, circuit breakers, its Lease and Watcher classes) is left
// out: measured, its streams do not fail over reliably, and a retried write is a write whose outcome nobody knows.

import { InterceptingCall, type CallOptions, type Interceptor } from '@grpc/grpc-js';
import { Etcd3, type IDuplexStream, type IOptions, type IWatchRequest, type IWatchResponse } from 'etcd3';
import { fail, ok, type Result } from '../../core/result.js';
import type { Clock, StoreError } from '../../ports.js';
import { endSilentConnections } from '../silent-connections.js';
import { storeErrorOf, type CallKind } from './errors.js';

/** With TLS. Asked for each fresh connection, so that the newest certificate is shown. */
export interface EtcdSecurity {
  credentials(): NonNullable<IOptions['credentials']>;
  /** The name that the member's certificate must bear; null = that in the endpoint. */
  readonly serverName: string | null;
}

type Policy = NonNullable<NonNullable<IOptions['faultHandling']>['global']>;

/** etcd3 only ever calls `execute`; the events of the full interface have no listeners. It expects a promise even when the work throws. */
const noPolicy = { execute: async (work: (context: object) => unknown) => work({}) } as unknown as Policy;

/** A member that knows no leader refuses at once instead of letting the call wait, and ends its watches. */
const requireLeader: Interceptor = (options, nextCall) =>
  new InterceptingCall(nextCall(options), {
    start: (metadata, listener, next) => {
      metadata.set('hasleader', 'true');
      next(metadata, listener);
    },
  });

const GRPC_OPTIONS: NonNullable<IOptions['grpcOptions']> = {
  // Without a pool of its own a fresh client would get the old, half-dead connection back.
  'grpc.use_local_subchannel_pool': 1,
  'grpc.initial_reconnect_backoff_ms': 50,
  'grpc.min_reconnect_backoff_ms': 50,
  'grpc.max_reconnect_backoff_ms': 500,
  'grpc.enable_retries': 0,
  'grpc.max_receive_message_length': 64 * 1024 * 1024,
};

/** For one call that goes to this member's client directly. */
export function callOptions(deadlineMs: number): CallOptions {
  return { deadline: Date.now() + deadlineMs, interceptors: [requireLeader] };
}

/** grpc-js ends a call at its own deadline; if the wall clock was stepped it may not, and then this much later we do. */
const DEADLINE_GRACE_MS = 50;

/** A member as the store uses it: calls with a deadline, and a connection of its own for each long stream. */
export interface EtcdMember {
  readonly endpoint: string;
  /** Never throws. */
  call<T>(kind: CallKind, deadlineMs: number, send: (client: Etcd3, options: CallOptions) => Promise<T>): Promise<Result<T, StoreError>>;
  /** The TTL in seconds, 0 = gone. */
  keepAlive(lease: string, deadlineMs: number): Promise<Result<number, StoreError>>;
  watch(client: Etcd3): Promise<IDuplexStream<IWatchRequest, IWatchResponse>>;
  connect(): Etcd3;
  close(): void;
}

export class Member implements EtcdMember {
  readonly endpoint: string;
  readonly #clock: Clock;
  readonly #security: EtcdSecurity | null;
  #client: Etcd3 | null = null;

  /** `endpoint` is `http://address:port` or `https://...`. Connects at the first call. */
  constructor(endpoint: string, clock: Clock, security: EtcdSecurity | null = null) {
    this.endpoint = endpoint;
    this.#clock = clock;
    this.#security = security;
  }

  /** One call with a deadline. After a failure the next call has a fresh connection. Never throws. */
  async call<T>(
    kind: CallKind,
    deadlineMs: number,
    send: (client: Etcd3, options: CallOptions) => Promise<T>,
  ): Promise<Result<T, StoreError>> {
    const client = this.#connected();
    const grace = this.#timeout(deadlineMs + DEADLINE_GRACE_MS);
    try {
      const answer = await Promise.race([send(client, callOptions(deadlineMs)), grace.expired]);
      if (answer !== EXPIRED) return ok(answer as T);
      this.#drop(client);
      return fail({ kind: kind === 'read' ? 'unavailable' : 'unknown', detail: `no answer within ${deadlineMs} ms` });
    } catch (error) {
      const failure = storeErrorOf(error, kind);
      if (failure.kind !== 'refused') this.#drop(client);
      return fail(failure);
    } finally {
      grace.cancel();
    }
  }

  /** A keepalive as if it were a unary call: one request, one answer, over a stream of its own. Answers the TTL in seconds, 0 = gone. */
  keepAlive(lease: string, deadlineMs: number): Promise<Result<number, StoreError>> {
    return this.call('read', deadlineMs, async (client, options) => {
      const stream = await client.leaseClient.leaseKeepAlive(options);
      const answer = await new Promise<number>((resolve, reject) => {
        stream.on('data', (each) => resolve(Number(each.TTL)));
        stream.on('error', reject);
        stream.on('end', () => reject(new Error('the stream ended without an answer')));
        stream.write({ ID: lease });
      });
      // Not cancelled but ended: etcd3 takes the error of a cancelled stream for a failed host and closes all its connections.
      stream.end();
      return answer;
    });
  }

  /** A watch stream without any deadline. It is the caller's to judge, and to cancel. */
  watch(client: Etcd3): Promise<IDuplexStream<IWatchRequest, IWatchResponse>> {
    return client.watchClient.watch({ interceptors: [requireLeader] });
  }

  /** A connection apart from the calls', for a long stream. The caller closes it. */
  connect(): Etcd3 {
    endSilentConnections();
    const serverName = this.#security?.serverName ?? null;
    return new Etcd3({
      hosts: [this.endpoint],
      faultHandling: { host: () => noPolicy, global: noPolicy },
      grpcOptions: serverName === null ? GRPC_OPTIONS : { ...GRPC_OPTIONS, 'grpc.ssl_target_name_override': serverName },
      ...(this.#security === null ? {} : { credentials: this.#security.credentials() }),
    });
  }

  close(): void {
    this.#client?.close();
    this.#client = null;
  }

  #connected(): Etcd3 {
    this.#client ??= this.connect();
    return this.#client;
  }

  #drop(client: Etcd3): void {
    if (this.#client === client) this.#client = null;
    client.close();
  }

  #timeout(ms: number): { readonly expired: Promise<typeof EXPIRED>; cancel(): void } {
    let cancel = (): void => undefined;
    const expired = new Promise<typeof EXPIRED>((resolve) => {
      cancel = this.#clock.after(ms, () => resolve(EXPIRED));
    });
    return { expired, cancel: () => cancel() };
  }
}

const EXPIRED = Symbol('expired');
