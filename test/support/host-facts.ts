// A host on which the doctor finds nothing wrong, so that a case shows only what differs.

import type { CertificateFact } from '../../coordinator/cli/doctor/certificates.js';
import type { HostFacts } from '../../coordinator/cli/doctor/checks.js';

export const NOW_MS = Date.parse('2026-11-26T12:00:00Z');
const DAY_MS = 24 * 3_600_000;

export function aCertificate(change: Partial<CertificateFact> = {}): CertificateFact {
  return {
    certificate: '/etc/colo-ha/tls/agent.crt',
    expected: 'agent/host1',
    ca: '/etc/colo-ha/tls/ca.crt',
    found: {
      kind: 'read',
      identity: 'agent/host1',
      notBeforeMs: NOW_MS - DAY_MS,
      notAfterMs: NOW_MS + 365 * DAY_MS,
      authorities: [{ name: 'colo-ha blue', notAfterMs: NOW_MS + 3_000 * DAY_MS, isOurs: true }],
    },
    secrets: [{ file: '/etc/colo-ha/tls/agent.key', state: 'good', reader: 'root' }],
    ...change,
  };
}

export function aHost(change: Partial<HostFacts> = {}): HostFacts {
  return {
    root: true,
    node: '20.19.2',
    agent: {
      kind: 'read',
      value: {
        qemuProgram: 'qemu-system-x86_64',
        qemuUser: 'colo-qemu',
        bridge: 'br0',
        replicationAddress: '10.0.1.1',
        listen: '10.0.0.1:7400',
        stateDir: '/var/lib/colo-ha',
        insecure: false,
      },
    },
    coordinator: { kind: 'read', value: { listen: '10.0.0.1:7500', firstPort: 20_000, lastPort: 29_999, insecure: false } },
    programsMissing: [],
    qemu: {
      version: '11.1.2',
      objects: 'colo-compare filter-mirror filter-redirector filter-rewriter',
      formats: 'Supported formats: quorum replication raw qcow2',
    },
    kvm: 'usable',
    nft: true,
    tun: true,
    interfaces: ['lo', 'br0'],
    addresses: ['127.0.0.1', '10.0.0.1', '10.0.1.1'],
    users: ['colo-qemu'],
    units: { 'colo-agent': 'active', 'colo-coordinator': 'active' },
    listening: ['10.0.0.1:7400', '10.0.0.1:7500'],
    etcd: ['10.0.0.1', '10.0.0.2', '10.0.0.3'].map((host) => ({ endpoint: `https://${host}:2379`, version: '3.5.30', problem: '' })),
    etcdUnasked: null,
    certificates: [aCertificate()],
    nowMs: NOW_MS,
    etcdElectionMs: 250,
    clockSynchronised: true,
    localPorts: [32_768, 60_999],
    stateFreeBytes: 100 * 1024 ** 3,
    ...change,
  };
}
