// Who may call what, tried: real servers of both services, real certificates of each role, every method. What is forbidden answers
// PERMISSION_DENIED; what is allowed reaches the handler, whatever that says.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, type ConnectionOptions } from 'node:tls';
import type { MethodDefinition, ServiceDefinition, UntypedServiceImplementation } from '@grpc/grpc-js';
import { service as healthService } from 'grpc-health-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ACCESS, ROLES, type Identity, type Role } from '../../../shared/core/access.js';
import { AgentServiceService } from '../../../shared/gen/colo/v1/agent.js';
import { CoordinatorServiceService } from '../../../shared/gen/colo/v1/coordinator.js';
import { systemClock } from '../../../shared/io/clock.js';
import { systemRandom } from '../../../shared/io/random.js';
import { dial, type Line } from '../../../shared/io/rpc/client.js';
import { callerOf } from '../../../shared/io/rpc/guard.js';
import { fixedTls, linkTo, type Security } from '../../../shared/io/rpc/security.js';
import { serveGrpc, type GrpcServer } from '../../../shared/io/rpc/server.js';
import { fakeLog, type FakeLog } from '../../fakes/clock.js';
import { eventually } from '../../support/wait.js';
import type { PemPair } from '../../../shared/io/pki/authority.js';
import { aTestAuthority, type TestAuthority } from '../../support/certificates.js';

const clock = systemClock();
const CALL_MS = 4_000;
const folder = mkdtempSync(join(tmpdir(), 'colo-matrix-'));
const closing: (() => unknown)[] = [];

let authority: TestAuthority;
let log: FakeLog;
const servers: Record<'agent' | 'coordinator', { server: GrpcServer; seen: string[] }> = {} as never;

async function securityOf(identity: Identity, from = authority, days?: number): Promise<Security> {
  const made = fixedTls(await from.files(identity, days));
  if (!made.ok) throw new Error(made.error);
  return made.value;
}

/** Each method answers with its own refusal, so that reaching it is seen, and remembers who called. */
function reached(definition: ServiceDefinition, seen: string[]): UntypedServiceImplementation {
  const entries = Object.entries(definition).map(([name, method]): [string, UntypedServiceImplementation[string]] => [
    name,
    (...[call, answer]: unknown[]) => {
      const { metadata } = call as { readonly metadata: Parameters<typeof callerOf>[0] };
      seen.push(`${callerOf(metadata)} ${method.path}`);
      const refusal = { code: 9, details: 'reached' };
      if (typeof answer === 'function') (answer as (error: object) => void)(refusal);
      else (call as { emit(event: string, error: object): void }).emit('error', refusal);
    },
  ]);
  return Object.fromEntries(entries);
}

beforeAll(async () => {
  authority = await aTestAuthority(folder);
  log = fakeLog();
  const start = async (role: 'agent' | 'coordinator', name: string, definition: ServiceDefinition): Promise<void> => {
    const seen: string[] = [];
    const security = await securityOf({ role, name: 'here' });
    const services = [{ name, definition, implementation: reached(definition, seen) }];
    const server = await serveGrpc({ clock, log }, { address: '127.0.0.1:0', security, services });
    if (!server.ok) throw new Error(server.error);
    server.value.setServing(true);
    servers[role] = { server: server.value, seen };
    closing.push(() => server.value.close(0));
  };
  await start('agent', 'colo.v1.AgentService', AgentServiceService);
  await start('coordinator', 'colo.v1.CoordinatorService', CoordinatorServiceService);
});

afterAll(async () => {
  for (const each of closing.reverse()) await each();
  rmSync(folder, { recursive: true });
});

function lineTo(role: 'agent' | 'coordinator', security: Security, name: string | null = 'here'): Line {
  const line = dial({ clock, random: systemRandom() }, `127.0.0.1:${servers[role].server.port}`, {
    link: linkTo(security, { role, name }),
  });
  closing.push(() => line.close());
  return line;
}

type AnyMethod = MethodDefinition<object, object>;

/** An allowed call answers something of its own; `denied` is the guard's word. */
async function outcomeOf(line: Line, method: AnyMethod): Promise<string> {
  const answer = await line.call(
    { path: method.path, requestSerialize: () => Buffer.alloc(0), responseDeserialize: (bytes: Buffer) => bytes },
    {},
    CALL_MS,
  );
  if (answer.ok) return 'allowed';
  if (answer.error.kind !== 'refused') return answer.error.detail;
  return answer.error.code === 'PERMISSION_DENIED' ? 'denied' : 'allowed';
}

const METHODS: readonly (readonly ['agent' | 'coordinator', AnyMethod])[] = [
  ...Object.values(AgentServiceService).map((method) => ['agent', method as unknown as AnyMethod] as const),
  ...Object.values(CoordinatorServiceService).map((method) => ['coordinator', method as unknown as AnyMethod] as const),
  ...(['agent', 'coordinator'] as const).flatMap((where) =>
    [healthService['Check'], healthService['List']].flatMap((method) =>
      method === undefined ? [] : [[where, method as AnyMethod] as const],
    ),
  ),
];

describe('each role at each method', () => {
  const rows: string[] = [];

  it.each(ROLES)(
    'called by a %s -> allowed exactly where the table says so',
    async (role: Role) => {
      const security = await securityOf({ role, name: 'somebody' });
      const lines = { agent: lineTo('agent', security), coordinator: lineTo('coordinator', security) };
      const wrong: string[] = [];
      for (const [where, method] of METHODS) {
        const outcome = await outcomeOf(lines[where], method);
        rows.push(`${method.path.padEnd(46)} ${where.padEnd(12)} ${role.padEnd(12)} ${outcome}`);
        const wanted = ACCESS[method.path]?.includes(role) === true ? 'allowed' : 'denied';
        if (outcome !== wanted) wrong.push(`${method.path} by ${role}: ${outcome}, not ${wanted}`);
      }
      expect(wrong).toEqual([]);
    },
    30_000,
  );

  it('in one table -> printed, and complete', () => {
    console.log(rows.sort().join('\n'));
    expect(rows).toHaveLength(METHODS.length * ROLES.length);
  });

  it('that is denied -> never reaches its handler, and is logged with who tried', () => {
    const reachedDenied = [...servers.agent.seen, ...servers.coordinator.seen].filter((each) => {
      const [caller = '', path = ''] = each.split(' ');
      return ACCESS[path]?.some((role) => caller.startsWith(`${role}/`)) !== true;
    });
    expect(reachedDenied).toEqual([]);
    expect(servers.agent.seen.length).toBe(4);
    expect(log.lines.filter((each) => each.event === 'call-denied').map((each) => each.fields['by'])).toEqual(
      expect.arrayContaining(['viewer/somebody', 'agent/somebody', 'operator/somebody']),
    );
  });

  it('that changes something -> is logged with who made it, and the handler knows', () => {
    expect(log.lines.filter((each) => each.event === 'call').map((each) => each.fields['by'])).toContain('operator/somebody');
    expect(servers.coordinator.seen).toContain('operator/somebody /colo.v1.CoordinatorService/StopVm');
  });
});

describe('a certificate that is no good', () => {
  const status = CoordinatorServiceService.getStatus as unknown as AnyMethod;

  /** What becomes of a TLS connection to the coordinator: `open` once it has been let in, else why not. */
  async function knock(options: ConnectionOptions): Promise<string> {
    let outcome = '';
    const { port } = servers.coordinator.server;
    const socket = connect({
      port,
      host: '127.0.0.1',
      ca: authority.pair.certificate,
      ALPNProtocols: ['h2'],
      checkServerIdentity: () => undefined,
      ...options,
    });
    closing.push(() => socket.destroy());
    socket.on('error', (error: Error) => (outcome = error.message));
    socket.on('close', () => (outcome ||= 'closed'));
    // The server speaks first in HTTP/2, but only to whom it has let in.
    socket.on('data', () => (outcome ||= 'open'));
    await eventually('an outcome', 5_000, () => outcome !== '');
    return outcome;
  }
  const shown = ({ certificate, key }: PemPair): ConnectionOptions => ({ cert: certificate, key });

  it('of our authority and a role -> is let in', async () => {
    expect(await knock(shown(await authority.sign(['colo://role/viewer/v'])))).toBe('open');
  });

  it('of another authority -> refused', async () => {
    const other = await aTestAuthority(folder, 'other');
    expect(await knock(shown(await other.sign(['colo://role/operator/mallory'])))).toMatch(/alert|closed/);
  });

  it.each([
    ['no role', []],
    ['an unknown role', ['colo://role/admin/x']],
    ['two roles', ['colo://role/viewer/v', 'colo://role/operator/v']],
  ])('with %s -> refused', async (_, uris) => {
    expect(await knock(shown(await authority.sign(uris)))).toMatch(/closed|reset/i);
  });

  it('that is older TLS -> refused', async () => {
    expect(await knock({ ...shown(await authority.sign(['colo://role/viewer/v'])), maxVersion: 'TLSv1.2' })).toMatch(/alert|closed/);
  });

  it('that has expired -> no call', async () => {
    const line = lineTo('coordinator', await securityOf({ role: 'operator', name: 'late' }, authority, -0.01));
    expect(await outcomeOf(line, status)).not.toBe('allowed');
  });

  it('that is missing -> no call', async () => {
    const line = dial({ clock, random: systemRandom() }, `127.0.0.1:${servers.coordinator.server.port}`);
    closing.push(() => line.close());
    expect(await outcomeOf(line, status)).not.toBe('allowed');
  });

  it('of the agent of another host -> its host is not spoken for: the caller hangs up', async () => {
    const line = lineTo('agent', await securityOf({ role: 'coordinator', name: 'x' }), 'elsewhere');
    const outcome = await outcomeOf(line, AgentServiceService.getHost as unknown as AnyMethod);
    expect(outcome).not.toBe('allowed');
    expect(outcome).toMatch(/agent\/elsewhere was dialled, and agent\/here answered|No connection established/);
  });
});
