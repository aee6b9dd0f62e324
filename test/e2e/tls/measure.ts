// What a cluster feels of a flood: heartbeats of agents as a coordinator hears them, the age of etcd's last answer, and how long an operator
// waits. And the flood itself.

import { createConnection, type Socket } from 'node:net';
import { AgentServiceService, type HostReport } from '../../../shared/gen/colo/v1/agent.js';
import { CoordinatorServiceService } from '../../../shared/gen/colo/v1/coordinator.js';
import { systemClock } from '../../../shared/io/clock.js';
import { METRICS_LIMITS } from '../../../shared/io/metrics.js';
import { systemRandom } from '../../../shared/io/random.js';
import { dial, type Line } from '../../../shared/io/rpc/client.js';
import { linkTo } from '../../../shared/io/rpc/security.js';
import { waitFor } from '../../support/wait.js';
import { agentAddress, coordinatorAddress, HOSTS, metricsAddress, type HostName, type Stage } from './stage.js';

const REPORTS = 200;
/** Of figures, at each port. */
const ASKERS = 2;
const CALLERS = 64;
const HALF_OPEN = 400;
const clock = systemClock();
const ports = { clock, random: systemRandom() };

export interface Spread {
  readonly n: number;
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

export interface Measured {
  /** Between two reports of one agent. */
  readonly reportGapMs: Spread;
  /** The agents' own lateness. */
  readonly latenessMs: Spread;
  /** Age of etcd's last answer at the agents; leases live on those. */
  readonly etcdSilentMs: Spread;
  /** An operator's status at the leader. */
  readonly statusMs: Spread;
}

function spread(values: readonly number[]): Spread {
  const sorted = [...values].sort((x, y) => x - y).map((each) => Math.round(each * 10) / 10);
  const at = (share: number): number => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? NaN;
  return { n: sorted.length, p50: at(0.5), p99: at(0.99), max: at(1) };
}

export async function measure(stage: Stage, leader: HostName): Promise<Measured> {
  const reports: { readonly host: string; readonly at: number; readonly report: HostReport }[] = [];
  const security = stage.daemon(leader, 'coordinator');
  const agents = (['host1', 'host2'] as const).map((host) => ({
    host,
    line: dial(ports, agentAddress(host), { link: linkTo(security, { role: 'agent', name: host }) }),
  }));
  for (const { host, line } of agents) {
    line.follow(
      AgentServiceService.watch,
      { intervalMs: 50 },
      { silentAfterMs: null, firstMessageMs: 5_000 },
      { message: (report) => reports.push({ host, at: performance.now(), report }), down: () => undefined },
    );
  }
  const operator = dial(ports, coordinatorAddress(leader), {
    link: linkTo(stage.personSecurity('operator'), { role: 'coordinator', name: leader }),
  });
  const statusMs: number[] = [];
  await waitFor(
    async () => {
      const began = performance.now();
      const answer = await operator.call(CoordinatorServiceService.getStatus, {}, 5_000);
      if (answer.ok) statusMs.push(performance.now() - began);
      return agents.every(({ host }) => reports.filter((each) => each.host === host).length > REPORTS);
    },
    { what: 'reports of both agents', boundMs: 60_000, everyMs: 50 },
  );
  for (const each of [...agents.map(({ line }) => line), operator]) each.close();
  const gaps = agents.flatMap(({ host }) => {
    const own = reports.filter((each) => each.host === host);
    return own.slice(1).map((each, index) => each.at - (own[index]?.at ?? each.at));
  });
  return {
    reportGapMs: spread(gaps),
    latenessMs: spread(reports.map((each) => each.report.latenessMs)),
    etcdSilentMs: spread(reports.flatMap((each) => each.report.etcdSilentMs ?? [])),
    statusMs: spread(statusMs),
  };
}

export interface FloodCounts {
  lastedMs: number;
  answered: number;
  refused: number;
  cut: number;
  halfOpen: number;
  /** Connections made for figures, each closed when it was answered or cut, and those that were answered. */
  askedForFigures: number;
  toldFigures: number;
}

/**
 * Status calls of one viewer, as fast as they go, at the leader; TCP connections that say nothing, at every port of ours; and whoever asks for
 * figures, one connection after another.
 */
export function startFlood(stage: Stage, leader: HostName): { stop(): Promise<FloodCounts> } {
  const link = linkTo(stage.personSecurity('viewer'), { role: 'coordinator', name: leader });
  const began = performance.now();
  const counts: FloodCounts = { lastedMs: 0, answered: 0, refused: 0, cut: 0, halfOpen: 0, askedForFigures: 0, toldFigures: 0 };
  let isOver = false;
  const call = async (line: Line): Promise<void> => {
    while (!isOver) {
      const answer = await line.call(CoordinatorServiceService.getStatus, {}, 2_000);
      if (answer.ok) counts.answered += 1;
      else if (answer.error.kind === 'refused') counts.refused += 1;
      else counts.cut += 1;
    }
    line.close();
  };
  const callers = Array.from({ length: CALLERS }, () => call(dial(ports, coordinatorAddress(leader), { link })));
  const sockets = new Set<Socket>();
  const knock = (address: string): void => {
    if (isOver) return;
    const [host = '', port = ''] = address.split(':');
    const socket = createConnection({ host, port: Number(port) });
    sockets.add(socket);
    counts.halfOpen += 1;
    socket.on('error', () => undefined);
    socket.on('close', () => {
      sockets.delete(socket);
      clock.after(20, () => knock(address));
    });
  };
  const doors = [...HOSTS.map(coordinatorAddress), agentAddress('host1'), agentAddress('host2')];
  for (let index = 0; index < HALF_OPEN; index += 1) knock(doors[index % doors.length] ?? '');
  // All places of those who would ask for figures are taken, again and again.
  const figures = [
    ...HOSTS.map((host) => metricsAddress(host, 'coordinator')),
    ...(['host1', 'host2'] as const).map((host) => metricsAddress(host, 'agent')),
  ];
  for (const each of figures) for (let place = 0; place < METRICS_LIMITS.connections; place += 1) knock(each);
  const ask = (address: string): void => {
    if (isOver) return;
    const [host = '', port = ''] = address.split(':');
    counts.askedForFigures += 1;
    const socket = createConnection({ host, port: Number(port) }, () => socket.write('GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n'));
    sockets.add(socket);
    socket.once('data', () => (counts.toldFigures += 1));
    socket.on('error', () => undefined);
    socket.on('close', () => {
      sockets.delete(socket);
      clock.after(1, () => ask(address));
    });
  };
  for (const each of figures) for (let asker = 0; asker < ASKERS; asker += 1) ask(each);
  return {
    stop: async () => {
      isOver = true;
      for (const each of sockets) each.destroy();
      await Promise.all(callers);
      counts.lastedMs = Math.round(performance.now() - began);
      return counts;
    },
  };
}
