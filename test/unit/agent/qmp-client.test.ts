// The QMP client and the monitor against a socket that says everything a QEMU says, and everything that it would not.

import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { systemClock } from '../../../shared/io/clock.js';
import type { MonitorClosed, MonitorHandlers, QmpEvent, Stray } from '../../../agent/core/procedures/port.js';
import { connectMonitor } from '../../../agent/io/qemu-monitor.js';
import { QmpConnection } from '../../../agent/io/qmp-client.js';
import { LineSplitter, parseMessage } from '../../../agent/io/qmp-wire.js';
import { waitFor } from '../../support/wait.js';

const GREETING = '{"QMP": {"version": {"qemu": {"micro": 2, "minor": 1, "major": 11}, "package": ""}, "capabilities": ["oob"]}}\n';

interface Asked {
  readonly execute?: string;
  readonly 'exec-oob'?: string;
  readonly arguments?: unknown;
  readonly id: string;
}

/** A QMP server that greets, accepts qmp_capabilities, and leaves every other command to the test. */
class FakeQemu {
  readonly asked: Asked[] = [];
  greeting: string | null = GREETING;
  negotiates = true;
  readonly #server: Server;
  readonly #sockets: Socket[] = [];

  constructor(readonly path: string) {
    this.#server = createServer((socket) => {
      this.#sockets.push(socket);
      socket.on('error', () => undefined);
      if (this.greeting !== null) socket.write(this.greeting);
      socket.on('data', (chunk) => {
        for (const line of chunk.toString().trim().split('\n')) this.#received(socket, JSON.parse(line) as Asked);
      });
    });
  }

  #received(socket: Socket, asked: Asked): void {
    this.asked.push(asked);
    if (asked.execute === 'qmp_capabilities' && this.negotiates) socket.write(`${JSON.stringify({ return: {}, id: asked.id })}\n`);
  }

  listen(): Promise<void> {
    return new Promise((resolve) => this.#server.listen(this.path, resolve));
  }

  say(text: string): void {
    this.#sockets.at(-1)?.write(text);
  }

  hangUp(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  stop(): void {
    this.hangUp();
    this.#server.close();
  }

  last(command: string): Asked | undefined {
    return this.asked.findLast((each) => each.execute === command || each['exec-oob'] === command);
  }
}

let folder: string;
let qemu: FakeQemu;
let events: QmpEvent[];
let ends: MonitorClosed[];
let strays: Stray[];
let connections: QmpConnection[];

const handlers: MonitorHandlers = {
  onEvent: (event) => events.push(event),
  onClosed: (closed) => ends.push(closed),
  onStray: (stray) => strays.push(stray),
};
const clock = systemClock();
const options = { deadlineMs: 2_000, oob: false };
const never = new AbortController().signal;
const open = (deadlineMs = 1_000, maxLineBytes = 1_000) =>
  QmpConnection.open(qemu.path, { clock, handlers, idPrefix: 'x', deadlineMs, signal: never, maxLineBytes });

async function opened(): Promise<QmpConnection> {
  const connection = await open();
  if (!connection.ok) throw new Error(JSON.stringify(connection.error));
  connections.push(connection.value);
  return connection.value;
}

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'qmp-'));
  qemu = new FakeQemu(join(folder, 'qmp.sock'));
  [events, ends, strays, connections] = [[], [], [], []];
  await qemu.listen();
});

afterEach(() => {
  for (const connection of connections) connection.close();
  qemu.stop();
  rmSync(folder, { recursive: true });
});

describe('opening a connection', () => {
  test('a monitor -> greeted, negotiated with oob, version known', async () => {
    const connection = await opened();
    expect(connection.version).toEqual({ major: 11, minor: 1, micro: 2 });
    expect(qemu.last('qmp_capabilities')).toMatchObject({ arguments: { enable: ['oob'] } });
  });

  test('nobody listens -> refused by ourselves', async () => {
    qemu.stop();
    expect(await open()).toMatchObject({ ok: false, error: { kind: 'refused', errorClass: 'Client' } });
  });

  test('the answer and right behind it what ends the connection -> opening fails, for nobody else would tell', async () => {
    qemu.negotiates = false;
    const opening = open();
    await waitFor(() => qemu.last('qmp_capabilities'), { what: 'qmp_capabilities', boundMs: 1_000, everyMs: 1 });
    qemu.say(`{"return": {}, "id": "${qemu.last('qmp_capabilities')?.id ?? ''}"}\n${GREETING}`);
    expect(await opening).toMatchObject({ ok: false, error: { kind: 'protocol' } });
    expect(ends).toEqual([]);
  });

  test('something else answers -> not ours', async () => {
    qemu.greeting = 'SSH-2.0-OpenSSH_9.2\r\n';
    expect(await open()).toMatchObject({ ok: false, error: { kind: 'not-ours' } });
  });

  test('a main loop that hangs gives no greeting -> lost within the deadline', async () => {
    qemu.greeting = null;
    expect(await open(50)).toMatchObject({ ok: false, error: { kind: 'lost', cause: 'deadline' } });
  });

  test('a monitor without oob -> not ours', async () => {
    qemu.negotiates = false;
    const opening = open();
    await expect.poll(() => qemu.last('qmp_capabilities')).toBeDefined();
    const id = qemu.last('qmp_capabilities')?.id;
    qemu.say(`{"error":{"class":"GenericError","desc":"Capability oob not available"},"id":"${id}"}\n`);
    expect(await opening).toMatchObject({ ok: false, error: { kind: 'not-ours' } });
    expect(ends).toEqual([]);
  });
});

describe('a command', () => {
  test('answers out of order -> each finds its own', async () => {
    const connection = await opened();
    const both = [connection.execute('query-status', {}, options), connection.execute('query-chardev', {}, options)];
    await expect.poll(() => qemu.last('query-chardev')).toBeDefined();
    qemu.say(
      `{"return":[],"id":"${qemu.last('query-chardev')?.id}"}\n{"return":{"running":true},"id":"${qemu.last('query-status')?.id}"}\n`,
    );
    expect(await Promise.all(both)).toEqual([
      { ok: true, value: { running: true } },
      { ok: true, value: [] },
    ]);
  });

  test('an answer in pieces, with an event in the same chunk -> both arrive', async () => {
    const connection = await opened();
    const answer = connection.execute('query-status', {}, options);
    await expect.poll(() => qemu.last('query-status')).toBeDefined();
    qemu.say('{"event":"STOP","data":{},"timestamp":{"seconds":1,"microseconds":2}}\n{"retu');
    await expect.poll(() => events.length).toBe(1);
    qemu.say(`rn":{"running":false},"id":"${qemu.last('query-status')?.id}"}\r\n`);
    expect(await answer).toEqual({ ok: true, value: { running: false } });
    expect(events[0]).toMatchObject({ name: 'STOP', data: {} });
  });

  test('refused -> class and description', async () => {
    const connection = await opened();
    const answer = connection.execute('cont', {}, options);
    await expect.poll(() => qemu.last('cont')).toBeDefined();
    qemu.say(`{"error":{"class":"GenericError","desc":"no"},"id":"${qemu.last('cont')?.id}"}\n`);
    expect(await answer).toEqual({ ok: false, error: { kind: 'refused', errorClass: 'GenericError', description: 'no' } });
  });

  test('out of band -> exec-oob', async () => {
    const connection = await opened();
    void connection.execute('yank', { instances: [] }, { deadlineMs: 1_000, oob: true });
    await expect.poll(() => qemu.last('yank')).toMatchObject({ 'exec-oob': 'yank' });
  });

  test('no answer within the deadline -> lost, the connection stays, and the late answer is told', async () => {
    const connection = await opened();
    expect(await connection.execute('stop', {}, { deadlineMs: 20, oob: false })).toMatchObject({
      error: { kind: 'lost', cause: 'deadline' },
    });
    expect(ends).toEqual([]);
    qemu.say(`{"return":{},"id":"${qemu.last('stop')?.id}"}\n`);
    await expect.poll(() => strays).toMatchObject([{ kind: 'late-answer', command: 'stop', answer: { ok: true } }]);
  });

  test('given up by the caller -> lost at once', async () => {
    const connection = await opened();
    const caller = new AbortController();
    const answer = connection.execute('migrate', {}, { ...options, signal: caller.signal });
    caller.abort();
    expect(await answer).toMatchObject({ error: { kind: 'lost', cause: 'aborted' } });
  });

  test('QEMU dies -> lost, and the end is told once, at once', async () => {
    const connection = await opened();
    const answer = connection.execute('stop', {}, options);
    await expect.poll(() => qemu.last('stop')).toBeDefined();
    qemu.hangUp();
    expect(await answer).toMatchObject({ error: { kind: 'lost', cause: 'closed' } });
    expect(ends).toHaveLength(1);
    expect(await connection.execute('cont', {}, options)).toMatchObject({ error: { kind: 'lost', cause: 'closed' } });
  });

  test('too many without answer -> further ones are refused unsent', async () => {
    const connection = await opened();
    for (let k = 0; k < 64; k += 1) void connection.execute('stop', {}, options);
    expect(await connection.execute('stop', {}, options)).toMatchObject({ error: { kind: 'refused', errorClass: 'Client' } });
  });
});

describe('what QEMU would not say', () => {
  test('an answer to nobody -> told and dropped', async () => {
    await opened();
    qemu.say('{"return":{},"id":"of-a-dead-agent-7"}\n');
    await expect.poll(() => strays).toMatchObject([{ kind: 'unknown-id' }]);
    expect(ends).toEqual([]);
  });

  test.each([
    ['a line past the bound', `{"return":"${'x'.repeat(2_000)}`],
    ['no JSON', 'Segmentation fault\n'],
    ['JSON that is no message', '[1,2]\n'],
    ['a second greeting', GREETING],
  ])('%s -> protocol error, and the connection ends', async (_, text) => {
    await opened();
    qemu.say(text);
    await expect.poll(() => ends).toMatchObject([{ error: { kind: 'protocol' } }]);
  });
});

describe('a monitor of two connections', () => {
  test('one end -> both are closed, told once, and resolves `closed`', async () => {
    const second = new FakeQemu(join(folder, 'second.sock'));
    await second.listen();
    const monitor = await connectMonitor([qemu.path, second.path], handlers, { clock, deadlineMs: 1_000 });
    if (!monitor.ok) throw new Error(JSON.stringify(monitor.error));
    second.hangUp();
    expect(await monitor.value.closed).toMatchObject({ error: { kind: 'lost', cause: 'closed' } });
    expect(ends).toHaveLength(1);
    expect(await monitor.value.execute('yank', {}, { deadlineMs: 100, oob: true })).toMatchObject({ error: { kind: 'lost' } });
    second.stop();
  });

  test('events come over both connections -> handlers and subscribers hear each once', async () => {
    const second = new FakeQemu(join(folder, 'second.sock'));
    await second.listen();
    const monitor = await connectMonitor([qemu.path, second.path], handlers, { clock, deadlineMs: 1_000 });
    if (!monitor.ok) throw new Error(JSON.stringify(monitor.error));
    const heard: string[] = [];
    const end = monitor.value.subscribe((event) => heard.push(event.name));
    second.say('{"event":"STOP","data":{}}\n');
    qemu.say('{"event":"STOP","data":{}}\n');
    await expect.poll(() => heard).toEqual(['STOP']);
    end();
    qemu.say('{"event":"RESUME","data":{}}\n');
    await expect.poll(() => events.map((event) => event.name)).toEqual(['STOP', 'RESUME']);
    expect(heard).toEqual(['STOP']);
    monitor.value.close();
    second.stop();
  });

  test('the second socket is not there -> the first is let go, and nobody is told of an end', async () => {
    const monitor = await connectMonitor([qemu.path, join(folder, 'none.sock')], handlers, { clock, deadlineMs: 1_000 });
    expect(monitor).toMatchObject({ ok: false, error: { kind: 'refused', errorClass: 'Client' } });
    expect(ends).toEqual([]);
  });

  test('one socket -> it carries both duties', async () => {
    const monitor = await connectMonitor([qemu.path], handlers, { clock, deadlineMs: 1_000 });
    if (!monitor.ok) throw new Error(JSON.stringify(monitor.error));
    void monitor.value.execute('stop', {}, options);
    void monitor.value.execute('yank', {}, { ...options, oob: true });
    await expect.poll(() => [qemu.last('stop')?.execute, qemu.last('yank')?.['exec-oob']]).toEqual(['stop', 'yank']);
    monitor.value.close();
  });
});

describe('lines and messages', () => {
  test('a character split between two chunks -> whole again', () => {
    const bytes = Buffer.from('{"a":"ü"}\n');
    const splitter = new LineSplitter(100);
    expect(splitter.push(bytes.subarray(0, 7)).lines).toEqual([]);
    expect(splitter.push(bytes.subarray(7)).lines).toEqual(['{"a":"ü"}']);
  });

  test('a line that grows past the bound without an end -> overflow', () => {
    const splitter = new LineSplitter(10);
    expect(splitter.push(Buffer.alloc(6, 'x')).overflow).toBe(false);
    expect(splitter.push(Buffer.alloc(6, 'x')).overflow).toBe(true);
  });

  test.each([
    ['{"event":"X"}', { kind: 'event', name: 'X', data: {} }],
    ['{"return":null}', { kind: 'return', id: null, value: null }],
    ['{"error":"odd"}', { kind: 'garbage' }],
    ['"text"', { kind: 'garbage' }],
    ['', { kind: 'garbage' }],
  ])('%s -> read for what it is', (line, message) => {
    expect(parseMessage(line)).toEqual(message);
  });
});
