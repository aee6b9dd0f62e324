// The doctor's look at real certificates, and at an etcd behind mutual TLS, which is played by a server that demands a client's certificate.

import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { stringify } from 'yaml';
import { examine } from '../../../coordinator/cli/doctor/checks.js';
import { lookAtHost } from '../../../coordinator/cli/doctor/look.js';
import { ETCD_SERVER_NAME } from '../../../shared/io/pki/cluster-plan.js';
import { issue } from '../../../shared/io/pki/authority.js';
import type { TlsFiles } from '../../../shared/io/tls/material.js';
import { aTestAuthority, type TestAuthority } from '../../support/certificates.js';

describe('the doctor of a host with certificates', () => {
  const folder = mkdtempSync(join(tmpdir(), 'colo-doctor-'));
  let authority: TestAuthority;
  let etcd: Server;
  let files: TlsFiles;
  let endpoint = '';

  beforeAll(async () => {
    authority = await aTestAuthority(folder);
    files = await authority.files({ role: 'agent', name: 'host1' });
    const subject = { commonName: 'etcd', uris: [], dnsNames: [ETCD_SERVER_NAME], addresses: [], isServer: true, isClient: true };
    const pair = await issue(authority.pair, subject, Date.now(), 1);
    etcd = createServer(
      { ca: authority.pair.certificate, cert: pair.certificate, key: pair.key, requestCert: true, rejectUnauthorized: true },
      (asked, answer) => answer.end(asked.url === '/version' ? '{"etcdserver":"3.5.30","etcdcluster":"3.5.0"}' : ''),
    );
    await new Promise<void>((resolve) => etcd.listen(0, '127.0.0.1', resolve));
    endpoint = `https://127.0.0.1:${(etcd.address() as AddressInfo).port}`;
    writeFileSync(join(folder, 'heartbeat.key'), 'a secret');
  });

  afterAll(async () => {
    await new Promise((resolve) => etcd.close(resolve));
    rmSync(folder, { recursive: true });
  });

  async function look(tls: TlsFiles, host = 'host1', serverName = ETCD_SERVER_NAME) {
    const place = mkdtempSync(join(folder, 'config-'));
    const agent = join(place, 'agent.yaml');
    const config = {
      ...{ cluster: 'blue', host, listen: '127.0.0.1:7400', replicationAddress: '127.0.0.1', stateDir: folder },
      ...{ etcd: { endpoints: [endpoint], serverName }, tls, heartbeat: { keyFile: join(folder, 'heartbeat.key') } },
    };
    writeFileSync(agent, stringify(config));
    const facts = await lookAtHost({ agent, coordinator: join(place, 'none.yaml') });
    const said = (about: string): readonly string[] =>
      examine(facts).flatMap((each) => (each.about === about ? [`${each.level}: ${each.said}`] : []));
    return { facts, certificates: said('certificates'), etcd: said('etcd') };
  }

  const copy = (change: Partial<TlsFiles>): TlsFiles => ({ ...files, ...change });

  test('that are right -> says how long they last, and asks etcd with them', async () => {
    chmodSync(files.key, 0o600);
    chmodSync(join(folder, 'heartbeat.key'), 0o600);
    const { facts, certificates } = await look(files);
    expect(certificates).toEqual(['good: agent/host1, for 364 more days']);
    expect(facts.etcd).toEqual([{ endpoint, version: '3.5.30', problem: '' }]);
  });

  test('whose key can be read by everybody -> says so', async () => {
    chmodSync(files.key, 0o644);
    const { certificates } = await look(files);
    expect(certificates).toContainEqual(expect.stringMatching(/^doubtful: .*own\.key can be read by others/));
    chmodSync(files.key, 0o600);
  });

  test('and another name -> says whose they are', async () => {
    const { certificates } = await look(files, 'host2');
    expect(certificates).toEqual([expect.stringMatching(/^missing: .* is the certificate of agent\/host1, and this is agent\/host2$/)]);
  });

  test('of which one is missing -> names it, and does not ask etcd without', async () => {
    const { facts, certificates, etcd: said } = await look(copy({ certificate: join(folder, 'nothing.crt') }));
    expect(certificates).toEqual([`missing: cannot read ${join(folder, 'nothing.crt')}: ENOENT`]);
    expect(facts.etcd).toEqual([]);
    expect(said).toEqual([expect.stringMatching(/^doubtful: was not asked/)]);
  });

  test('with the key of somebody else -> says so', async () => {
    const other = await authority.files({ role: 'agent', name: 'host3' });
    const { certificates } = await look(copy({ key: other.key }));
    expect(certificates).toEqual([`missing: ${other.key} is not the key of ${files.certificate}`]);
  });

  test('of another authority than etcd -> etcd is not talked to, and why', async () => {
    const place = join(folder, 'red');
    mkdirSync(place);
    const strange = await (await aTestAuthority(place, 'red')).files({ role: 'agent', name: 'host1' });
    chmodSync(strange.key, 0o600);
    const { facts, certificates } = await look(strange);
    expect(certificates).toEqual(['good: agent/host1, for 364 more days']);
    expect(facts.etcd[0]?.version).toBeNull();
    expect(facts.etcd[0]?.problem).toMatch(/certificate/);
  });

  test('of an authority that has half a year left -> says that all that it signed goes with it', async () => {
    const place = join(folder, 'old');
    mkdirSync(place);
    const old = await (await aTestAuthority(place, 'old', 170)).files({ role: 'agent', name: 'host1' });
    chmodSync(old.key, 0o600);
    const { certificates } = await look(old);
    expect(certificates).toEqual([
      'good: agent/host1, for 169 more days',
      `doubtful: the authority "authority old" in ${old.ca} expires in 169 days, and with it all that it signed`,
    ]);
  });

  test('and an etcd of another name -> is not believed', async () => {
    const { facts } = await look(files, 'host1', 'another-etcd');
    expect(facts.etcd[0]).toMatchObject({ version: null, problem: expect.stringMatching(/another-etcd/) as string });
  });
});
