// The agent's gRPC service: reports to whoever watches, orders and probes in. It carries and checks messages and decides nothing. A report
// replaces the one before it, so a slow reader gets fewer of them, never a queue.

import { status, type handleServerStreamingCall, type handleUnaryCall, type ServerWritableStream } from '@grpc/grpc-js';
import { REPORT_INTERVAL_MS } from '../../shared/core/limits.js';
import type { CertificateReport, HostReport, Order, OrderAnswer } from '../../shared/core/model.js';
import {
  AgentServiceService,
  type AgentServiceServer,
  type GetHostRequest,
  type HostReport as HostMessage,
  type OrderReply,
  type OrderRequest,
  type ProbeRequest,
  type WatchRequest,
} from '../../shared/gen/colo/v1/agent.js';
import type { Served } from '../../shared/io/rpc/server.js';
import { answerToWire, orderFromWire } from '../../shared/io/wire/order.js';
import { reportToWire } from '../../shared/io/wire/report.js';
import type { Clock, Log } from '../../shared/ports.js';

/** A reader may ask for reports more often than the default, within this. */
const INTERVAL_FLOOR_MS = 50;
const INTERVAL_CEILING_MS = 10_000;

/** What the service needs of the agent. */
export interface AgentFace {
  /** The state of the host as it is now. */
  report(): HostReport;
  /** Calls back after each change that a report would show. Returns what ends it. */
  subscribe(changed: () => void): () => void;
  /** Answers when the order is journalled, or refused. */
  order(order: Order): Promise<OrderAnswer>;
  /** Looks at one VM now; the report made afterwards shows what was seen. An unknown VM is no error. */
  probe(vm: string): Promise<void>;
}

/** `certificate`: this agent's own, told with each report. */
export function agentService(
  ports: { readonly clock: Clock; readonly log: Log },
  face: AgentFace,
  certificate: () => CertificateReport | null = () => null,
): Served {
  const { clock, log } = ports;
  const report = (): HostMessage => reportToWire({ ...face.report(), certificate: certificate() });

  const watch: handleServerStreamingCall<WatchRequest, HostMessage> = (call) => {
    const asked = call.request.intervalMs === 0 ? REPORT_INTERVAL_MS : call.request.intervalMs;
    push(clock, face, report, call, Math.min(INTERVAL_CEILING_MS, Math.max(INTERVAL_FLOOR_MS, asked)));
  };

  const getHost: handleUnaryCall<GetHostRequest, HostMessage> = (_call, answer) => answer(null, report());

  const order: handleUnaryCall<OrderRequest, OrderReply> = (call, answer) => {
    const read = orderFromWire(call.request);
    if (!read.ok) {
      log.warn({ vm: call.request.vm, problems: read.error }, 'order-unreadable');
      answer(null, answerToWire({ kind: 'refused', refusal: 'invalid', detail: read.error.join('; ') }));
      return;
    }
    face.order(read.value).then(
      (given) => answer(null, answerToWire(given)),
      (error: unknown) => failed('order', error, answer),
    );
  };

  const probe: handleUnaryCall<ProbeRequest, HostMessage> = (call, answer) => {
    face.probe(call.request.vm).then(
      () => answer(null, report()),
      (error: unknown) => failed('probe', error, answer),
    );
  };

  function failed(method: string, error: unknown, answer: (error: { code: status; details: string }) => void): void {
    log.error({ method, error }, 'rpc-handler-failed');
    answer({ code: status.INTERNAL, details: error instanceof Error ? error.message : String(error) });
  }

  const implementation: AgentServiceServer = { watch, getHost, order, probe };
  return { name: 'colo.v1.AgentService', definition: AgentServiceService, implementation };
}

/** Sends a report at once, after each change, and at least each interval; never more than one is on its way. */
function push(
  clock: Clock,
  face: AgentFace,
  report: () => HostMessage,
  call: ServerWritableStream<WatchRequest, HostMessage>,
  intervalMs: number,
): void {
  let due = true;
  let sending = false;
  let scheduled = false;
  let ended = false;
  let cancelInterval: () => void = () => undefined;

  const unsubscribe = face.subscribe(() => {
    due = true;
    if (scheduled || sending) return;
    // Many changes of one turn of the event loop become one report.
    scheduled = true;
    setImmediate(() => {
      scheduled = false;
      send();
    });
  });

  function send(): void {
    if (ended || sending || !due) return;
    due = false;
    sending = true;
    cancelInterval();
    cancelInterval = clock.after(intervalMs, () => {
      due = true;
      send();
    });
    call.write(report(), () => {
      sending = false;
      send();
    });
  }

  function end(): void {
    ended = true;
    unsubscribe();
    cancelInterval();
  }
  call.on('cancelled', end);
  call.on('close', end);
  // A reader that went away in the middle of a write.
  call.on('error', end);
  send();
}
