// The coordinator's ears and hands: one stream of reports from each agent, and orders and probes to it. It judges only whether a stream is
// heard; what a silence means is decided elsewhere. Followers of the leader hold these streams too, so that they are warm.

import { ORDER_MS, REPORT_INTERVAL_MS, STREAM_SILENT_AFTER_MS } from '../../shared/core/limits.js';
import type { HostKey, Order } from '../../shared/core/model.js';
import { AgentServiceService, type HostReport as HostMessage } from '../../shared/gen/colo/v1/agent.js';
import { dial, type Line } from '../../shared/io/rpc/client.js';
import { describeRpcError } from '../../shared/io/rpc/errors.js';
import { insecureLab, linkTo, type Security } from '../../shared/io/rpc/security.js';
import { answerFromWire, orderToWire } from '../../shared/io/wire/order.js';
import { reportFromWire, type ReadReport } from '../../shared/io/wire/report.js';
import type { Clock, Log, Random } from '../../shared/ports.js';
import type { HostLink } from '../core/link.js';
import type { AgentHandlers, Agents, OrderOutcome } from '../ports.js';

/** An attempt to open a stream whose first report does not come within this is given up for a fresh one. */
const FIRST_REPORT_MS = 450;

interface Followed {
  readonly key: HostKey;
  readonly line: Line;
  link: HostLink;
  /** The last complaint that was logged, so that a fault is logged when it begins and not at each attempt. */
  complaint: string | null;
}

export function createAgents(
  ports: { readonly clock: Clock; readonly random: Random; readonly log: Log },
  handlers: AgentHandlers,
  options: { readonly security?: Security; readonly silentAfterMs?: number } = {},
): Agents {
  const { clock, log } = ports;
  const followed = new Map<string, Followed>();

  function open(key: HostKey): void {
    const entry: Followed = {
      key,
      // Whoever answers must have the certificate of this host's agent, whatever the store says of its address.
      line: dial(ports, key.agentAddress, { link: linkTo(options.security ?? insecureLab, { role: 'agent', name: key.host }) }),
      link: { host: key.host, heard: false, lastReportAt: null, report: null, strange: [] },
      complaint: null,
    };
    followed.set(key.host, entry);
    entry.line.follow(
      AgentServiceService.watch,
      { intervalMs: REPORT_INTERVAL_MS },
      { silentAfterMs: options.silentAfterMs ?? STREAM_SILENT_AFTER_MS, firstMessageMs: FIRST_REPORT_MS },
      {
        message: (message) => accept(entry, message),
        down: (error) => unheard(entry, describeRpcError(error)),
      },
    );
  }

  function accept(entry: Followed, message: HostMessage): void {
    const read = reportFromWire(message);
    if (!read.ok) return unheard(entry, `unreadable report: ${read.error.join('; ')}`);
    const { report, strange }: ReadReport = read.value;
    // Another machine may answer at an address that was given away.
    if (report.host !== entry.key.host || report.hostId !== entry.key.hostId) {
      return unheard(entry, `${entry.key.agentAddress} answers as host ${report.host} with id ${report.hostId}`);
    }
    if (!entry.link.heard) log.info({ host: entry.key.host, session: report.session }, 'agent-heard');
    if (strange.join() !== entry.link.strange.join()) log.warn({ host: entry.key.host, strange }, 'report-of-newer-agent');
    entry.complaint = null;
    entry.link = { host: entry.key.host, heard: true, lastReportAt: clock.now(), report, strange };
    handlers.changed(entry.key.host);
  }

  function unheard(entry: Followed, detail: string): void {
    if (followed.get(entry.key.host) !== entry) return;
    if (entry.link.heard || entry.complaint === null)
      log.warn({ host: entry.key.host, address: entry.key.agentAddress, detail }, 'agent-unheard');
    entry.complaint = detail;
    if (!entry.link.heard) return;
    entry.link = { ...entry.link, heard: false };
    handlers.changed(entry.key.host);
  }

  function close(entry: Followed): void {
    followed.delete(entry.key.host);
    entry.line.close();
  }

  return {
    follow: (hosts) => {
      const wanted = new Map(hosts.map((each) => [each.host, each]));
      for (const entry of [...followed.values()]) {
        const key = wanted.get(entry.key.host);
        if (key !== undefined && key.agentAddress === entry.key.agentAddress && key.hostId === entry.key.hostId) wanted.delete(key.host);
        else close(entry);
      }
      for (const key of wanted.values()) open(key);
    },

    links: () => new Map<string, HostLink>([...followed.values()].map((each) => [each.key.host, each.link])),

    order: async (host: string, order: Order): Promise<OrderOutcome> => {
      const entry = followed.get(host);
      if (entry === undefined) return { kind: 'lost', detail: `host ${host} is not followed` };
      const reply = await entry.line.call(AgentServiceService.order, orderToWire(order), ORDER_MS);
      if (!reply.ok) return { kind: 'lost', detail: describeRpcError(reply.error) };
      const answer = answerFromWire(reply.value);
      return answer.ok ? answer.value : { kind: 'lost', detail: answer.error.join('; ') };
    },

    probe: async (host, vm, deadlineMs) => {
      const entry = followed.get(host);
      if (entry === undefined) return;
      const reply = await entry.line.call(AgentServiceService.probe, { vm }, deadlineMs);
      // A report is a report, whoever asked for it. One that fails says nothing that the stream will not say.
      if (reply.ok && followed.get(host) === entry) acceptProbe(entry, reply.value);
    },

    close: () => {
      for (const entry of [...followed.values()]) close(entry);
    },
  };

  /** The probe's answer came over a connection of its own: it is only believed when it is newer than what the stream has shown. */
  function acceptProbe(entry: Followed, message: HostMessage): void {
    const known = entry.link.report;
    if (known !== null && known.session === message.session && message.sequence <= known.sequence) return;
    accept(entry, message);
  }
}
