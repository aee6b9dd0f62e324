// Agents and coordinators over real loopback connections: reports that arrive at once, silences that are judged, orders with every answer.

import { connect } from 'node:http2';
import { afterEach, describe, expect, it } from 'vitest';
import { agentService, type AgentFace } from '../../../agent/io/rpc-service.js';
import { createAgents } from '../../../coordinator/io/agents.js';
import type { HostLink } from '../../../coordinator/core/link.js';
import type { Agents } from '../../../coordinator/ports.js';
import { epoch, hostId, incarnation, term, vmUid } from '../../../shared/core/ids.js';
import type { HostKey, HostReport, Order, OrderAnswer } from '../../../shared/core/model.js';
import { AgentServiceService, HostReport as HostMessage, type AgentServiceServer } from '../../../shared/gen/colo/v1/agent.js';
import { systemClock } from '../../../shared/io/clock.js';
import { systemRandom } from '../../../shared/io/random.js';
import { dial } from '../../../shared/io/rpc/client.js';
import { insecureLab } from '../../../shared/io/rpc/security.js';
import { serveGrpc, type GrpcServer } from '../../../shared/io/rpc/server.js';
import { reportToWire } from '../../../shared/io/wire/report.js';
import { fakeLog } from '../../fakes/clock.js';
import { aSpec } from '../../support/spec.js';
import { eventually, staysTrue } from '../../support/wait.js';
import { aReport, aVmReport } from './support.js';

const ports = { clock: systemClock(), random: systemRandom(), log: fakeLog() };
const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const each of cleanups.splice(0).reverse()) await each();
});

/** An agent whose state the test sets, and that notes what reaches it. */
class Agent {
  state: HostReport = aReport();
  answer: OrderAnswer = { kind: 'accepted' };
  readonly orders: Order[] = [];
  readonly probes: string[] = [];
  made = 0;
  #listeners = new Set<() => void>();
  readonly face: AgentFace = {
    report: () => ({ ...this.state, sequence: (this.made += 1) }),
    subscribe: (changed) => {
      this.#listeners.add(changed);
      return () => this.#listeners.delete(changed);
    },
    order: async (order) => {
      this.orders.push(order);
      return this.answer;
    },
    probe: async (vm) => void this.probes.push(vm),
  };

  change(next: Partial<HostReport>): void {
    this.state = { ...this.state, ...next };
    for (const each of this.#listeners) each();
  }

  listeners(): number {
    return this.#listeners.size;
  }

  async serve(address = '127.0.0.1:0'): Promise<GrpcServer> {
    const server = await serveGrpc(ports, { address, security: insecureLab, services: [agentService(ports, this.face)] });
    if (!server.ok) throw new Error(server.error);
    cleanups.push(() => server.value.close(0));
    return server.value;
  }
}

function key(port: number, change: Partial<HostKey> = {}): HostKey {
  return {
    host: 'a',
    hostId: hostId('id-a'),
    agentAddress: `127.0.0.1:${port}`,
    replicationAddress: '10.0.0.1',
    qemuVersion: '11.1',
    agentVersion: '0.1',
    ...change,
  };
}

function coordinator(silentAfterMs?: number): { agents: Agents; changes: string[]; link: () => HostLink | undefined } {
  const changes: string[] = [];
  const agents = createAgents(ports, { changed: (host) => changes.push(host) }, silentAfterMs === undefined ? {} : { silentAfterMs });
  cleanups.push(() => agents.close());
  return { agents, changes, link: () => agents.links().get('a') };
}

/** Length of the first message, when it is there as a whole: a gRPC frame is one byte, the length in four, and the message. */
function frameLength(bytes: Buffer): number | null {
  const length = bytes.length < 5 ? Infinity : bytes.readUInt32BE(1);
  return bytes.length < 5 + length ? null : length;
}

const order: Order = {
  incarnation: incarnation('i'),
  vm: 'web',
  uid: vmUid('u'),
  term: term(5),
  epoch: epoch(6),
  goal: { kind: 'release-primary', born: epoch(2), acceptLoss: false },
  spec: aSpec(),
};

describe('a followed agent', () => {
  it('of a newer version, which says words that are not known here -> is heard, and they are told of', async () => {
    const agent = new Agent();
    const { port } = await agent.serve();
    const { agents, link } = coordinator();
    agents.follow([key(port)]);
    agent.change({ vms: [aVmReport({ pair: { state: 'new' as never, evidence: [] } })] });
    await eventually('heard', 2_000, () => link()?.report?.vms[0]?.pair.state === 'unknown');
    expect(link()).toMatchObject({ heard: true, strange: ['vms[0].pair.state: unknown word "new", read as unknown'] });
    agent.change({ vms: [aVmReport()] });
    await eventually('upgraded', 2_000, () => link()?.strange.length === 0);
  });

  it('-> is heard, and each change arrives at once', async () => {
    const agent = new Agent();
    const { port } = await agent.serve();
    const { agents, link } = coordinator();
    agents.follow([key(port)]);
    await eventually('heard', 2_000, () => link()?.heard === true);
    agent.change({ vms: [aVmReport()] });
    const ms = await eventually('the change', 500, () => link()?.report?.vms.length === 1);
    expect(ms).toBeLessThan(100);
    expect(link()?.report?.vms[0]).toEqual(aVmReport());
  });

  it('that changes many times in one turn -> one report', async () => {
    const agent = new Agent();
    const { port } = await agent.serve();
    const { agents, link } = coordinator();
    agents.follow([key(port)]);
    await eventually('heard', 2_000, () => link()?.heard === true);
    const before = agent.made;
    for (let index = 1; index <= 1_000; index += 1) agent.change({ freeDiskBytes: index });
    await eventually('the last change', 500, () => link()?.report?.freeDiskBytes === 1_000);
    expect(agent.made - before).toBeLessThanOrEqual(2);
  });

  it('that is quiet -> still reports, and stays heard', async () => {
    const agent = new Agent();
    const { port } = await agent.serve();
    const { agents, link, changes } = coordinator();
    agents.follow([key(port)]);
    await eventually('heard', 2_000, () => link()?.heard === true);
    await staysTrue(() => link()?.heard === true, { what: 'heard', boundMs: 1_200 });
    expect(changes.length).toBeGreaterThanOrEqual(4);
  });

  it('whose process dies -> unheard within milliseconds, its last report is kept, and it is heard again when it returns', async () => {
    const agent = new Agent();
    const server = await agent.serve();
    const { agents, link } = coordinator();
    agents.follow([key(server.port)]);
    await eventually('heard', 2_000, () => link()?.heard === true);
    await server.close(0);
    const ms = await eventually('unheard', 500, () => link()?.heard === false);
    expect(ms).toBeLessThan(200);
    expect(link()?.report?.host).toBe('a');
    agent.state = aReport({ session: 's2' });
    await agent.serve(`127.0.0.1:${server.port}`);
    await eventually('heard again', 1_500, () => link()?.heard === true && link()?.report?.session === 's2');
  });

  it('that falls silent with its connection open -> unheard after the limit and not before', async () => {
    // One report and no more is what a hung agent looks like from outside.
    const hung = agentService(ports, new Agent().face);
    const silent: AgentServiceServer = {
      ...(hung.implementation as AgentServiceServer),
      watch: (call) => call.write(reportToWire(aReport())),
    };
    const server = await serveGrpc(ports, {
      address: '127.0.0.1:0',
      security: insecureLab,
      services: [{ ...hung, implementation: silent }],
    });
    if (!server.ok) throw new Error(server.error);
    cleanups.push(() => server.value.close(0));
    const { agents, link } = coordinator(400);
    agents.follow([key(server.value.port)]);
    await eventually('heard', 2_000, () => link()?.heard === true);
    await staysTrue(() => link()?.heard === true, { what: 'heard within the limit', boundMs: 300, everyMs: 10 });
    await eventually('unheard', 500, () => link()?.heard === false);
  });

  it('whose reader does not read -> reports are left out, not queued, and the newest comes when it reads again', async () => {
    const agent = new Agent();
    agent.state = aReport({ vms: Array.from({ length: 50 }, () => aVmReport()) });
    const { port } = await agent.serve();
    // HTTP/2 by hand: grpc-js's own client takes in what it is sent even when nobody reads.
    const session = connect(`http://127.0.0.1:${port}`);
    cleanups.push(() => session.destroy());
    const stream = session.request({
      ':method': 'POST',
      ':path': AgentServiceService.watch.path,
      'content-type': 'application/grpc',
      te: 'trailers',
    });
    stream.end(Buffer.alloc(5));
    let changes = 0;
    await eventually('many changes', 10_000, () => {
      agent.change({ freeDiskBytes: (changes += 1) });
      return changes >= 300;
    });
    expect(agent.made).toBeLessThan(100);
    let unread = Buffer.alloc(0);
    let newest = 0;
    stream.on('data', (bytes: Buffer) => {
      unread = Buffer.concat([unread, bytes]);
      for (let length = frameLength(unread); length !== null; length = frameLength(unread)) {
        newest = HostMessage.decode(unread.subarray(5, 5 + length)).freeDiskBytes;
        unread = unread.subarray(5 + length);
      }
    });
    await eventually('the newest', 2_000, () => newest === changes);
  });

  it('that answers as another host -> never heard', async () => {
    const agent = new Agent();
    const { port } = await agent.serve();
    const { agents, link } = coordinator();
    agents.follow([key(port, { hostId: hostId('someone-else') })]);
    await eventually('reports were made', 2_000, () => agent.made >= 2);
    expect(link()).toMatchObject({ heard: false, report: null });
  });

  it('that moves to another address -> followed there; one that is gone from the list -> let go', async () => {
    const agent = new Agent();
    const first = await agent.serve();
    const second = await agent.serve();
    const { agents, link } = coordinator();
    agents.follow([key(first.port)]);
    await eventually('heard', 2_000, () => link()?.heard === true);
    agents.follow([key(second.port)]);
    await eventually('heard there', 2_000, () => link()?.heard === true);
    await eventually('only one stream', 2_000, () => agent.listeners() === 1);
    agents.follow([]);
    await eventually('no stream', 2_000, () => agent.listeners() === 0);
    expect(agents.links().size).toBe(0);
  });
});

describe('an order', () => {
  async function ordered(change: (agent: Agent) => void) {
    const agent = new Agent();
    change(agent);
    const { port } = await agent.serve();
    const { agents } = coordinator();
    agents.follow([key(port)]);
    return { agent, outcome: await agents.order('a', order) };
  }

  it('that is accepted -> accepted, and the agent has it as it was meant', async () => {
    const { agent, outcome } = await ordered(() => undefined);
    expect(outcome).toEqual({ kind: 'accepted' });
    expect(agent.orders).toEqual([order]);
  });

  it('that is refused -> the refusal and its detail', async () => {
    const refused: OrderAnswer = { kind: 'refused', refusal: 'older-epoch', detail: 'journal has 9' };
    const { outcome } = await ordered((agent) => (agent.answer = refused));
    expect(outcome).toEqual(refused);
  });

  it('whose journal never answers -> lost, within the order deadline', async () => {
    const { outcome } = await ordered((agent) => (agent.face.order = () => new Promise(() => undefined)));
    expect(outcome).toMatchObject({ kind: 'lost' });
  });

  it('whose handler fails -> lost, and the agent goes on', async () => {
    const { outcome } = await ordered((agent) => (agent.face.order = () => Promise.reject(new Error('disk'))));
    expect(outcome).toMatchObject({ kind: 'lost', detail: expect.stringContaining('disk') as string });
  });

  it('to a host that nobody knows or that is dead -> lost, not thrown', async () => {
    const { agents } = coordinator();
    expect(await agents.order('a', order)).toMatchObject({ kind: 'lost' });
    agents.follow([key(1)]);
    expect(await agents.order('a', order)).toMatchObject({ kind: 'lost' });
  });

  it('that the agent cannot read -> refused as invalid, with the field', async () => {
    const agent = new Agent();
    const { port } = await agent.serve();
    const line = dial(ports, `127.0.0.1:${port}`);
    cleanups.push(() => line.close());
    const reply = await line.call(
      AgentServiceService.order,
      { incarnation: '', vm: 'web', uid: 'u', term: 1, epoch: 1, spec: undefined, goal: { $case: 'destroy', value: {} } },
      1_000,
    );
    expect(reply).toMatchObject({
      ok: true,
      value: { accepted: false, refusal: 'invalid', detail: expect.stringContaining('incarnation: is missing') as string },
    });
    expect(agent.orders).toEqual([]);
  });
});

describe('a probe', () => {
  it('-> the agent looks, and what it saw is known when the probe ends', async () => {
    const agent = new Agent();
    const { port } = await agent.serve();
    const { agents, link } = coordinator();
    agents.follow([key(port)]);
    await eventually('heard', 2_000, () => link()?.heard === true);
    agent.face.probe = async (vm) => {
      agent.probes.push(vm);
      agent.state = { ...agent.state, freeDiskBytes: 77 };
    };
    await agents.probe('a', 'web', 500);
    expect(agent.probes).toEqual(['web']);
    expect(link()?.report?.freeDiskBytes).toBe(77);
  });

  it('that hangs -> over at its deadline, and the stream goes on', async () => {
    const agent = new Agent();
    const { port } = await agent.serve();
    const { agents, link } = coordinator();
    agents.follow([key(port)]);
    await eventually('heard', 2_000, () => link()?.heard === true);
    agent.face.probe = () => new Promise(() => undefined);
    const started = performance.now();
    await agents.probe('a', 'web', 100);
    expect(performance.now() - started).toBeLessThan(400);
    agent.change({ freeDiskBytes: 5 });
    await eventually('the stream goes on', 500, () => link()?.report?.freeDiskBytes === 5);
    expect(link()?.heard).toBe(true);
  });
});
