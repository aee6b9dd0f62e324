// Connections to a process that is stopped: its kernel accepts them, and nobody ever says a word. They must not pile up on either side, and a
// connection that has been answered is left alone, with and without TLS.

import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { AgentServiceService, HostReport, type AgentServiceServer } from '../../../shared/gen/colo/v1/agent.js';
import type { Identity } from '../../../shared/core/access.js';
import { systemClock } from '../../../shared/io/clock.js';
import { Member } from '../../../shared/io/etcd/member.js';
import { systemRandom } from '../../../shared/io/random.js';
import { dial } from '../../../shared/io/rpc/client.js';
import { insecureLab, linkTo, type Security } from '../../../shared/io/rpc/security.js';
import { serveGrpc } from '../../../shared/io/rpc/server.js';
import { keepTls } from '../../../shared/io/tls/keeper.js';
import { fakeLog } from '../../fakes/clock.js';
import { aTestAuthority } from '../../support/certificates.js';
import { eventually, waitFor } from '../../support/wait.js';

const clock = systemClock();
const ports = { clock, random: systemRandom(), log: fakeLog() };
const AGENT = { role: 'agent', name: 'a' } as const;
const ENDED_MS = 4_000;
const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const each of cleanups.splice(0).reverse()) await each();
});

/** Accepts, and never says anything. */
async function silentServer(): Promise<{ readonly port: number; readonly open: () => number; readonly accepted: () => number }> {
  const sockets = new Set<Socket>();
  let accepted = 0;
  const server = createServer((socket) => {
    accepted += 1;
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => sockets.delete(socket));
    socket.resume();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  cleanups.push(() => {
    for (const each of sockets) each.destroy();
    server.close();
  });
  return { port: (server.address() as AddressInfo).port, open: () => sockets.size, accepted: () => accepted };
}

describe('connections to a peer that never says a word', () => {
  it('of calls to an etcd member, each given up -> none is open any more a little later', async () => {
    const { port, open, accepted } = await silentServer();
    const member = new Member(`http://127.0.0.1:${port}`, clock);
    for (let call = 0; call < 5; call += 1)
      expect(await member.call('read', 60, (client, options) => client.kv.range({ key: Buffer.from('a') }, options))).toMatchObject({
        ok: false,
      });
    expect(accepted()).toBe(5);
    await eventually('the end of all of them', ENDED_MS, () => open() === 0);
  });

  it('of calls to an agent, each given up -> none is open any more a little later', async () => {
    const { port, open, accepted } = await silentServer();
    const line = dial(ports, `127.0.0.1:${port}`);
    cleanups.push(() => line.close());
    for (let call = 0; call < 5; call += 1) expect(await line.call(AgentServiceService.getHost, {}, 60)).toMatchObject({ ok: false });
    expect(accepted()).toBe(5);
    await eventually('the end of all of them', ENDED_MS, () => open() === 0);
  });
});

describe('a connection that has been answered', () => {
  const implementation: AgentServiceServer = {
    watch: () => undefined,
    getHost: (_call, answer) => answer(null, HostReport.create({ host: 'a' })),
    order: () => undefined,
    probe: () => undefined,
  };

  interface Ends {
    readonly server: Security;
    readonly caller: Security;
  }

  async function withTls(): Promise<Ends> {
    const folder = mkdtempSync(join(tmpdir(), 'colo-silent-'));
    cleanups.push(() => rmSync(folder, { recursive: true }));
    const authority = await aTestAuthority(folder, 'test');
    const security = async (self: Identity): Promise<Security> => {
      const kept = keepTls(ports, await authority.files(self), self, 60_000);
      if (!kept.ok) throw new Error(kept.error);
      cleanups.push(() => kept.value.close());
      return { kind: 'tls', keeper: kept.value };
    };
    return { server: await security(AGENT), caller: await security({ role: 'coordinator', name: 'c' }) };
  }

  it.each([
    ['without certificates', () => Promise.resolve({ server: insecureLab, caller: insecureLab })],
    ['with TLS', withTls],
  ])('%s, and then rests -> is there for the next call', async (_, security) => {
    const secured = await security();
    const server = await serveGrpc(ports, {
      address: '127.0.0.1:0',
      security: secured.server,
      services: [{ name: 'colo.v1.AgentService', definition: AgentServiceService, implementation }],
    });
    if (!server.ok) throw new Error(server.error);
    cleanups.push(() => server.value.close(0));
    const made: Socket[] = [];
    const note = (message: unknown): void => void made.push((message as { readonly socket: Socket }).socket);
    subscribe('net.client.socket', note);
    cleanups.push(() => unsubscribe('net.client.socket', note));
    const line = dial(ports, `127.0.0.1:${server.value.port}`, { link: linkTo(secured.caller, AGENT) });
    cleanups.push(() => line.close());
    expect(await line.call(AgentServiceService.getHost, {}, 2_000)).toMatchObject({ ok: true });
    const began = performance.now();
    await waitFor(() => performance.now() - began > 2_500, { what: 'a rest longer than a silence may be', boundMs: ENDED_MS });
    expect(await line.call(AgentServiceService.getHost, {}, 2_000)).toMatchObject({ ok: true });
    expect(made.map((each) => each.destroyed)).toEqual([false]);
  });
});
