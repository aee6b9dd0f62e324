// The folder of a cluster: what is made offline for each machine is complete, is read by the daemons' own readers, and is never written over.

import { createPrivateKey, X509Certificate } from 'node:crypto';
import { appendFileSync, copyFileSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  addHost,
  addPerson,
  initCluster,
  openFolder,
  renewHost,
  replaceHeartbeatKey,
  type Folder,
} from '../../../shared/io/pki/cluster-folder.js';
import { describeProblems, loadAgentConfig, loadCoordinatorConfig } from '../../../shared/io/config.js';
import { readMaterial } from '../../../shared/io/tls/material.js';
import { readQemuCertificate } from '../../../shared/io/tls/qemu-certificate.js';

const NOW = Date.now();
const base = mkdtempSync(join(tmpdir(), 'colo-folder-'));
const path = join(base, 'blue');
const members = [
  { name: 'host1', address: '10.0.0.1' },
  { name: 'host2', address: '10.0.0.2' },
  { name: 'voter', address: '10.0.0.3' },
];
let folder: Folder;

function value<T>(done: { readonly ok: true; readonly value: T } | { readonly ok: false; readonly error: unknown }): T {
  if (!done.ok) throw new Error(String(done.error));
  return done.value;
}

beforeAll(async () => {
  value(await initCluster(path, { cluster: 'blue', members }, 'alice', NOW));
  folder = value(openFolder(path, NOW));
  for (const [name, replicationAddress] of [
    ['host1', '10.0.1.1'],
    ['host2', '10.0.1.2'],
    ['voter', null],
  ] as const) {
    const address = members.find((each) => each.name === name)?.address ?? '';
    value(await addHost(folder, { name, address, replicationAddress, bridge: 'br0' }, NOW));
  }
  value(await addHost(folder, { name: 'host4', address: '10.0.0.4', replicationAddress: '10.0.1.4', bridge: null }, NOW));
});
afterAll(() => rmSync(base, { recursive: true }));

const hostFile = (host: string, file: string): string => join(path, 'hosts', host, file);
const tlsOf = (host: string, who: string) => ({
  ca: hostFile(host, 'ca.crt'),
  certificate: hostFile(host, `${who}.crt`),
  key: hostFile(host, `${who}.key`),
});

describe('a cluster that is begun', () => {
  it.each([
    ['host1', ['agent.crt', 'agent.key', 'agent.yaml', 'ca.crt', 'coordinator.crt', 'coordinator.key', 'coordinator.yaml']],
    ['host4', ['agent.crt', 'agent.key', 'agent.yaml', 'ca.crt', 'heartbeat.key', 'host.yaml', 'install.sh']],
    [
      'voter',
      ['ca.crt', 'coordinator.crt', 'coordinator.key', 'coordinator.yaml', 'etcd.crt', 'etcd.env', 'etcd.key', 'host.yaml', 'install.sh'],
    ],
  ])('with %s -> has all that it needs', (host, files) => {
    const found = readdirSync(join(path, 'hosts', host));
    expect(found).toEqual(expect.arrayContaining(files));
    expect(found.includes('agent.yaml')).toBe(host !== 'voter');
    expect(found.includes('etcd.env')).toBe(host !== 'host4');
  });

  it.each([
    ['host1', 'agent', { role: 'agent', name: 'host1' }],
    ['host2', 'coordinator', { role: 'coordinator', name: 'host2' }],
  ] as const)('with %s -> certificates of its %s say who it is', (host, who, identity) => {
    expect(readMaterial(tlsOf(host, who))).toMatchObject({ ok: true, value: { identity } });
  });

  it('with configuration -> the daemons read it as it is', () => {
    const agent = loadAgentConfig(hostFile('host1', 'agent.yaml'));
    if (!agent.ok) throw new Error(describeProblems(agent.error));
    expect(agent.value).toMatchObject({
      cluster: 'blue',
      listen: '10.0.0.1:7400',
      etcd: { endpoints: ['https://10.0.0.1:2379', 'https://10.0.0.2:2379', 'https://10.0.0.3:2379'] },
      heartbeat: { keyFile: '/etc/colo-ha/heartbeat.key' },
    });
    expect(loadCoordinatorConfig(hostFile('voter', 'coordinator.yaml'))).toMatchObject({ ok: true, value: { name: 'voter' } });
  });

  it('with keys -> only their owner can read them', () => {
    const all = readdirSync(path, { recursive: true, withFileTypes: true }).filter((each) => each.isFile() && each.name.endsWith('.key'));
    expect(all.length).toBeGreaterThan(8);
    for (const each of all) expect(statSync(join(each.parentPath, each.name)).mode & 0o777, each.name).toBe(0o600);
    expect(readFileSync(hostFile('host1', 'heartbeat.key'))).toEqual(readFileSync(hostFile('host4', 'heartbeat.key')));
  });

  it('whose heartbeat key is replaced -> has the new one before the old one on every host with an agent, then the new one alone', async () => {
    const keysOf = (host: string): readonly string[] => readFileSync(hostFile(host, 'heartbeat.key'), 'utf8').trim().split('\n');
    const [old] = keysOf('host1');
    expect(replaceHeartbeatKey(folder, 'drop')).toMatchObject({ ok: false });
    expect(replaceHeartbeatKey(folder, 'add')).toMatchObject({ ok: true });
    const [added, kept] = keysOf('host1');
    expect(kept).toBe(old);
    expect(added).toMatch(/^[0-9a-f]{64}$/);
    expect(keysOf('host4')).toEqual([added, kept]);
    expect(replaceHeartbeatKey(folder, 'add')).toMatchObject({ ok: false });
    expect(replaceHeartbeatKey(folder, 'drop')).toMatchObject({ ok: true });
    expect([keysOf('host1'), keysOf('host4')]).toEqual([[added], [added]]);
    expect(readdirSync(join(path, 'hosts/voter'))).not.toContain('heartbeat.key');
  });

  it('begun again in the same folder -> refused, and nothing is changed', async () => {
    const before = readFileSync(join(path, 'ca/ca.key'), 'utf8');
    expect(await initCluster(path, { cluster: 'blue', members }, 'alice', NOW)).toMatchObject({ ok: false });
    expect(await addHost(folder, { name: 'host1', address: '10.0.0.1', replicationAddress: '10.0.1.1', bridge: null }, NOW)).toMatchObject({
      ok: false,
    });
    expect(readFileSync(join(path, 'ca/ca.key'), 'utf8')).toBe(before);
  });

  it('with an even number of members, or two of one name -> refused', async () => {
    expect(await initCluster(join(base, 'even'), { cluster: 'even', members: members.slice(0, 2) }, 'a', NOW)).toMatchObject({ ok: false });
    const twice = [...members.slice(0, 2), { name: 'host1', address: '10.0.0.9' }];
    expect(await initCluster(join(base, 'twice'), { cluster: 'twice', members: twice }, 'a', NOW)).toMatchObject({ ok: false });
  });

  it('whose host is renewed -> has other certificates of the same authority and the same configuration', async () => {
    const before = readFileSync(hostFile('host2', 'agent.crt'));
    const edited = `${readFileSync(hostFile('host2', 'agent.yaml'), 'utf8')}logLevel: debug\n`;
    writeFileSync(hostFile('host2', 'agent.yaml'), edited);
    value(await renewHost(folder, 'host2', NOW));
    expect(readFileSync(hostFile('host2', 'agent.crt'))).not.toEqual(before);
    expect(readMaterial(tlsOf('host2', 'agent'))).toMatchObject({ ok: true });
    expect(readFileSync(hostFile('host2', 'agent.yaml'), 'utf8')).toBe(edited);
    expect(await renewHost(folder, 'nobody', NOW)).toMatchObject({ ok: false });
  });

  it('with a viewer -> has a certificate that cannot serve, and a configuration beside it', async () => {
    const made = value(await addPerson(folder, { role: 'viewer', name: 'bob' }, NOW));
    const certificate = new X509Certificate(readFileSync(join(made, 'bob.crt')));
    expect(certificate.keyUsage).toEqual(['1.3.6.1.5.5.7.3.2']);
    expect(certificate.subject).toBe('CN=viewer.bob');
    expect(readFileSync(join(made, 'coloctl.yaml'), 'utf8')).toContain('10.0.0.3:7500');
  });

  it('with etcd -> only members have the name that members ask for', () => {
    const etcd = new X509Certificate(readFileSync(hostFile('host1', 'etcd.crt')));
    expect(etcd.subject).toBe('CN=etcd-peer');
    expect(etcd.checkHost('colo-etcd')).toBe('colo-etcd');
    expect(etcd.checkIP('10.0.0.1')).toBe('10.0.0.1');
    const agent = new X509Certificate(readFileSync(hostFile('host1', 'agent.crt')));
    expect([agent.subject, agent.checkHost('colo-etcd')]).toEqual(['CN=agent.host1', undefined]);
    expect(readFileSync(hostFile('host1', 'etcd.env'), 'utf8')).toContain('ETCD_PEER_CERT_ALLOWED_CN=etcd-peer');
  });
});

describe('a cluster whose replication is encrypted', () => {
  const secured = join(base, 'green');
  const at = (file: string): string => join(secured, 'hosts/host1', file);

  beforeAll(async () => {
    value(await initCluster(secured, { cluster: 'green', members, encryptReplication: true }, 'alice', NOW));
    const host = { name: 'host1', address: '10.0.0.1', replicationAddress: '10.0.1.1', bridge: 'br0' };
    value(await addHost(value(openFolder(secured, NOW)), host, NOW));
  });

  it('with a host -> has a certificate for its QEMUs, which names their address and no role, and the agent is told', () => {
    const certificate = new X509Certificate(readFileSync(at('qemu.crt')));
    expect(certificate.subject).toBe('CN=qemu.host1');
    expect(certificate.subjectAltName).toBe('IP Address:10.0.1.1');
    expect(certificate.checkPrivateKey(createPrivateKey(readFileSync(at('qemu.key'))))).toBe(true);
    expect(statSync(at('qemu.key')).mode & 0o777).toBe(0o600);
    const loaded = loadAgentConfig(at('agent.yaml'));
    expect(loaded.ok ? loaded.value.qemu.tlsDir : describeProblems(loaded.error)).toBe('/etc/colo-ha/qemu-tls');
    expect(readFileSync(at('install.sh'), 'utf8')).toMatch(/install -m 0400 -o colo-qemu/);
  });

  it('whose files are laid out as QEMU wants them -> found good, and not for another address or with another key', () => {
    const folder = mkdtempSync(join(base, 'qemu-tls-'));
    const layOut = (end: string, from: string): void => copyFileSync(at(from), join(folder, end));
    layOut('ca-cert.pem', 'ca.crt');
    for (const end of ['server', 'client']) {
      layOut(`${end}-cert.pem`, 'qemu.crt');
      layOut(`${end}-key.pem`, 'qemu.key');
    }
    expect(readQemuCertificate(folder, '10.0.1.1')).toMatchObject({ ok: true, value: { identity: 'qemu/host1' } });
    expect(readQemuCertificate(folder, '10.0.1.9')).toMatchObject({ error: expect.stringContaining('is not for 10.0.1.9') as string });
    layOut('client-key.pem', 'agent.key');
    expect(readQemuCertificate(folder, '10.0.1.1')).toMatchObject({ error: expect.stringContaining('is not the key') as string });
    layOut('client-cert.pem', 'agent.crt');
    expect(readQemuCertificate(folder, '10.0.1.1')).toMatchObject({ error: expect.stringContaining('no certificate of a QEMU') as string });
  });

  it('only since it was begun -> a renewal makes what is missing, and the script that installs it', async () => {
    const later = join(base, 'later');
    value(await initCluster(later, { cluster: 'later', members }, 'alice', NOW));
    const host = { name: 'host1', address: '10.0.0.1', replicationAddress: '10.0.1.1', bridge: null };
    value(await addHost(value(openFolder(later, NOW)), host, NOW));
    expect(readdirSync(join(later, 'hosts/host1'))).not.toContain('qemu.crt');
    appendFileSync(join(later, 'cluster.yaml'), 'encryptReplication: true\n');
    value(await renewHost(value(openFolder(later, NOW)), 'host1', NOW));
    expect(readdirSync(join(later, 'hosts/host1'))).toEqual(expect.arrayContaining(['qemu.crt', 'qemu.key']));
    expect(readFileSync(join(later, 'hosts/host1/install.sh'), 'utf8')).toContain('qemu-tls');
  });
});
