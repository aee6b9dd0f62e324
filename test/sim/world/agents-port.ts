// The coordinator's end of the wire: the Agents port over the simulated network. It judges whether an agent is heard as the real one does
// (coordinator/io/agents.ts over shared/io/rpc/client.ts): by the product's own silence watch, with the same bounds.

import type { HostLink } from '../../../coordinator/core/link.js';
import type { AgentHandlers, Agents, OrderOutcome } from '../../../coordinator/ports.js';
import { ORDER_MS, STREAM_SILENT_AFTER_MS } from '../../../shared/core/limits.js';
import type { HostKey, HostReport, Order, OrderAnswer } from '../../../shared/core/model.js';
import { watchSilence, type SilenceWatch } from '../../../shared/silence.js';
import { openStream, type AgentServer, type ReportStream } from './agent-server.js';
import type { Kernel } from './kernel.js';
import { never, type Life } from './life.js';
import type { Network } from './network.js';

const FIRST_REPORT_MS = 450;
const BACKOFF_FIRST_MS = 50;
const BACKOFF_LAST_MS = 500;

export interface AgentsPlace {
  readonly kernel: Kernel;
  readonly network: Network;
  /** The agent that listens at an address; null = nobody does. */
  agentAt(address: string): AgentServer | null;
  /** The machine that has this address. */
  machineOf(address: string): string;
  /** An agent has answered an order. */
  answered(host: string, order: Order, answer: OrderAnswer): void;
}

interface Followed {
  readonly key: HostKey;
  link: HostLink;
  closed: boolean;
  backoffMs: number;
  silence: SilenceWatch | null;
  stream: ReportStream | null;
  cancelRetry: () => void;
}

export function simulatedAgents(place: AgentsPlace, life: Life, handlers: AgentHandlers): Agents {
  const { kernel, network } = place;
  const followed = new Map<string, Followed>();

  function attempt(entry: Followed): void {
    if (entry.closed) return;
    const machine = place.machineOf(entry.key.agentAddress);
    let over = false;
    let first = true;
    const down = (): void => {
      if (over) return;
      over = true;
      entry.silence?.stop();
      entry.stream?.close();
      entry.stream = null;
      const waitMs = entry.backoffMs * (0.5 + life.random.fraction() / 2);
      entry.backoffMs = Math.min(entry.backoffMs * 2, BACKOFF_LAST_MS);
      entry.cancelRetry = life.clock.after(waitMs, () => attempt(entry));
      if (!entry.link.heard) return;
      entry.link = { ...entry.link, heard: false };
      handlers.changed(entry.key.host);
    };
    entry.silence = watchSilence(life.clock, FIRST_REPORT_MS, down);
    const arrive = (report: HostReport): void =>
      life.deliver(() => {
        if (over || entry.closed) return;
        if (first) {
          first = false;
          entry.silence?.stop();
          entry.backoffMs = BACKOFF_FIRST_MS;
          entry.silence = watchSilence(life.clock, STREAM_SILENT_AFTER_MS, down);
        }
        entry.silence?.heard();
        accept(entry, report);
      });
    life.act(
      `watch ${entry.key.host}`,
      () =>
        network.send('mgmt', life.machine, machine, () => {
          if (over || !life.alive) return;
          const server = place.agentAt(entry.key.agentAddress);
          if (server === null) network.send('mgmt', machine, life.machine, () => life.deliver(down));
          else
            server.life.deliver(() => {
              if (over || !life.alive || entry.stream !== null) return;
              entry.stream = openStream(kernel, network, server, life.machine, arrive, () => life.deliver(down));
            });
        }),
      undefined,
    );
  }

  function accept(entry: Followed, report: HostReport): void {
    if (report.host !== entry.key.host || report.hostId !== entry.key.hostId) return;
    entry.link = { host: entry.key.host, heard: true, lastReportAt: life.clock.now(), report, strange: [] };
    handlers.changed(entry.key.host);
  }

  function close(entry: Followed): void {
    entry.closed = true;
    entry.silence?.stop();
    entry.stream?.close();
    entry.cancelRetry();
    followed.delete(entry.key.host);
  }

  /** One call: its request and its answer travel alone, and after the deadline nobody waits for it. */
  function call<T>(name: string, entry: Followed, deadlineMs: number, serve: (server: AgentServer) => Promise<T>): Promise<T | null> {
    const machine = place.machineOf(entry.key.agentAddress);
    return life.act(
      name,
      () =>
        new Promise<T | null>((resolve) => {
          const cancel = life.clock.after(deadlineMs, () => resolve(null));
          const answer = (value: T | null): void =>
            network.send('mgmt', machine, life.machine, () =>
              life.deliver(() => {
                cancel();
                resolve(value);
              }),
            );
          network.send('mgmt', life.machine, machine, () => {
            const server = place.agentAt(entry.key.agentAddress);
            if (server === null) answer(null);
            else server.life.deliver(() => void serve(server).then(answer));
          });
        }),
      never(),
    );
  }

  return {
    follow: (hosts) => {
      const wanted = new Map(hosts.map((each) => [each.host, each]));
      for (const entry of [...followed.values()]) {
        const key = wanted.get(entry.key.host);
        if (key !== undefined && key.agentAddress === entry.key.agentAddress && key.hostId === entry.key.hostId) wanted.delete(key.host);
        else close(entry);
      }
      for (const key of wanted.values()) {
        const link: HostLink = { host: key.host, heard: false, lastReportAt: null, report: null, strange: [] };
        const entry: Followed = {
          key,
          link,
          closed: false,
          backoffMs: BACKOFF_FIRST_MS,
          silence: null,
          stream: null,
          cancelRetry: () => undefined,
        };
        followed.set(key.host, entry);
        attempt(entry);
      }
    },
    links: () => new Map([...followed.values()].map((each) => [each.key.host, each.link])),
    order: async (host: string, order: Order): Promise<OrderOutcome> => {
      const entry = followed.get(host);
      if (entry === undefined) return { kind: 'lost', detail: `host ${host} is not followed` };
      const answer = await call(`order ${order.goal.kind}`, entry, ORDER_MS, async (server) => {
        const given = await server.face.order(order);
        place.answered(server.life.machine, order, given);
        return given;
      });
      return answer ?? { kind: 'lost', detail: 'no answer' };
    },
    probe: async (host, vm, deadlineMs) => {
      const entry = followed.get(host);
      if (entry === undefined) return;
      const report = await call('probe', entry, deadlineMs, (server) => server.face.probe(vm).then(() => server.face.report()));
      if (report !== null) accept(entry, report);
    },
    close: () => {
      for (const each of [...followed.values()]) close(each);
    },
  };
}
