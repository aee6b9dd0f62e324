// A cluster that was joined as the handbook says, under TLS: who may do what, what etcd lets an agent write, certificates that are replaced
// while everything runs, and a flood.

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { tryRun } from '../../../deploy/lab/command.js';
import { programs } from '../../../deploy/lab/tree.js';
import { keysOf } from '../../../shared/core/keys.js';
import { AgentServiceService } from '../../../shared/gen/colo/v1/agent.js';
import { systemClock } from '../../../shared/io/clock.js';
import { openStore } from '../../../shared/io/etcd/store.js';
import { systemRandom } from '../../../shared/io/random.js';
import { dial } from '../../../shared/io/rpc/client.js';
import { GUARD_LIMITS } from '../../../shared/io/rpc/guard.js';
import { etcdSecurity, linkTo } from '../../../shared/io/rpc/security.js';
import { fakeLog } from '../../fakes/clock.js';
import { waitFor } from '../../support/wait.js';
import { measure, startFlood } from './measure.js';
import { agentAddress, CLUSTER, coordinatorAddress, etcdEndpoint, HOSTS, metricsAddress, missing, Stage, type HostName } from './stage.js';

const UP_MS = 150_000;
const MEASURE_MS = 120_000;
const clock = systemClock();
const ports = { clock, random: systemRandom() };
const keys = keysOf(`/colo/${CLUSTER}`);
const DAEMONS = [...HOSTS.map((host) => [host, 'coordinator'] as const), ['host1', 'agent'] as const, ['host2', 'agent'] as const];

interface CertificateShape {
  readonly identity: string;
  readonly serial: string;
  readonly problem: string | null;
}

const why = missing();
if (why !== null) console.warn(`skipped: ${why}`);

describe.skipIf(why !== null)('a cluster under TLS', () => {
  const stage = new Stage();

  beforeAll(async () => {
    await stage.make();
    await stage.start();
  }, UP_MS);
  afterAll(() => stage.stop());

  const events = (word: RegExp): readonly string[] =>
    DAEMONS.flatMap(([host, daemon]) =>
      stage
        .log(host, daemon)
        .split('\n')
        .filter((line) => word.test(line))
        .map((line) => `${host} ${daemon} ${line}`),
    );
  /** Whatever tells of a heartbeat, a stream, a lease or a leader that was lost. */
  const losses = (): readonly string[] =>
    events(/"(agent-unheard|lease-lost|lease-gone|leader-suspected|leadership-changed|leadership-won|mirror-lost)"/);
  const certificates = async (): Promise<readonly CertificateShape[]> =>
    JSON.parse((await stage.coloctl(['certs', 'show', '-o', 'json'])).stdout) as readonly CertificateShape[];
  const leader = async (): Promise<HostName> => {
    const name = (await stage.status()).leader;
    const found = HOSTS.find((each) => each === name);
    if (found === undefined) throw new Error('nobody leads');
    return found;
  };

  it('that was joined by init and host add -> has a leader, its hosts, and a certificate for each daemon', async () => {
    expect((await stage.coloctl(['status'])).status).toBe(0);
    console.log((await stage.coloctl(['certs', 'show'])).stdout);
    expect((await certificates()).map((each) => each.identity)).toEqual([
      'operator/alice',
      'agent/host1',
      'agent/host2',
      'coordinator/host1',
      'coordinator/host2',
      'coordinator/voter',
    ]);
  });

  it('that is begun a second time -> refused', async () => {
    const again = await stage.coloctl(['cluster', 'init', CLUSTER, '--folder', stage.folder, '--member', 'a=10.0.0.1']);
    expect([again.status, again.stderr]).toEqual([1, expect.stringContaining('is there already') as string]);
  });

  it('called by a viewer -> shows all and changes nothing: exit 6, and both logs say who it was', async () => {
    const viewer = { COLO_CONFIG: stage.person('viewer') };
    expect((await stage.coloctl(['status'], viewer)).status).toBe(0);
    const stop = await stage.coloctl(['vm', 'stop', 'web'], viewer);
    expect(stop).toMatchObject({ status: 6, stderr: expect.stringContaining('not permitted: viewer/bob may not call StopVm') as string });
    expect(events(/"call-denied"/).filter((line) => line.includes('viewer/bob') && line.includes('StopVm'))).not.toEqual([]);
  });

  it('called without a certificate, or in the open -> exit 2 and 5', async () => {
    expect(await stage.coloctl(['status'], {})).toMatchObject({ status: 2, stderr: expect.stringContaining('--insecure-lab') as string });
    const endpoints = HOSTS.map(coordinatorAddress).join(',');
    expect((await stage.coloctl(['status'], { COLO_INSECURE_LAB: '1', COLO_ENDPOINTS: endpoints })).status).toBe(5);
  });

  it('that an operator changes -> the history has it, with the name from the certificate', async () => {
    const file = join(stage.base, 'web.yaml');
    writeFileSync(file, 'name: web\nmemory: 96M\nmachine: pc-i440fx-11.1\ndisks:\n  - size: 64M\nnics:\n  - mac: 52:54:00:12:34:56\n');
    await stage.must(['vm', 'define', '-f', file]);
    await stage.must(['vm', 'unprotect', 'web']);
    const history = JSON.parse(await stage.must(['history', 'web', '-o', 'json'])) as readonly { row: string; by: string }[];
    expect(history.map((each) => `${each.row} ${each.by}`)).toEqual(['asked-define operator/alice', 'asked-unprotect operator/alice']);
    expect(events(/"call"/).filter((line) => line.includes('operator/alice') && line.includes('DefineVm'))).not.toEqual([]);
  });

  it('whose etcd is written to by an agent -> takes the keys of its own host and no others', async () => {
    const store = openStore([etcdEndpoint('host1')], clock, fakeLog(), {
      security: etcdSecurity(stage.daemon('host1', 'agent'), 'colo-etcd'),
    });
    const put = (key: string, value = '{}') => store.txn([], [{ kind: 'put', key, value, lease: null }]);
    const denied = { ok: false, error: { kind: 'refused', detail: expect.stringContaining('permission denied') as string } };
    for (const key of [
      keys.host('host2'),
      keys.inventoryOf('host2'),
      keys.record('web'),
      keys.spec('web'),
      keys.leader,
      keys.cluster,
      '/other',
    ])
      expect(await put(key), key).toMatchObject(denied);
    const own = await store.get(keys.inventoryOf('host1'));
    expect(await put(keys.inventoryOf('host1'), own.ok ? (own.value.kv?.value ?? '') : '')).toMatchObject({ ok: true });
    expect(await store.get(keys.spec('web'))).toMatchObject({ ok: true });
    store.close();
  });

  it('whose etcd is asked by a viewer, or without a certificate -> says nothing', async () => {
    const viewer = openStore([etcdEndpoint('host1')], clock, fakeLog(), {
      security: etcdSecurity(stage.personSecurity('viewer'), 'colo-etcd'),
    });
    expect(await viewer.get(keys.cluster)).toMatchObject({ ok: false });
    viewer.close();
    const bare = openStore([etcdEndpoint('host1').replace('https', 'http')], clock, fakeLog());
    expect(await bare.get(keys.cluster)).toMatchObject({ ok: false });
    bare.close();
  });

  it('whose agent is called by another agent, or by an operator -> denied', async () => {
    for (const security of [stage.daemon('host2', 'agent'), stage.personSecurity('operator')]) {
      const line = dial(ports, agentAddress('host1'), { link: linkTo(security, { role: 'agent', name: 'host1' }) });
      expect(await line.call(AgentServiceService.getHost, {}, 5_000)).toMatchObject({ error: { code: 'PERMISSION_DENIED' } });
      line.close();
    }
  });

  const figures = async (host: HostName, daemon: 'agent' | 'coordinator', path = '/metrics', method = 'GET') => {
    const answer = await fetch(`http://${metricsAddress(host, daemon)}${path}`, { method, signal: AbortSignal.timeout(5_000) });
    return { status: answer.status, text: await answer.text() };
  };

  it('whose figures somebody without a certificate asks for -> tells those of each daemon in the open, and does nothing else', async () => {
    for (const [host, daemon] of DAEMONS) {
      const { status, text } = await figures(host, daemon);
      expect(status).toBe(200);
      expect(text).toMatch(new RegExp(`^colo_certificate_not_after_seconds\\{identity="${daemon}/${host}"\\} \\d+$`, 'm'));
      expect(text).toMatch(/^colo_authority_not_after_seconds\{/m);
      expect((await figures(host, daemon, '/')).status).toBe(404);
      expect((await figures(host, daemon, '/metrics', 'POST')).status).toBe(405);
    }
    const { leader } = await stage.status();
    const leads = await Promise.all(HOSTS.map(async (host) => /^colo_leads (\d)$/m.exec((await figures(host, 'coordinator')).text)?.[1]));
    expect(leads).toEqual(HOSTS.map((host) => (host === leader ? '1' : '0')));
  });

  it('whose agents prepare to hold frames back -> do so in the network that they run in', async () => {
    expect(await stage.inside('nft', 'list', 'tables')).toContain('table bridge colo_ha');
  });

  it(
    'that is given new certificates while it runs -> takes them up, and no heartbeat, stream, lease or leader is lost',
    async () => {
      const before = new Map((await certificates()).map((each) => [each.identity, each.serial]));
      const lost = losses();
      await stage.must(['certs', 'renew', '--folder', stage.folder]);
      await waitFor(
        async () => {
          const now = (await certificates()).filter((each) => each.identity !== 'operator/alice');
          return now.length === DAEMONS.length && now.every((each) => before.get(each.identity) !== each.serial && each.problem === null);
        },
        { what: 'new certificates of all daemons', boundMs: 20_000, everyMs: 200 },
      );
      // Longer than a lease lives, so that one that was not kept is seen.
      const calm = await measure(stage, await leader());
      console.log('after the renewal', JSON.stringify(calm));
      expect(losses().slice(lost.length)).toEqual([]);
      expect(events(/"certificate-changed"/)).toHaveLength(DAEMONS.length);
    },
    MEASURE_MS,
  );

  it('that is given half a certificate -> keeps the old one, and status says so', async () => {
    writeFileSync(stage.hostFile('host2', 'agent.crt'), 'half');
    const seen = await waitFor(
      async () => {
        const { problem, problemKind } = await stage.status();
        return problemKind === 'certificate' ? problem : null;
      },
      { what: 'the problem in status', boundMs: 20_000, everyMs: 200 },
    );
    expect(seen).toContain('agent/host2 keeps its old certificate');
    expect((await stage.coloctl(['status'])).status).toBe(3);
    await stage.must(['certs', 'renew', '--host', 'host2', '--folder', stage.folder]);
    await waitFor(async () => (await stage.status()).problem === null, { what: 'the end of the problem', boundMs: 20_000, everyMs: 200 });
  });

  it(
    'under a flood of calls and of half-open connections -> heartbeats, leases and the leader stay, and others are answered',
    async () => {
      const leads = await leader();
      const { term } = await stage.status();
      const calm = await measure(stage, leads);
      const lost = losses();
      const flood = startFlood(stage, leads);
      const struck = await measure(stage, leads);
      const counts = await flood.stop();
      console.log(`calm  ${JSON.stringify(calm)}\nflood ${JSON.stringify(struck)}\n      ${JSON.stringify(counts)}`);
      expect(losses().slice(lost.length)).toEqual([]);
      expect((await stage.status()).term).toBe(term);
      // However slow or fast the machine floods: nobody is answered more often than he may ask.
      const { perSecond, burst } = GUARD_LIMITS.calls;
      expect(counts.answered).toBeLessThanOrEqual(burst + (perSecond * counts.lastedMs) / 1_000);
      expect(counts.refused + counts.cut).toBeGreaterThan(0);
      expect(struck.etcdSilentMs.max).toBeLessThan(2_000);
      // The places of those who said nothing are free again.
      const answers = (host: HostName, daemon: 'agent' | 'coordinator') =>
        figures(host, daemon)
          .then(({ status }) => status === 200)
          .catch(() => false);
      for (const [host, daemon] of DAEMONS)
        await waitFor(() => answers(host, daemon), { what: `figures of ${daemon}/${host}`, boundMs: 10_000, everyMs: 100 });
    },
    MEASURE_MS,
  );

  it('whose daemons are configured with neither certificates nor insecureLab -> do not start: exit 2, file, line and key', async () => {
    const file = join(stage.base, 'bare.yaml');
    writeFileSync(file, 'cluster: bare\nname: x\nlisten: 127.0.0.1:0\netcd:\n  endpoints: [http://127.0.0.1:1]\n');
    const ran = await tryRun(process.execPath, [programs.coordinator, '--config', file]);
    expect(ran).toMatchObject({ status: 2, stderr: expect.stringMatching(/bare\.yaml:\d+: tls: is missing/) as string });
  });
});
