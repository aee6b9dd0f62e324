// Calls to one gRPC server with what grpc-js leaves out: a deadline on every call, a fresh connection after each failure (a reused channel
// took 7.6 s to come back from a partition of 12 s, a fresh one 0.35 s), and streams that notice silence and open themselves again.

import { Client, Metadata, credentials as grpcCredentials, type ChannelCredentials, type ChannelOptions } from '@grpc/grpc-js';
import { RPC_MESSAGE_BYTES } from '../../core/limits.js';
import { fail, ok, type Result } from '../../core/result.js';
import type { Clock, Random } from '../../ports.js';
import { watchSilence } from '../../silence.js';
import { endSilentConnections } from '../silent-connections.js';
import { rpcErrorOf, type RpcError } from './errors.js';

/** Waits between two attempts to open a stream, doubling from the first to the last. */
const BACKOFF_FIRST_MS = 50;
const BACKOFF_LAST_MS = 500;
/** grpc-js ends a call at its own deadline; if the wall clock was stepped it may not, and then this much later we do. */
const DEADLINE_GRACE_MS = 50;

/** A method of a generated service definition, for example `AgentServiceService.order`. */
export interface RpcMethod<Request, Response> {
  readonly path: string;
  readonly requestSerialize: (value: Request) => Buffer;
  readonly responseDeserialize: (bytes: Buffer) => Response;
}

export interface DialOptions {
  /** How connections are secured. Default: not at all. */
  readonly link?: Link;
  /** HTTP/2 pings while calls are open: each `timeMs`, and the connection is given up `timeoutMs` after one without answer. Default: none. */
  readonly keepalive?: { readonly timeMs: number; readonly timeoutMs: number };
}

/** Asked for each fresh connection, so that the newest certificate is shown. */
export interface Link {
  credentials(): ChannelCredentials;
  /** Another number = a newer certificate: calls that begin from now on go over a fresh connection, those under way stay on theirs. */
  version(): number;
}

export interface FollowOptions {
  /** A stream without a message for so long is dropped and opened again; null = silence is normal. */
  readonly silentAfterMs: number | null;
  /** An attempt whose first message does not come within this is given up. */
  readonly firstMessageMs: number;
}

export interface FollowHandlers<Response> {
  message(value: Response): void;
  /** The stream ended, fell silent or could not be opened. Called for each attempt; the next one follows by itself. */
  down(error: RpcError): void;
}

export interface Line {
  readonly address: string;
  call<Request, Response>(method: RpcMethod<Request, Response>, request: Request, deadlineMs: number): Promise<Result<Response, RpcError>>;
  /** Keeps a server stream open until closed, over fresh connections. Handlers are not called after `close`. */
  follow<Request, Response>(
    method: RpcMethod<Request, Response>,
    request: Request,
    options: FollowOptions,
    handlers: FollowHandlers<Response>,
  ): { close(): void };
  /** Ends all streams; calls under way come to their end. */
  close(): void;
}

/** Opens no connection before the first call. `address` is `host:port`. */
export function dial(ports: { readonly clock: Clock; readonly random: Random }, address: string, options: DialOptions = {}): Line {
  endSilentConnections();
  const { clock, random } = ports;
  const streams = new Set<() => void>();
  let connection: Connection | null = null;
  let closed = false;

  /** For one call more; `release` when it is over. */
  function current(): Connection {
    const version = options.link?.version() ?? 0;
    if (connection !== null && connection.version !== version) {
      connection.isRetired = true;
      closeUnused(connection);
      connection = null;
    }
    connection ??= {
      client: new Client(address, options.link?.credentials() ?? grpcCredentials.createInsecure(), channelOptions(options)),
      version,
      calls: 0,
      isRetired: false,
    };
    connection.calls += 1;
    return connection;
  }

  function release(used: Connection): void {
    used.calls -= 1;
    closeUnused(used);
  }

  /** Only the connection that failed is dropped: another call may have opened a fresh one meanwhile. */
  function drop(failed: Connection): void {
    if (connection === failed) connection = null;
    failed.client.close();
  }

  function call<Request, Response>(
    method: RpcMethod<Request, Response>,
    request: Request,
    deadlineMs: number,
  ): Promise<Result<Response, RpcError>> {
    if (closed) return Promise.resolve(fail({ kind: 'unavailable', detail: 'the line is closed' }));
    const used = current();
    return new Promise((resolve) => {
      const cancelGrace = clock.after(deadlineMs + DEADLINE_GRACE_MS, () => {
        drop(used);
        under.cancel();
        resolve(fail({ kind: 'deadline', detail: `no answer within ${deadlineMs} ms` }));
      });
      const under = used.client.makeUnaryRequest(
        method.path,
        method.requestSerialize,
        method.responseDeserialize,
        request,
        new Metadata(),
        { deadline: Date.now() + deadlineMs },
        (error, value) => {
          cancelGrace();
          release(used);
          if (error === null && value !== undefined) return resolve(ok(value));
          const failure: RpcError = error === null ? { kind: 'lost', detail: 'an answer without a message' } : rpcErrorOf(error);
          if (failure.kind !== 'refused') drop(used);
          resolve(fail(failure));
        },
      );
    });
  }

  function follow<Request, Response>(
    method: RpcMethod<Request, Response>,
    request: Request,
    { silentAfterMs, firstMessageMs }: FollowOptions,
    handlers: FollowHandlers<Response>,
  ): { close(): void } {
    let backoffMs = BACKOFF_FIRST_MS;
    let end: () => void = () => undefined;

    function attempt(): void {
      const used = current();
      const stream = used.client.makeServerStreamRequest(
        method.path,
        method.requestSerialize,
        method.responseDeserialize,
        request,
        new Metadata(),
        {},
      );
      let over = false;
      const first = watchSilence(clock, firstMessageMs, () =>
        down({ kind: 'deadline', detail: `no first message within ${firstMessageMs} ms` }),
      );
      let silence = first;
      const down = (error: RpcError): void => {
        if (over) return;
        finish();
        drop(used);
        const waitMs = backoffMs * (0.5 + random.fraction() / 2);
        backoffMs = Math.min(backoffMs * 2, BACKOFF_LAST_MS);
        end = clock.after(waitMs, attempt);
        handlers.down(error);
      };
      const finish = (): void => {
        if (!over) release(used);
        over = true;
        silence.stop();
        stream.cancel();
      };
      stream.on('data', (value: Response) => {
        if (over) return;
        if (silence === first) {
          first.stop();
          backoffMs = BACKOFF_FIRST_MS;
          silence =
            silentAfterMs === null
              ? { heard: () => undefined, stop: () => undefined }
              : watchSilence(clock, silentAfterMs, (ms) => down({ kind: 'deadline', detail: `silent for ${Math.round(ms)} ms` }));
        }
        silence.heard();
        handlers.message(value);
      });
      // The error after our own cancel arrives as well and must not end the process.
      stream.on('error', (error) => down(rpcErrorOf(error as Parameters<typeof rpcErrorOf>[0])));
      stream.on('end', () => down({ kind: 'lost', detail: 'the server ended the stream' }));
      end = finish;
    }

    const close = (): void => {
      streams.delete(close);
      end();
    };
    if (!closed) {
      streams.add(close);
      attempt();
    }
    return { close };
  }

  return {
    address,
    call,
    follow,
    close: () => {
      closed = true;
      for (const each of [...streams]) each();
      connection?.client.close();
      connection = null;
    },
  };
}

interface Connection {
  readonly client: Client;
  readonly version: number;
  calls: number;
  /** A newer certificate has taken its place. */
  isRetired: boolean;
}

function closeUnused(connection: Connection): void {
  if (connection.isRetired && connection.calls === 0) connection.client.close();
}

function channelOptions(options: DialOptions): ChannelOptions {
  return {
    // Without a pool of its own a fresh client would get the old, half-dead connection back.
    'grpc.use_local_subchannel_pool': 1,
    'grpc.initial_reconnect_backoff_ms': BACKOFF_FIRST_MS,
    'grpc.min_reconnect_backoff_ms': BACKOFF_FIRST_MS,
    'grpc.max_reconnect_backoff_ms': BACKOFF_LAST_MS,
    // The members of a cluster are reached directly, whatever proxy the environment names for the web.
    'grpc.enable_http_proxy': 0,
    // A call that may have been carried out must not be repeated behind our back.
    'grpc.enable_retries': 0,
    'grpc.max_receive_message_length': RPC_MESSAGE_BYTES,
    'grpc.max_send_message_length': RPC_MESSAGE_BYTES,
    // Who answers is told by the certificate's role. Node complains of an address as the name, so it is given none that means anything.
    'grpc.ssl_target_name_override': 'colo',
    ...(options.keepalive === undefined
      ? {}
      : { 'grpc.keepalive_time_ms': options.keepalive.timeMs, 'grpc.keepalive_timeout_ms': options.keepalive.timeoutMs }),
  };
}
