// Figures for Prometheus: the text that is told, what is counted, and a listener that cannot be held up.

import { connect, type Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { agentMetrics } from '../../../agent/core/metrics.js';
import { certificateMetrics, exposition, gauge } from '../../../shared/core/metrics.js';
import { countEvents } from '../../../shared/event-counts.js';
import { systemClock } from '../../../shared/io/clock.js';
import { METRICS_LIMITS, serveMetrics, type MetricsServer } from '../../../shared/io/metrics.js';
import { fakeLog } from '../../fakes/clock.js';
import { aLink } from '../../support/cluster.js';
import { waitFor } from '../../support/wait.js';

/** For those whose time is to be over soon. */
const SHORT = { ...METRICS_LIMITS, connections: 4, requestMs: 200, answerMs: 1_000 };
const PORTS = { clock: systemClock(), log: fakeLog() };
const BOUND_MS = 10_000;
const cleanups: (() => void)[] = [];
afterEach(() => cleanups.splice(0).forEach((each) => each()));

async function served(limits = METRICS_LIMITS): Promise<MetricsServer> {
  const made = await serveMetrics(PORTS, '127.0.0.1:0', () => [gauge('colo_leads', 'Whether.', 1)], limits);
  if (!made.ok) throw new Error(made.error);
  cleanups.push(() => made.value.close());
  return made.value;
}

function knock(port: number, text: string): { readonly socket: Socket; isOpen(): boolean } {
  const socket = connect(port, '127.0.0.1', () => void socket.write(text));
  socket.on('error', () => undefined);
  socket.resume();
  cleanups.push(() => socket.destroy());
  return { socket, isOpen: () => !socket.destroyed && !socket.readableEnded };
}

describe('figures', () => {
  it('of a daemon with a certificate -> tell when it and its authority expire, with quotes in names escaped', () => {
    const text = exposition(
      certificateMetrics(
        [{ identity: 'agent/host1', notAfterMs: 1_800_000_000_000, serial: '1', problem: null }],
        [{ name: 'a "b"', notAfterMs: 1_900_000_000_000 }],
      ),
    );
    expect(text).toContain('# TYPE colo_certificate_not_after_seconds gauge\n');
    expect(text).toContain('colo_certificate_not_after_seconds{identity="agent/host1"} 1800000000\n');
    expect(text).toContain('colo_certificate_refused{identity="agent/host1"} 0\n');
    expect(text).toContain('colo_authority_not_after_seconds{authority="a \\"b\\""} 1900000000\n');
  });

  it('that are not known -> are left out, also their names', () => {
    expect(exposition(certificateMetrics([], []))).toBe('');
  });

  it('of an agent -> its peers by address, in seconds, and the keys of its heartbeats', () => {
    const { report } = aLink('a', { peersSilentMs: { '10.0.1.2': 40 } });
    if (report === null) throw new Error('it is heard');
    const text = exposition(agentMetrics(report, ['abcd1234']));
    expect(text).toContain('colo_peer_silent_seconds{address="10.0.1.2"} 0.04\n');
    expect(text).toContain('colo_heartbeat_key{key="abcd1234"} 1\n');
  });

  it('of what happened -> events by name, edges by where they lead, and every line is logged all the same', () => {
    const log = fakeLog();
    const counted = countEvents(log);
    counted.log.info({ to: 'verdict' }, 'edge');
    counted.log.info({ to: 'verdict' }, 'edge');
    counted.log.info({ to: 'solo' }, 'edge');
    counted.log.warn({}, 'certificate-expires');
    const text = exposition([counted.metric()]);
    expect(text).toContain('colo_events_total{event="edge",kind="verdict"} 2\n');
    expect(text).toContain('colo_events_total{event="edge",kind="solo"} 1\n');
    expect(text).toContain('colo_events_total{event="certificate-expires"} 1\n');
    expect(log.lines).toHaveLength(4);
  });
});

describe('the listener', () => {
  it('asked for /metrics -> tells them; for anything else -> 404, and 405 for what would change something', async () => {
    const { port } = await served();
    const at = `http://127.0.0.1:${port}`;
    const answer = await fetch(`${at}/metrics`);
    expect([answer.status, await answer.text()]).toEqual([200, '# HELP colo_leads Whether.\n# TYPE colo_leads gauge\ncolo_leads 1\n']);
    expect((await fetch(`${at}/`)).status).toBe(404);
    expect((await fetch(`${at}/metrics`, { method: 'POST', body: 'x' })).status).toBe(405);
  });

  it.each([
    ['says nothing', ''],
    ['never ends its request', 'GET /metrics HTTP/1.1\r\nHost: x\r\nX-A: '],
    ['sends more than a request has', `GET /metrics HTTP/1.1\r\nX-A: ${'a'.repeat(100_000)}\r\n\r\n`],
    ['speaks something else', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03'],
  ])('that somebody knocks at who %s -> cut off in time', async (_what, text) => {
    const { port } = await served(SHORT);
    const { isOpen } = knock(port, text);
    await waitFor(() => !isOpen(), { what: 'the end of the connection', boundMs: BOUND_MS, everyMs: 10 });
  });

  it.each([
    ['its request', 'GET /metrics HTTP/1.1\r\nX-A: '],
    ['a body that nobody asked for', 'POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n'],
  ])('to whom somebody tells %s without an end, bit by bit -> cut off in time', async (_what, text) => {
    const { port } = await served(SHORT);
    const { socket, isOpen } = knock(port, text);
    const drip = (): boolean => {
      if (!socket.destroyed) socket.write('a');
      return !isOpen();
    };
    const began = performance.now();
    await waitFor(drip, { what: 'the end of the connection', boundMs: BOUND_MS, everyMs: 20 });
    expect(performance.now() - began).toBeLessThan(2 * SHORT.answerMs);
  });

  it('whom somebody asks again and again -> answers him so many times at once, and then so many a second', async () => {
    const { port } = await served({ ...METRICS_LIMITS, newcomers: { perSecond: 1, burst: 5 } });
    const began = performance.now();
    let answers = 0;
    for (let asked = 0; asked < 50; asked += 1) {
      const answer = await fetch(`http://127.0.0.1:${port}/metrics`).catch(() => null);
      if (answer?.status === 200 && (await answer.text()) !== '') answers += 1;
    }
    expect(answers).toBeGreaterThanOrEqual(5);
    expect(answers).toBeLessThanOrEqual(5 + Math.ceil((performance.now() - began) / 1_000));
  });

  it('with as many slow ones as it has places -> answers again as soon as their time is over', async () => {
    const { port } = await served(SHORT);
    const slow = Array.from({ length: 3 * SHORT.connections }, () => knock(port, 'GET /metrics HTTP/1.1\r\n'));
    await waitFor(() => slow.filter(({ isOpen }) => isOpen()).length <= SHORT.connections, {
      what: 'no more than it has places for',
      boundMs: BOUND_MS,
      everyMs: 10,
    });
    const answered = (): Promise<boolean> =>
      fetch(`http://127.0.0.1:${port}/metrics`)
        .then((answer) => answer.ok)
        .catch(() => false);
    await waitFor(answered, { what: 'an answer', boundMs: BOUND_MS, everyMs: 50 });
  });

  it('whose address is taken -> says so', async () => {
    const { port } = await served();
    expect(await serveMetrics(PORTS, `127.0.0.1:${port}`, () => [])).toMatchObject({ ok: false });
  });
});
