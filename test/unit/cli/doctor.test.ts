// What the doctor makes of what it finds. Nothing of this machine is looked at here.

import { describe, expect, test } from 'vitest';
import type { CertificateFact } from '../../../coordinator/cli/doctor/certificates.js';
import { examine, type AgentFacts, type HostFacts } from '../../../coordinator/cli/doctor/checks.js';
import { lookAtHost } from '../../../coordinator/cli/doctor/look.js';
import type { Authority } from '../../../shared/io/tls/material.js';
import { aCertificate, aHost, NOW_MS } from '../../support/host-facts.js';

const agent = (change: Partial<AgentFacts>): Partial<HostFacts> => {
  const known = aHost().agent;
  if (known.kind !== 'read') throw new Error('the host of the tests has an agent');
  return { agent: { kind: 'read', value: { ...known.value, ...change } } };
};
const GIB = 1024 ** 3;
const DAY_MS = 24 * 3_600_000;
const certified = (change: Parameters<typeof aCertificate>[0]): Partial<HostFacts> => ({ certificates: [aCertificate(change)] });
const dated = (notBeforeMs: number, notAfterMs: number): Partial<HostFacts> =>
  certified({ found: { kind: 'read', identity: 'agent/host1', notBeforeMs, notAfterMs, authorities: [] } });
const believing = (...authorities: Extract<CertificateFact['found'], { kind: 'read' }>['authorities']): Partial<HostFacts> => {
  const { found } = aCertificate();
  return found.kind === 'read' ? certified({ found: { ...found, authorities } }) : {};
};
const anAuthority = (notAfterMs: number, isOurs = true): Authority => ({ name: 'colo-ha blue', notAfterMs, isOurs });
const secret = (state: 'absent' | 'empty' | 'open' | 'closed'): Partial<HostFacts> =>
  certified({ secrets: [{ file: '/etc/colo-ha/tls/coordinator.key', state, reader: 'colo' }] });

describe('the doctor', () => {
  test('of a host that has everything -> finds only good', () => {
    expect(examine(aHost()).filter((each) => each.level !== 'good')).toEqual([]);
  });

  test.each<readonly [string, Partial<HostFacts>, string, RegExp]>([
    ['an old Node.js', { node: '18.19.0' }, 'node', /18\.19\.0 is too old/],
    ['no configuration', { agent: { kind: 'absent' }, coordinator: { kind: 'absent' } }, 'config', /neither service has a configuration/],
    [
      'a wrong key',
      { agent: { kind: 'broken', problems: ['/etc/colo-ha/agent.yaml:3: lisen: unknown key'] } },
      'config',
      /agent\.yaml:3: lisen/,
    ],
    ['no QEMU', { qemu: null }, 'qemu', /qemu-system-x86_64 cannot be started/],
    [
      'a QEMU without COLO',
      { qemu: { version: '10.0.0', objects: 'iothread', formats: 'raw' } },
      'qemu',
      /without colo-compare.*quorum, replication/,
    ],
    ['no nft', { programsMissing: ['nft'] }, 'programs', /nft is not installed/],
    ['an nft that does not work', { nft: false }, 'nft', /does not work/],
    ['no tun device', { tun: false }, 'taps', /dev\/net\/tun is not there/],
    ['no bridge', { interfaces: ['lo'] }, 'bridge', /no bridge br0/],
    ['no user for QEMU', { users: [] }, 'user', /no user colo-qemu/],
    ['an address of somebody else', agent({ replicationAddress: '10.9.9.9' }), 'addresses', /does not have the address 10\.9\.9\.9/],
    ['a service that is down', { units: { 'colo-agent': 'failed', 'colo-coordinator': 'active' } }, 'services', /colo-agent is failed/],
    [
      'a port that another program has',
      { units: { 'colo-agent': 'inactive', 'colo-coordinator': 'active' } },
      'ports',
      /10\.0\.0\.1:7400 is taken/,
    ],
    [
      'an etcd without a majority',
      { etcd: [{ endpoint: 'http://10.0.0.1:2379', version: null, problem: 'ECONNREFUSED' }] },
      'etcd',
      /does not answer: ECONNREFUSED/,
    ],
    [
      'a certificate that is not there',
      certified({ found: { kind: 'broken', problem: 'cannot read /etc/colo-ha/tls/agent.crt: ENOENT' } }),
      'certificates',
      /cannot read \/etc\/colo-ha\/tls\/agent\.crt/,
    ],
    ['a certificate of another host', certified({ expected: 'agent/host2' }), 'certificates', /is the certificate of agent\/host1/],
    ['a certificate of tomorrow', dated(NOW_MS + DAY_MS, NOW_MS + 9 * DAY_MS), 'certificates', /valid only from 2026-11-27/],
    ['an expired certificate', dated(0, NOW_MS), 'certificates', /has expired on 2026-11-26/],
    ['an expired authority', believing(anAuthority(NOW_MS)), 'certificates', /authority "colo-ha blue" .* has expired on 2026-11-26/],
    ['no key of the heartbeats', secret('absent'), 'certificates', /there is no \/etc/],
    ['an empty key of the heartbeats', secret('empty'), 'certificates', /is empty/],
    ['a key that the coordinator cannot read', secret('closed'), 'certificates', /colo cannot read/],
    ['no state folder', { stateFreeBytes: null }, 'state', /no folder \/var\/lib\/colo-ha/],
    ['a full disk', { stateFreeBytes: GIB / 2 }, 'state', /0\.5 GiB free/],
  ])('%s -> is missing, with what to do', (_, change, about, said) => {
    const found = examine(aHost(change)).filter((each) => each.level === 'missing' && each.about === about);
    expect(found[0]?.said).toMatch(said);
    expect(found[0]?.hint).not.toBe('');
  });

  test.each<readonly [string, Partial<HostFacts>, string]>([
    ['no KVM', { kvm: 'absent' }, 'kvm'],
    ['a /dev/kvm of root alone', { kvm: 'forbidden' }, 'kvm'],
    ['a clock that nobody sets', { clockSynchronised: false }, 'clock'],
    ['a clock that nobody knows of', { clockSynchronised: null }, 'clock'],
    ['no certificates', agent({ insecure: true }), 'certificates'],
    ['a certificate that is about to expire', dated(0, NOW_MS + 29 * DAY_MS), 'certificates'],
    ['an authority that is about to expire', believing(anAuthority(NOW_MS + 179 * DAY_MS)), 'certificates'],
    ['an expired authority beside its successor', believing(anAuthority(0, false), anAuthority(NOW_MS + 999 * DAY_MS)), 'certificates'],
    ['certificates that only root may see', certified({ found: { kind: 'forbidden' }, secrets: [] }), 'certificates'],
    ['a key for everybody', secret('open'), 'certificates'],
    ['an etcd that nobody could ask', { etcd: [], etcdUnasked: 'it wants a certificate' }, 'etcd'],
    ['slow timers of etcd', { etcdElectionMs: 1_000 }, 'etcd'],
    ['an old etcd', { etcd: aHost().etcd.map((each) => ({ ...each, version: '3.4.23' })) }, 'etcd'],
    [
      'one silent etcd of three',
      { etcd: aHost().etcd.map((each, k) => (k === 0 ? { ...each, version: null, problem: 'silent' } : each)) },
      'etcd',
    ],
    ['two etcds', { etcd: aHost().etcd.slice(1) }, 'etcd'],
    ['ports that the kernel gives out', { localPorts: [1_024, 65_535] }, 'ports'],
    ['little space', { stateFreeBytes: 5 * GIB }, 'state'],
    ['nobody who may try nft', { root: false, nft: null }, 'nft'],
  ])('%s -> is a doubt and nothing more', (_, change, about) => {
    const found = examine(aHost(change)).filter((each) => each.level !== 'good');
    expect(new Set(found.map((each) => `${each.level} ${each.about}`))).toEqual(new Set([`doubtful ${about}`]));
    expect(found.every((each) => each.hint !== '')).toBe(true);
  });

  test('of a machine that only votes -> asks for no QEMU', () => {
    expect(
      examine(aHost({ agent: { kind: 'absent' }, qemu: null, users: [], stateFreeBytes: null })).filter((each) => each.level !== 'good'),
    ).toEqual([]);
  });

  test('that looks at this very machine -> changes nothing and throws nothing', async () => {
    const facts = await lookAtHost({ agent: '/nowhere/agent.yaml', coordinator: '/nowhere/coordinator.yaml' });
    expect(facts).toMatchObject({ agent: { kind: 'absent' }, coordinator: { kind: 'absent' }, etcd: [], node: process.versions.node });
    expect(examine(facts).length).toBeGreaterThan(3);
  });
});
