// Serving and calling over real loopback connections: deadlines, refusals, dead and silent peers, health and reflection.

import { createServer, type Server as TcpServer, type Socket } from 'node:net';
import { Client, credentials, loadPackageDefinition, status } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { service as healthService } from 'grpc-health-check';
import { afterEach, describe, expect, it } from 'vitest';
import {
  AgentServiceService,
  HostReport,
  type AgentServiceServer,
  type HostReport as HostMessage,
} from '../../../shared/gen/colo/v1/agent.js';
import { systemClock } from '../../../shared/io/clock.js';
import { systemRandom } from '../../../shared/io/random.js';
import { dial, type DialOptions, type Line } from '../../../shared/io/rpc/client.js';
import { insecureLab } from '../../../shared/io/rpc/security.js';
import { serveGrpc, type GrpcServer } from '../../../shared/io/rpc/server.js';
import { fakeLog } from '../../fakes/clock.js';
import { eventually } from '../../support/wait.js';

const clock = systemClock();
const ports = { clock, random: systemRandom(), log: fakeLog() };
const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const each of cleanups.splice(0).reverse()) await each();
});

const report = (sequence: number): HostMessage => HostReport.create({ host: 'a', sequence });

async function serve(change: Partial<AgentServiceServer> = {}, address = '127.0.0.1:0'): Promise<GrpcServer> {
  const implementation: AgentServiceServer = {
    watch: (call) => call.write(report(1)),
    getHost: (_call, answer) => answer(null, report(1)),
    order: () => undefined,
    probe: (_call, answer) => answer({ code: status.FAILED_PRECONDITION, details: 'not now' }),
    ...change,
  };
  const server = await serveGrpc(ports, {
    address,
    security: insecureLab,
    services: [{ name: 'colo.v1.AgentService', definition: AgentServiceService, implementation }],
  });
  if (!server.ok) throw new Error(server.error);
  cleanups.push(() => server.value.close(0));
  return server.value;
}

function line(port: number, options: DialOptions = {}): Line {
  const dialled = dial(ports, `127.0.0.1:${port}`, options);
  cleanups.push(() => dialled.close());
  return dialled;
}

/** Accepts connections and never says a word, as a stopped process does. */
async function deafServer(): Promise<number> {
  const sockets = new Set<Socket>();
  const server: TcpServer = createServer((socket) => sockets.add(socket));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  cleanups.push(() => {
    for (const each of sockets) each.destroy();
    server.close();
  });
  return (server.address() as { port: number }).port;
}

describe('a call', () => {
  it('to a server that answers -> its answer', async () => {
    const { port } = await serve();
    const answer = await line(port).call(AgentServiceService.getHost, {}, 1_000);
    expect(answer).toMatchObject({ ok: true, value: { host: 'a' } });
  });

  it('that the server refuses -> refused, with code and words', async () => {
    const { port } = await serve();
    const answer = await line(port).call(AgentServiceService.probe, { vm: 'x' }, 1_000);
    expect(answer).toEqual({ ok: false, error: { kind: 'refused', code: 'FAILED_PRECONDITION', detail: 'not now' } });
  });

  it('that is never answered -> deadline, because it may have been carried out', async () => {
    const { port } = await serve();
    const started = performance.now();
    const answer = await line(port).call(AgentServiceService.order, {} as never, 100);
    expect(answer).toMatchObject({ ok: false });
    const dead = await line(port).call(AgentServiceService.probe, { vm: '' }, 100);
    expect(dead).toMatchObject({ ok: false, error: { kind: 'refused' } });
    expect(performance.now() - started).toBeLessThan(1_000);
  });

  it('to a port where nobody listens -> unavailable at once', async () => {
    const { port, close } = await serve();
    await close(0);
    const started = performance.now();
    const answer = await line(port).call(AgentServiceService.getHost, {}, 2_000);
    expect(answer).toMatchObject({ ok: false, error: { kind: 'unavailable' } });
    expect(performance.now() - started).toBeLessThan(500);
  });

  it('to a peer that accepts and is silent -> over at its deadline, and the next call has a fresh connection', async () => {
    const port = await deafServer();
    const started = performance.now();
    const answer = await line(port).call(AgentServiceService.getHost, {}, 150);
    expect(answer.ok).toBe(false);
    expect(performance.now() - started).toBeLessThan(400);
  });

  it('whose server dies in the middle -> lost, not unavailable', async () => {
    let began = false;
    const server = await serve({ getHost: () => (began = true) });
    const pending = line(server.port).call(AgentServiceService.getHost, {}, 5_000);
    await eventually('the call is there', 1_000, () => began);
    await server.close(0);
    expect(await pending).toMatchObject({ ok: false, error: { kind: 'lost' } });
  });

  it('larger than the limit -> refused as a value, and the line goes on', async () => {
    const { port } = await serve();
    const used = line(port);
    const answer = await used.call(AgentServiceService.probe, { vm: 'x'.repeat(5 * 1024 * 1024) }, 2_000);
    expect(answer).toMatchObject({ ok: false, error: { kind: 'refused', code: 'RESOURCE_EXHAUSTED' } });
    expect(await used.call(AgentServiceService.getHost, {}, 1_000)).toMatchObject({ ok: true });
  });

  it('whose handler throws -> refused, and the server goes on', async () => {
    const { port } = await serve({
      getHost: () => {
        throw new Error('a mistake');
      },
    });
    expect(await line(port).call(AgentServiceService.getHost, {}, 1_000)).toMatchObject({ ok: false, error: { kind: 'refused' } });
    expect(await line(port).call(AgentServiceService.probe, { vm: '' }, 1_000)).toMatchObject({ error: { code: 'FAILED_PRECONDITION' } });
  });
});

describe('a followed stream', () => {
  function follow(port: number, silentAfterMs: number | null, options: DialOptions = {}) {
    const seen: number[] = [];
    const downs: string[] = [];
    const stream = line(port, options).follow(
      AgentServiceService.watch,
      { intervalMs: 0 },
      { silentAfterMs, firstMessageMs: 300 },
      { message: (message) => seen.push(message.sequence), down: (error) => downs.push(error.kind) },
    );
    return { seen, downs, stream };
  }

  it('with messages -> each is handed on', async () => {
    const { port } = await serve({ watch: (call) => [1, 2, 3].forEach((each) => call.write(report(each))) });
    const { seen, downs } = follow(port, null);
    await eventually('three messages', 1_000, () => seen.length === 3);
    expect(seen).toEqual([1, 2, 3]);
    expect(downs).toEqual([]);
  });

  it('that falls silent -> down, and opened again by itself', async () => {
    const { port } = await serve();
    const { seen, downs } = follow(port, 200);
    await eventually('opened again', 2_000, () => seen.length >= 2);
    expect(downs[0]).toBe('deadline');
  });

  it('whose server dies and comes back at its port -> down within milliseconds, back soon after', async () => {
    const first = await serve();
    const { seen, downs } = follow(first.port, null);
    await eventually('first message', 1_000, () => seen.length === 1);
    await first.close(0);
    const downMs = await eventually('down', 500, () => downs.length > 0);
    expect(downMs).toBeLessThan(200);
    await serve({}, `127.0.0.1:${first.port}`);
    await eventually('back', 1_500, () => seen.length === 2);
  });

  it('to a peer that accepts and is silent -> each attempt is given up, none hangs', async () => {
    const port = await deafServer();
    const { downs } = follow(port, null);
    await eventually('two attempts', 2_500, () => downs.length >= 2);
  });

  it('closed -> nothing is handed on any more and the server sees the end', async () => {
    let ended = false;
    const { port } = await serve({
      watch: (call) => {
        call.write(report(1));
        call.on('cancelled', () => (ended = true));
      },
    });
    const { seen, downs, stream } = follow(port, 150);
    await eventually('first message', 1_000, () => seen.length === 1);
    stream.close();
    await eventually('the server sees it', 1_000, () => ended);
    expect(downs).toEqual([]);
  });
});

describe('every server', () => {
  const get = healthService['Check'];

  it('-> tells its health, for itself and for each service', async () => {
    const server = await serve();
    const used = line(server.port);
    const check = async (name: string): Promise<string> => {
      if (get === undefined) throw new Error('no health service');
      const answer = await used.call(
        { path: get.path, requestSerialize: get.requestSerialize, responseDeserialize: get.responseDeserialize },
        { service: name },
        1_000,
      );
      return answer.ok
        ? (answer.value as { status: string }).status
        : answer.error.kind === 'refused'
          ? answer.error.code
          : answer.error.kind;
    };
    expect(await check('')).toBe('NOT_SERVING');
    server.setServing(true);
    expect(await check('')).toBe('SERVING');
    expect(await check('colo.v1.AgentService')).toBe('SERVING');
    expect(await check('nothing')).toBe('NOT_FOUND');
  });

  it.each(['v1', 'v1alpha'])('asked by reflection %s -> names its services and describes them', async (version) => {
    const { port } = await serve();
    const path = new URL(`../../../node_modules/@grpc/reflection/build/proto/grpc/reflection/${version}/reflection.proto`, import.meta.url);
    type Constructor = new (
      address: string,
      creds: ReturnType<typeof credentials.createInsecure>,
    ) => Client & {
      ServerReflectionInfo(): { write(value: object): void; end(): void; on(event: string, listener: (value: never) => void): void };
    };
    const loaded = loadPackageDefinition(loadSync(path.pathname)) as unknown as {
      grpc: { reflection: Record<string, { ServerReflection: Constructor }> };
    };
    const Reflection = loaded.grpc.reflection[version]?.ServerReflection;
    if (Reflection === undefined) throw new Error('no reflection client');
    const client = new Reflection(`127.0.0.1:${port}`, credentials.createInsecure());
    cleanups.push(() => client.close());
    const answers: Record<string, { service?: { name: string }[]; fileDescriptorProto?: Buffer[] }>[] = [];
    const stream = client.ServerReflectionInfo();
    stream.on('data', (value: never) => answers.push(value));
    stream.on('error', () => undefined);
    stream.write({ listServices: '' });
    stream.write({ fileContainingSymbol: 'colo.v1.AgentService' });
    await eventually('two answers', 2_000, () => answers.length === 2);
    stream.end();
    expect(answers[0]?.['listServicesResponse']?.service?.map((each) => each.name)).toEqual(
      expect.arrayContaining(['colo.v1.AgentService', 'grpc.health.v1.Health']),
    );
    expect(answers[1]?.['fileDescriptorResponse']?.fileDescriptorProto?.length).toBeGreaterThan(0);
  });

  it('whose address is taken -> says so as a value', async () => {
    const { port } = await serve();
    const second = await serveGrpc(ports, { security: insecureLab, address: `127.0.0.1:${port}`, services: [] });
    expect(second).toMatchObject({ ok: false, error: expect.stringContaining(`127.0.0.1:${port}`) as string });
  });

  it('closed with a stream open -> over after the grace, not before it must', async () => {
    const server = await serve();
    const seen: number[] = [];
    line(server.port).follow(
      AgentServiceService.watch,
      { intervalMs: 0 },
      { silentAfterMs: null, firstMessageMs: 500 },
      { message: (message) => seen.push(message.sequence), down: () => undefined },
    );
    await eventually('first message', 1_000, () => seen.length === 1);
    const started = performance.now();
    await server.close(150);
    expect(performance.now() - started).toBeGreaterThan(100);
    expect(performance.now() - started).toBeLessThan(1_000);
  });
});
