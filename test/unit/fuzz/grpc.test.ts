// Both services on a real gRPC server, called with bytes: rubbish, good messages with bits turned over, cut off, with fields that nobody knows,
// and too large ones. Every call is answered, no handler throws, nothing that cannot be read again is written, and the server goes on.

import { Client, credentials, status, type ServiceError } from '@grpc/grpc-js';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { agentService } from '../../../agent/io/rpc-service.js';
import { RPC_MESSAGE_BYTES } from '../../../shared/core/limits.js';
import type { Order } from '../../../shared/core/model.js';
import { AgentServiceService, OrderRequest, ProbeRequest, WatchRequest } from '../../../shared/gen/colo/v1/agent.js';
import {
  ChangeVmRequest,
  CoordinatorServiceService,
  DefineVmRequest,
  ForceFailoverRequest,
  ListHistoryRequest,
  RecoverRequest,
} from '../../../shared/gen/colo/v1/coordinator.js';
import { systemClock } from '../../../shared/io/clock.js';
import { GUARD_LIMITS } from '../../../shared/io/rpc/guard.js';
import { insecureLab } from '../../../shared/io/rpc/security.js';
import { serveGrpc, type GrpcServer } from '../../../shared/io/rpc/server.js';
import { orderToWire } from '../../../shared/io/wire/order.js';
import { specToWire } from '../../../shared/io/wire/spec.js';
import { fakeLog } from '../../fakes/clock.js';
import { aCluster, aRecord, aWish } from '../../support/cluster.js';
import { aSpec } from '../../support/spec.js';
import { waitFor } from '../../support/wait.js';
import { aReport } from '../rpc/support.js';
import { order } from '../shared/arbitrary.js';
import { cases, patienceMs } from './fuzz.js';

const ANSWER_MS = 5_000;
const log = fakeLog();
const cluster = aCluster();
const taken: Order[] = [];
let server: GrpcServer;
let client: Client;

beforeAll(async () => {
  cluster.wish(aWish());
  cluster.record(aRecord());
  await cluster.settle();
  const face = {
    report: () => aReport(),
    subscribe: () => () => undefined,
    order: (given: Order) => {
      taken.push(given);
      return Promise.resolve({ kind: 'accepted' as const });
    },
    probe: () => Promise.resolve(),
  };
  const coordinator = { name: 'colo.v1.CoordinatorService', definition: CoordinatorServiceService, implementation: cluster.api.service };
  const served = await serveGrpc(
    { clock: systemClock(), log },
    {
      address: '127.0.0.1:0',
      security: insecureLab,
      // One caller makes all the calls here, as fast as it can.
      limits: { guard: { ...GUARD_LIMITS, calls: { perSecond: 1e6, burst: 1e6 }, callsAtOnce: 1e6, streamsAtOnce: 1e6 } },
      services: [agentService({ clock: systemClock(), log }, face), coordinator],
    },
  );
  if (!served.ok) throw new Error(served.error);
  server = served.value;
  client = new Client(`127.0.0.1:${server.port}`, credentials.createInsecure(), { 'grpc.max_send_message_length': -1 });
});
afterAll(async () => {
  client.close();
  await server.close(0);
});

const METHODS = [...Object.values(AgentServiceService), ...Object.values(CoordinatorServiceService)].map(({ path, responseStream }) => ({
  path,
  responseStream,
}));

type Answer = { readonly code: status; readonly details: string };

/** Until the call ends or, of a stream, its first message comes; the coordinator's virtual time goes on meanwhile. */
async function call(path: string, responseStream: boolean, bytes: Buffer): Promise<Answer> {
  let answer: Answer | null = null;
  const settle = (error: ServiceError | null): void => {
    answer ??= error === null ? { code: status.OK, details: '' } : { code: error.code, details: error.details };
  };
  const same = (value: Buffer): Buffer => value;
  if (responseStream) {
    const stream = client.makeServerStreamRequest(path, same, same, bytes);
    stream.on('data', () => {
      settle(null);
      stream.cancel();
    });
    stream.on('error', (error) => settle(error as ServiceError));
  } else client.makeUnaryRequest(path, same, same, bytes, (error) => settle(error));
  const tick = async (): Promise<Answer | null> => {
    await cluster.clock.advance(20);
    return answer;
  };
  return waitFor(tick, { what: `an answer of ${path} to ${bytes.toString('hex').slice(0, 200)}`, boundMs: ANSWER_MS, everyMs: 1 });
}

const wireSpec = specToWire(aSpec());
const GOOD: readonly Uint8Array[] = [
  WatchRequest.encode({ intervalMs: 50 }).finish(),
  ProbeRequest.encode({ vm: 'web' }).finish(),
  DefineVmRequest.encode(DefineVmRequest.fromPartial({ spec: wireSpec })).finish(),
  ChangeVmRequest.encode(ChangeVmRequest.fromPartial({ name: 'web' })).finish(),
  ListHistoryRequest.encode(ListHistoryRequest.fromPartial({ vm: 'web', limit: 3 })).finish(),
  ForceFailoverRequest.encode(ForceFailoverRequest.fromPartial({ name: 'web', declaredOff: ['a'] })).finish(),
  RecoverRequest.encode(RecoverRequest.fromPartial({ vms: ['web'] })).finish(),
];
const good = fc.oneof(
  fc.constantFrom(...GOOD),
  order.map((each) => OrderRequest.encode(orderToWire(each)).finish()),
);
/** Field 999 with a number, and field 1000 with a text. */
const UNKNOWN = Buffer.from([0xb8, 0x3e, 0x07, 0xc2, 0x3e, 0x01, 0x41]);
const flip = fc.record({ at: fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }), bits: fc.integer({ min: 1, max: 255 }) });
const message = fc.oneof(
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 60 }) },
  { weight: 1, arbitrary: good.map((bytes) => Buffer.concat([bytes, UNKNOWN])) },
  {
    weight: 1,
    arbitrary: fc
      .tuple(good, fc.double({ min: 0, max: 1, noNaN: true }))
      .map(([bytes, part]) => bytes.slice(0, Math.floor(part * bytes.length))),
  },
  {
    weight: 4,
    arbitrary: fc.tuple(good, fc.array(flip, { minLength: 1, maxLength: 3 })).map(([bytes, flips]) => {
      const changed = Uint8Array.from(bytes);
      for (const { at, bits } of flips) {
        const index = Math.floor(at * changed.length);
        changed[index] = (changed[index] ?? 0) ^ bits;
      }
      return changed;
    }),
  },
);

async function expectAlive(): Promise<void> {
  expect(await call('/colo.v1.AgentService/GetHost', false, Buffer.alloc(0))).toEqual({ code: status.OK, details: '' });
  expect(await call('/colo.v1.CoordinatorService/GetStatus', false, Buffer.alloc(0))).toEqual({ code: status.OK, details: '' });
  expect(log.lines.filter((each) => each.event === 'rpc-handler-failed')).toEqual([]);
  // Nothing was written that this version could not read again.
  expect(cluster.api.summary().problem?.text ?? '').not.toMatch(/invalid|format|not JSON|: .*: /);
}

describe('a gRPC server of ours', () => {
  it('called with any bytes -> answers each call, no handler throws, and it goes on', { timeout: patienceMs }, async () => {
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...METHODS), message, async ({ path, responseStream }, bytes) => {
        const { code, details } = await call(path, responseStream, Buffer.from(bytes));
        expect(code).not.toBe(status.UNKNOWN);
        if (code === status.INTERNAL) expect(details).toMatch(/deserializ/i);
        else if (code !== status.OK) expect(details).not.toBe('');
        for (const each of taken.splice(0)) expect(Number.isSafeInteger(each.epoch) && Number.isSafeInteger(each.term)).toBe(true);
      }),
      cases(150),
    );
    await expectAlive();
  });

  it('called with a message above the limit -> refuses it, and goes on', { timeout: patienceMs }, async () => {
    for (const { path, responseStream } of METHODS.slice(0, 6)) {
      const { code } = await call(path, responseStream, Buffer.alloc(RPC_MESSAGE_BYTES + 1, 0x0a));
      expect(code).toBe(status.RESOURCE_EXHAUSTED);
    }
    await expectAlive();
  });
});
