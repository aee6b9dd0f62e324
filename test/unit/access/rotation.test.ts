// A daemon's certificate over time: a new pair is taken up while calls go on, and one that is broken, half-written, foreign or expired is not.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { AgentServiceService, HostReport, type AgentServiceServer } from '../../../shared/gen/colo/v1/agent.js';
import { systemClock } from '../../../shared/io/clock.js';
import { systemRandom } from '../../../shared/io/random.js';
import { dial } from '../../../shared/io/rpc/client.js';
import { linkTo, type Security } from '../../../shared/io/rpc/security.js';
import { serveGrpc } from '../../../shared/io/rpc/server.js';
import { keepTls, type TlsKeeper } from '../../../shared/io/tls/keeper.js';
import type { TlsFiles } from '../../../shared/io/tls/material.js';
import { fakeLog, type FakeLog } from '../../fakes/clock.js';
import { aTestAuthority, type TestAuthority } from '../../support/certificates.js';
import { eventually } from '../../support/wait.js';

const LOOK_MS = 10;
const BOUND_MS = 5_000;
const clock = systemClock();
const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const each of cleanups.splice(0).reverse()) await each();
});

const AGENT = { role: 'agent', name: 'a' } as const;

async function kept(
  days = 365,
  authorityDays = 3_650,
): Promise<{ authority: TestAuthority; files: TlsFiles; keeper: TlsKeeper; log: FakeLog }> {
  const folder = mkdtempSync(join(tmpdir(), 'colo-rotation-'));
  cleanups.push(() => rmSync(folder, { recursive: true }));
  const authority = await aTestAuthority(folder, 'test', authorityDays);
  const files = await authority.files(AGENT, days);
  const log = fakeLog();
  const keeper = keepTls({ clock, log }, files, AGENT, LOOK_MS);
  if (!keeper.ok) throw new Error(keeper.error);
  cleanups.push(() => keeper.value.close());
  return { authority, files, keeper: keeper.value, log };
}

describe('new files', () => {
  it('that are whole and good -> are in use within a look', async () => {
    const { authority, files, keeper, log } = await kept();
    const before = keeper.report().serial;
    authority.write(files, await authority.sign(['colo://role/agent/a']));
    await eventually('the new pair', BOUND_MS, () => keeper.report().serial !== before);
    expect(keeper.report().problem).toBeNull();
    expect(log.lines.map((each) => each.event)).toContain('certificate-changed');
  });

  it('of which only one half is there yet -> the old pair goes on, until the other half comes', async () => {
    const { authority, files, keeper, log } = await kept();
    const before = keeper.report().serial;
    const next = await authority.sign(['colo://role/agent/a']);
    writeFileSync(files.certificate, next.certificate);
    await eventually('the refusal', BOUND_MS, () => keeper.report().problem !== null);
    expect(keeper.report()).toMatchObject({ serial: before, problem: expect.stringContaining('is not the key of') as string });
    writeFileSync(files.key, next.key);
    await eventually('the new pair', BOUND_MS, () => keeper.report().serial !== before);
    expect(keeper.report().problem).toBeNull();
    expect(log.lines.filter((each) => each.event === 'certificate-refused')).toHaveLength(1);
  });

  it.each([
    ['broken', 'own.crt: '],
    ['cut short', 'own.crt: '],
    ['of another agent', 'is the certificate of agent/b, and this is agent/a'],
    ['of another authority', 'is not signed by an authority'],
    ['expired', 'has expired'],
    ['not valid yet', 'is not valid yet'],
  ])('that are %s -> are refused, said so, and the old pair goes on', async (what, words) => {
    const { authority, files, keeper } = await kept();
    const before = keeper.report().serial;
    const write = async (): Promise<void> => {
      if (what === 'broken') return writeFileSync(files.certificate, 'no certificate');
      const uris = [what === 'of another agent' ? 'colo://role/agent/b' : 'colo://role/agent/a'];
      const day = 86_400_000;
      const made =
        what === 'of another authority'
          ? await (await aTestAuthority(tmpdir(), 'other')).sign(uris)
          : what === 'expired'
            ? await authority.sign(uris, 1, Date.now() - 3 * day)
            : what === 'not valid yet'
              ? await authority.sign(uris, 30, Date.now() + 3 * day)
              : await authority.sign(uris);
      writeFileSync(files.key, made.key);
      writeFileSync(files.certificate, what === 'cut short' ? made.certificate.slice(0, 200) : made.certificate);
    };
    await write();
    await eventually('the refusal', BOUND_MS, () => keeper.report().problem?.includes(words) === true);
    expect(keeper.report().serial).toBe(before);
  });
});

describe('a certificate', () => {
  it('that expires within 30 days -> is warned of at the start', async () => {
    const { log } = await kept(20);
    expect(log.lines.map((each) => each.event)).toContain('certificate-expires');
  });

  it('whose authority expires within half a year -> is warned of at the start, by the name of the authority', async () => {
    const { log } = await kept(20, 170);
    expect(log.lines.filter((each) => each.event === 'authority-expires').map((each) => each.fields['authority'])).toEqual([
      'authority test',
    ]);
  });

  it('that has expired -> does not keep the daemon from starting, and is an alarm', async () => {
    const { log } = await kept(-0.01);
    expect(log.lines.filter((each) => each.level === 'error').map((each) => each.event)).toContain('certificate-expired');
  });
});

describe('a stream', () => {
  it('that is open while both ends are given new certificates -> goes on, and new calls use the new ones', async () => {
    const server = await kept();
    const client = server.authority;
    const folder = mkdtempSync(join(tmpdir(), 'colo-rotation-'));
    cleanups.push(() => rmSync(folder, { recursive: true }));
    const own = { role: 'coordinator', name: 'c' } as const;
    const files = { ca: join(folder, 'ca.crt'), certificate: join(folder, 'own.crt'), key: join(folder, 'own.key') };
    client.write(files, await client.sign(['colo://role/coordinator/c']));
    const keeper = keepTls({ clock, log: fakeLog() }, files, own, LOOK_MS);
    if (!keeper.ok) throw new Error(keeper.error);
    cleanups.push(() => keeper.value.close());
    const secured = (of: TlsKeeper): Security => ({ kind: 'tls', keeper: of });
    let push: () => void = () => undefined;
    const implementation: AgentServiceServer = {
      watch: (call) => {
        push = () => void call.write(HostReport.create({ host: 'a' }));
        push();
      },
      getHost: (_call, answer) => answer(null, HostReport.create({ host: 'a' })),
      order: () => undefined,
      probe: () => undefined,
    };
    const served = await serveGrpc(
      { clock, log: fakeLog() },
      {
        address: '127.0.0.1:0',
        security: secured(server.keeper),
        services: [{ name: 'colo.v1.AgentService', definition: AgentServiceService, implementation }],
      },
    );
    if (!served.ok) throw new Error(served.error);
    cleanups.push(() => served.value.close(0));
    const line = dial({ clock, random: systemRandom() }, `127.0.0.1:${served.value.port}`, {
      link: linkTo(secured(keeper.value), { role: 'agent', name: 'a' }),
    });
    cleanups.push(() => line.close());
    let heard = 0;
    const downs: string[] = [];
    line.follow(
      AgentServiceService.watch,
      { intervalMs: 0 },
      { silentAfterMs: null, firstMessageMs: BOUND_MS },
      { message: () => (heard += 1), down: (error) => downs.push(error.detail) },
    );
    await eventually('the first message', BOUND_MS, () => heard === 1);
    client.write(server.files, await client.sign(['colo://role/agent/a']));
    client.write(files, await client.sign(['colo://role/coordinator/c']));
    await eventually('both new pairs', BOUND_MS, () => server.keeper.version() === 2 && keeper.value.version() === 2);
    expect(await line.call(AgentServiceService.getHost, {}, BOUND_MS)).toMatchObject({ ok: true });
    push();
    await eventually('the second message', BOUND_MS, () => heard === 2);
    expect(downs).toEqual([]);
  });
});
