// A follower's evidence about the leading coordinator: a health stream over a connection that is pinged many times a second. A refusal or
// a silence is looked at once more with a short call before it counts, because this process may itself have been asleep.

import { service as healthService } from 'grpc-health-check';
import { dial, type Line, type RpcMethod } from '../../shared/io/rpc/client.js';
import { describeRpcError } from '../../shared/io/rpc/errors.js';
import { insecureLab, linkTo, type Security } from '../../shared/io/rpc/security.js';
import type { Clock, Log, Random } from '../../shared/ports.js';

/** One ping in so many milliseconds, and so long without an answer is silence. A follower's own cost: about 0.3 % of a core. */
const KEEPALIVE = { timeMs: 100, timeoutMs: 150 };
const FIRST_ANSWER_MS = 300;
/** The second look. A refused connection answers within a few milliseconds; only a dark or hung leader takes the whole time. */
const SECOND_LOOK_MS = 150;

interface HealthRequest {
  readonly service: string;
}
interface HealthAnswer {
  readonly status: string;
}

export interface LeaderWatch {
  /** Watches the coordinator at this address from now on; null = nobody else leads. */
  follow(address: string | null): void;
  close(): void;
}

export interface LeaderWatchHandlers {
  /** Repeated while it lasts. */
  suspected(reason: string): void;
  heard(): void;
}

export function createLeaderWatch(
  ports: { readonly clock: Clock; readonly random: Random; readonly log: Log },
  handlers: LeaderWatchHandlers,
  security: Security = insecureLab,
): LeaderWatch {
  let watched: { readonly address: string; readonly line: Line } | null = null;

  function open(address: string): void {
    const line = dial(ports, address, { link: linkTo(security, { role: 'coordinator', name: null }), keepalive: KEEPALIVE });
    const mine = { address, line };
    watched = mine;
    line.follow(
      healthMethod('Watch'),
      { service: '' },
      // Silence of the stream itself is normal: health speaks only when it changes. The pings tell.
      { silentAfterMs: null, firstMessageMs: FIRST_ANSWER_MS },
      {
        message: () => handlers.heard(),
        down: (error) => void lookAgain(mine, describeRpcError(error)),
      },
    );
  }

  async function lookAgain(mine: { readonly address: string; readonly line: Line }, reason: string): Promise<void> {
    const answer = await mine.line.call(healthMethod('Check'), { service: '' }, SECOND_LOOK_MS);
    if (watched !== mine) return;
    // Any answer is a sign of life. One that is closing down resigns by itself.
    if (answer.ok || answer.error.kind === 'refused') handlers.heard();
    else handlers.suspected(`leader at ${mine.address}: ${reason}; then ${describeRpcError(answer.error)}`);
  }

  return {
    follow: (address) => {
      if (watched?.address === address || (watched === null && address === null)) return;
      watched?.line.close();
      watched = null;
      if (address !== null) open(address);
    },
    close: () => {
      watched?.line.close();
      watched = null;
    },
  };
}

function healthMethod(name: 'Watch' | 'Check'): RpcMethod<HealthRequest, HealthAnswer> {
  const method = healthService[name];
  if (method === undefined) throw new Error(`grpc-health-check has no method ${name}`);
  return {
    path: method.path,
    requestSerialize: (value) => method.requestSerialize(value),
    responseDeserialize: (bytes) => method.responseDeserialize(bytes) as unknown as HealthAnswer,
  };
}
