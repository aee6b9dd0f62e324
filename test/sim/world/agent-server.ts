// The agent's end of the wire: what the gRPC service does with the agent's loop (agent/io/rpc-service.ts), over the simulated network.
// Streams keep their order and stand still while their way is cut; calls go each on its own and may be lost, doubled or overtaken.

import { REPORT_INTERVAL_MS } from '../../../shared/core/limits.js';
import type { HostReport, Order, OrderAnswer } from '../../../shared/core/model.js';
import type { Kernel } from './kernel.js';
import type { Life } from './life.js';
import type { Network } from './network.js';

/** What the service needs of the agent's loop. */
export interface AgentFace {
  report(): HostReport;
  subscribe(changed: () => void): () => void;
  order(order: Order): Promise<OrderAnswer>;
  probe(vm: string): Promise<void>;
}

export interface AgentServer {
  readonly life: Life;
  readonly face: AgentFace;
}

export interface ReportStream {
  /** The reader has gone. */
  close(): void;
}

/**
 * Opens a stream of reports towards `machine`. `arrive` is called for each report that gets there, `ended` once when the server's end is
 * closed and that can be seen from there.
 */
export function openStream(
  kernel: Kernel,
  network: Network,
  server: AgentServer,
  machine: string,
  arrive: (report: HostReport) => void,
  ended: () => void,
): ReportStream {
  const { life, face } = server;
  const host = life.machine;
  let open = true;
  let due = false;
  let scheduled = false;
  let cancelInterval: () => void = () => undefined;
  /** Reports on their way, in order; they wait where the way is cut. */
  const way: HostReport[] = [];
  let lastArrival = 0;

  function send(): void {
    if (!open || !life.alive || !due) return;
    due = false;
    cancelInterval();
    cancelInterval = life.clock.after(REPORT_INTERVAL_MS, () => {
      due = true;
      send();
    });
    way.push(face.report());
    carry();
  }

  function carry(): void {
    if (!network.passesBothWays('mgmt', host, machine)) return;
    while (way.length > 0) {
      const report = way.shift();
      lastArrival = Math.max(lastArrival + 0.01, kernel.now + network.delayMs());
      kernel.after(lastArrival - kernel.now, () => {
        if (!open || report === undefined) return;
        if (network.passesBothWays('mgmt', host, machine)) arrive(report);
        else way.push(report);
      });
    }
    if (!life.alive) end();
  }

  function end(): void {
    network.onChange.delete(carry);
    life.onDeath.delete(carry);
    if (!open) return;
    kernel.after(network.delayMs(), () => {
      if (open && network.passesBothWays('mgmt', host, machine)) ended();
    });
  }

  const unsubscribe = face.subscribe(() => {
    due = true;
    if (scheduled) return;
    // Many changes of one turn of the event loop become one report.
    scheduled = true;
    life.clock.after(0, () => {
      scheduled = false;
      send();
    });
  });
  network.onChange.add(carry);
  life.onDeath.add(carry);
  due = true;
  send();
  return {
    close: () => {
      open = false;
      network.onChange.delete(carry);
      life.onDeath.delete(carry);
      cancelInterval();
      unsubscribe();
    },
  };
}
