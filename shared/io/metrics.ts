// Serves a daemon's figures to Prometheus: HTTP in the open, GET /metrics and nothing else, because whoever scrapes has no certificate of ours. It
// tells and takes nothing. Who is slow, or many, is cut off: it may cost the daemon neither time nor sockets.

import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { exposition, type Metric } from '../core/metrics.js';
import { newcomers } from '../core/newcomers.js';
import { fail, ok, type Result } from '../core/result.js';
import type { Rate } from '../core/token-bucket.js';
import type { Clock, Log } from '../ports.js';

export interface MetricsLimits {
  readonly connections: number;
  /** From the connection to the whole request. */
  readonly requestMs: number;
  /** And to the end of the answer, for a reader that does not read. */
  readonly answerMs: number;
  /** New connections of one address. Prometheus makes one in some seconds; an answer costs about a millisecond. */
  readonly newcomers: Rate;
}

export const METRICS_LIMITS: MetricsLimits = {
  connections: 16,
  requestMs: 2_000,
  answerMs: 5_000,
  newcomers: { perSecond: 5, burst: 40 },
};
/** A request of Prometheus has a few hundred bytes. */
const MOST_HEADER_BYTES = 4_096;

export interface MetricsServer {
  readonly port: number;
  close(): void;
}

/** `address`: `ADDRESS:PORT`. The figures are asked for at each request. */
export function serveMetrics(
  { clock, log }: { readonly clock: Clock; readonly log: Log },
  address: string,
  metrics: () => readonly Metric[],
  limits: MetricsLimits = METRICS_LIMITS,
): Promise<Result<MetricsServer, string>> {
  const server = createServer(
    {
      headersTimeout: limits.requestMs,
      requestTimeout: limits.requestMs,
      connectionsCheckingInterval: Math.ceil(limits.requestMs / 4),
      maxHeaderSize: MOST_HEADER_BYTES,
      keepAlive: false,
    },
    (request, answer) => {
      // One answer a connection, so that nobody holds one of the few.
      answer.setHeader('Connection', 'close');
      request.resume();
      if (request.method !== 'GET' && request.method !== 'HEAD') return void answer.writeHead(405, { Allow: 'GET, HEAD' }).end();
      if (new URL(request.url ?? '/', 'http://metrics').pathname !== '/metrics') return void answer.writeHead(404).end();
      answer.setHeader('Content-Type', 'text/plain; version=0.0.4; charset=utf-8');
      answer.end(exposition(metrics()));
    },
  );
  server.maxConnections = limits.connections;
  const isWelcome = newcomers(() => clock.now(), limits.newcomers);
  server.on('connection', (socket) => {
    if (!isWelcome(socket.remoteAddress ?? '?')) return void socket.destroy();
    const cut = setTimeout(() => socket.destroy(), limits.answerMs);
    socket.on('close', () => clearTimeout(cut));
  });
  server.on('clientError', (_error, socket) => socket.destroy());
  const at = address.lastIndexOf(':');
  return new Promise((resolve) => {
    server.on('error', (error) => {
      // Also later, for want of file descriptors, it is no end of the daemon.
      if (server.listening) return log.warn({ detail: error.message }, 'metrics-trouble');
      resolve(fail(`cannot listen on ${address}: ${error.message}`));
    });
    server.listen({ host: address.slice(0, at).replace(/^\[(.*)\]$/, '$1'), port: Number(address.slice(at + 1)) }, () =>
      resolve(
        ok({
          port: (server.address() as AddressInfo).port,
          close: () => {
            server.close();
            server.closeAllConnections();
          },
        }),
      ),
    );
  });
}
