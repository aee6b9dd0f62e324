// Peers that misbehave, against a real server: connections that never finish, frames that are none, floods of calls, streams without end,
// requests that never come. Each is refused or bounded, and others are answered meanwhile.

import { mkdtempSync, rmSync } from 'node:fs';
import { createConnection, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { connect as connectHttp2 } from 'node:http2';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import type { UntypedServiceImplementation } from '@grpc/grpc-js';
import { afterEach, describe, expect, it } from 'vitest';
import { CoordinatorServiceService as service, Status } from '../../../shared/gen/colo/v1/coordinator.js';
import { systemClock } from '../../../shared/io/clock.js';
import { systemRandom } from '../../../shared/io/random.js';
import { dial, type Line } from '../../../shared/io/rpc/client.js';
import { DOOR_LIMITS, type DoorLimits } from '../../../shared/io/rpc/door.js';
import { GUARD_LIMITS, type GuardLimits } from '../../../shared/io/rpc/guard.js';
import { fixedTls, linkTo, type Security } from '../../../shared/io/rpc/security.js';
import { serveGrpc } from '../../../shared/io/rpc/server.js';
import type { TlsFiles } from '../../../shared/io/tls/material.js';
import { fakeLog, type FakeLog } from '../../fakes/clock.js';
import { aTestAuthority, type TestAuthority } from '../../support/certificates.js';
import { eventually } from '../../support/wait.js';

const clock = systemClock();
const BOUND_MS = 8_000;
const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const each of cleanups.splice(0).reverse()) await each();
});

interface Stage {
  readonly port: number;
  readonly log: FakeLog;
  readonly authority: TestAuthority;
  line(role?: 'viewer' | 'operator'): Promise<Line>;
}

function secured(files: TlsFiles): Security {
  const made = fixedTls(files);
  if (!made.ok) throw new Error(made.error);
  return made.value;
}

async function stage(limits: { readonly door?: Partial<DoorLimits>; readonly guard?: Partial<GuardLimits> } = {}): Promise<Stage> {
  const folder = mkdtempSync(join(tmpdir(), 'colo-strangers-'));
  cleanups.push(() => rmSync(folder, { recursive: true }));
  const authority = await aTestAuthority(folder);
  const log = fakeLog();
  // Each method answers at once, a stream with one message and no end.
  const implementation: UntypedServiceImplementation = Object.fromEntries(
    Object.entries(service).map(([name, method]) => [
      name,
      (call: unknown, answer: unknown) => {
        const value = Status.create({ cluster: 'c' });
        if (method.responseStream) (call as { write(value: Status): void }).write(value);
        else (answer as (error: null, value: Status) => void)(null, value);
      },
    ]),
  );
  const security = secured(await authority.files({ role: 'coordinator', name: 'c' }));
  const server = await serveGrpc(
    { clock, log },
    {
      address: '127.0.0.1:0',
      security,
      services: [{ name: 'colo.v1.CoordinatorService', definition: service, implementation }],
      limits: { door: { ...DOOR_LIMITS, ...limits.door }, guard: { ...GUARD_LIMITS, ...limits.guard } },
    },
  );
  if (!server.ok) throw new Error(server.error);
  cleanups.push(() => server.value.close(0));
  const { port } = server.value;
  return {
    port,
    log,
    authority,
    line: async (role = 'viewer') => {
      const security = secured(await authority.files({ role, name: role.slice(0, 1) }));
      const line = dial({ clock, random: systemRandom() }, `127.0.0.1:${port}`, {
        link: linkTo(security, { role: 'coordinator', name: null }),
      });
      cleanups.push(() => line.close());
      return line;
    },
  };
}

function knock(port: number): { readonly socket: Socket; isClosed: boolean } {
  const socket = createConnection({ host: '127.0.0.1', port });
  const one = { socket, isClosed: false };
  socket.on('error', () => undefined);
  socket.on('close', () => (one.isClosed = true));
  cleanups.push(() => socket.destroy());
  return one;
}

const status = (line: Line) => line.call(service.getStatus, {}, BOUND_MS);

describe('connections that never make a call', () => {
  it('in any number -> the oldest go, and whoever has something to say comes in', async () => {
    const { port, line } = await stage({ door: { strangers: 8, newcomers: { perSecond: 1_000, burst: 1_000 } } });
    const silent = Array.from({ length: 40 }, () => knock(port));
    await eventually('all but eight are turned out', BOUND_MS, () => silent.filter((each) => each.isClosed).length >= 32);
    expect(await status(await line())).toMatchObject({ ok: true, value: { cluster: 'c' } });
    expect(silent.filter((each) => !each.isClosed).length).toBeLessThanOrEqual(8);
  });

  it('for longer than they may -> turned out', async () => {
    const { port } = await stage({ door: { strangerMs: 100 } });
    const one = knock(port);
    await eventually('the end', BOUND_MS, () => one.isClosed);
  });

  it('after the handshake -> turned out as well', async () => {
    const { port, authority } = await stage({ door: { strangerMs: 300 } });
    const { certificate, key } = await authority.sign(['colo://role/viewer/v']);
    const session = connectHttp2(`https://127.0.0.1:${port}`, {
      ca: authority.pair.certificate,
      cert: certificate,
      key,
      checkServerIdentity: () => undefined,
    });
    let isClosed = false;
    let isOpen = false;
    session.on('connect', () => (isOpen = true));
    session.on('error', () => undefined);
    session.on('close', () => (isClosed = true));
    await eventually('the end', BOUND_MS, () => isClosed);
    expect(isOpen).toBe(true);
  });

  it('too quickly from one address -> refused at once, and later ones come in', async () => {
    const { port, line, log } = await stage({ door: { newcomers: { perSecond: 20, burst: 5 } } });
    const all = Array.from({ length: 30 }, () => knock(port));
    await eventually('most are refused', BOUND_MS, () => all.filter((each) => each.isClosed).length >= 20);
    const used = await line();
    await eventually('the complaint', BOUND_MS, () => log.lines.some((each) => each.event === 'stranger-refused'));
    await eventually('an answer', BOUND_MS, async () => (await used.call(service.getStatus, {}, 500)).ok);
  });
});

describe('bytes that are no HTTP/2', () => {
  it.each([
    ['plain text', Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n')],
    ['noise', Buffer.from(Array.from({ length: 4_096 }, (_, index) => (index * 7919) % 256))],
    ['half a handshake', Buffer.from('16030102000100', 'hex')],
  ])('%s -> the connection ends, and the server goes on', async (_, bytes) => {
    const { port, line } = await stage({ door: { strangerMs: 500 } });
    const one = knock(port);
    one.socket.write(bytes);
    await eventually('the end', BOUND_MS, () => one.isClosed);
    expect(await status(await line())).toMatchObject({ ok: true });
  });

  it('after a good handshake -> the connection ends, and the server goes on', async () => {
    const { port, authority, line } = await stage({ door: { strangerMs: 500 } });
    const { certificate, key } = await authority.sign(['colo://role/viewer/v']);
    let isClosed = false;
    const socket = connectTls({
      port,
      host: '127.0.0.1',
      ca: authority.pair.certificate,
      cert: certificate,
      key,
      ALPNProtocols: ['h2'],
      checkServerIdentity: () => undefined,
    });
    socket.on('secureConnect', () => socket.write(Buffer.alloc(2_000, 0xff)));
    // The end is told only to whoever has read all before it.
    socket.resume();
    socket.on('error', () => undefined);
    socket.on('close', () => (isClosed = true));
    cleanups.push(() => socket.destroy());
    await eventually('the end', BOUND_MS, () => isClosed);
    expect(await status(await line())).toMatchObject({ ok: true });
  });
});

describe('calls', () => {
  it('over the rate -> refused, while another peer is answered', async () => {
    const { line } = await stage({ guard: { calls: { perSecond: 5, burst: 10 }, patience: 1_000 } });
    const [greedy, calm] = [await line('viewer'), await line('operator')];
    const outcomes = await Promise.all(Array.from({ length: 60 }, () => status(greedy)));
    const refused = outcomes.filter((each) => !each.ok && each.error.kind === 'refused' && each.error.code === 'RESOURCE_EXHAUSTED').length;
    expect(outcomes.filter((each) => each.ok).length).toBeGreaterThanOrEqual(10);
    expect(refused).toBeGreaterThan(20);
    expect(await status(calm)).toMatchObject({ ok: true });
  });

  it('over the rate again and again -> the peer is put out for a while, and then comes in again', async () => {
    const { line, log } = await stage({ guard: { calls: { perSecond: 20, burst: 5 }, patience: 20, outsideMs: 200 } });
    const greedy = await line();
    await Promise.all(Array.from({ length: 100 }, () => status(greedy)));
    expect(log.lines.map((each) => each.event)).toContain('peer-put-out');
    await eventually('an answer again', BOUND_MS, async () => (await greedy.call(service.getStatus, {}, 300)).ok);
  });

  it('that stay open -> bounded for each peer, and counted down when they end', async () => {
    const { line } = await stage({ guard: { streamsAtOnce: 3 } });
    const used = await line();
    const downs: string[] = [];
    const opened = new Set<number>();
    const open = (number: number) =>
      used.follow(
        service.watchStatus,
        {},
        { silentAfterMs: null, firstMessageMs: 60_000 },
        { message: () => opened.add(number), down: (error) => downs.push(error.detail) },
      );
    const streams = [1, 2, 3].map(open);
    await eventually('three streams', BOUND_MS, () => opened.size === 3);
    const fourth = open(4);
    await eventually('one too many', BOUND_MS, () => downs.some((each) => each.includes('too many calls at once')));
    expect(opened.has(4)).toBe(false);
    for (const each of streams) each.close();
    await eventually('its turn', BOUND_MS, () => opened.has(4));
    fourth.close();
  });

  it('whose request never comes -> over after a while', async () => {
    const { port, authority } = await stage({ guard: { requestMs: 100 } });
    const { certificate, key } = await authority.sign(['colo://role/viewer/v']);
    const session = connectHttp2(`https://127.0.0.1:${port}`, {
      ca: authority.pair.certificate,
      cert: certificate,
      key,
      checkServerIdentity: () => undefined,
    });
    cleanups.push(() => session.destroy());
    session.on('error', () => undefined);
    const stream = session.request(
      { ':method': 'POST', ':path': service.getStatus.path, 'content-type': 'application/grpc', te: 'trailers' },
      { endStream: false },
    );
    let code = '';
    stream.on('error', () => undefined);
    stream.on('response', (headers) => (code = String(headers['grpc-status'])));
    await eventually('its end', BOUND_MS, () => code !== '');
    expect(code).toBe('4');
  });

  it('larger than a message may be -> refused, and the line goes on', async () => {
    const { line } = await stage();
    const used = await line('operator');
    const answer = await used.call(service.getVm, { name: 'x'.repeat(5 * 1024 * 1024) }, BOUND_MS);
    expect(answer).toMatchObject({ ok: false, error: { kind: 'refused', code: 'RESOURCE_EXHAUSTED' } });
    expect(await status(used)).toMatchObject({ ok: true });
  });
});
