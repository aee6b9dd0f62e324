// What the folder of a cluster holds for each machine, as data: which certificates, and what is in each configuration file. Nothing is
// written here.

import { stringify } from 'yaml';
import { commonName, roleUri, type Identity } from '../../core/access.js';
import type { Subject } from './authority.js';

export interface Member {
  readonly name: string;
  /** IP address on the management network. */
  readonly address: string;
}

/** What was said at `cluster init`. Members are the machines with etcd and a coordinator. */
export interface ClusterPlan {
  readonly cluster: string;
  readonly members: readonly Member[];
  /** QEMU's own streams on the replication network are TLS. */
  readonly encryptReplication?: boolean | undefined;
}

export interface HostPlan extends Member {
  /** Address on the replication network; null = a machine that only votes. */
  readonly replicationAddress: string | null;
  readonly bridge: string | null;
}

/** The name in every member's certificate, because clients of etcd in Node cannot ask for an address. */
export const ETCD_SERVER_NAME = 'colo-etcd';
/** Members prove to each other with this common name that they are members: any other certificate of the cluster is refused there. */
export const ETCD_PEER_NAME = 'etcd-peer';
/** Common names of QEMUs' certificates begin with it. */
export const QEMU_COMMON_NAME = 'qemu.';
/** Below the folder of configurations. */
const QEMU_FOLDER = 'qemu-tls';
/** The user of etcd that may change users. */
export const ETCD_ROOT_NAME = 'root';

export const AGENT_PORT = 7400;
export const COORDINATOR_PORT = 7500;
const ETCD_PORT = 2379;
const ETCD_PEER_PORT = 2380;

export function subjectOf(identity: Identity): Subject {
  const isServer = identity.role === 'agent' || identity.role === 'coordinator';
  return { commonName: commonName(identity), uris: [roleUri(identity)], dnsNames: [], addresses: [], isServer, isClient: true };
}

export function etcdSubject({ name, address }: Member): Subject {
  const dnsNames = [ETCD_SERVER_NAME, name, 'localhost'];
  return { commonName: ETCD_PEER_NAME, uris: [], dnsNames, addresses: [address, '127.0.0.1'], isServer: true, isClient: true };
}

/**
 * Of the QEMUs of a host, for their streams to each other. It names no role, so nobody else listens to it; the address is what the other side's QEMU
 * has dialled.
 */
export function qemuSubject(name: string, replicationAddress: string): Subject {
  return {
    commonName: `${QEMU_COMMON_NAME}${name}`,
    uris: [],
    dnsNames: [],
    addresses: [replicationAddress],
    isServer: true,
    isClient: true,
    isQemu: true,
  };
}

export const etcdRootSubject: Subject = {
  commonName: ETCD_ROOT_NAME,
  uris: [],
  dnsNames: [],
  addresses: [],
  isServer: false,
  isClient: true,
};

export function isMember(plan: ClusterPlan, name: string): boolean {
  return plan.members.some((each) => each.name === name);
}

export function etcdEndpoints(plan: ClusterPlan, first: string | null): readonly string[] {
  // The own member first: a host that goes dark then costs the others nothing.
  return [...plan.members]
    .sort((one, other) => Number(other.name === first) - Number(one.name === first))
    .map((each) => `https://${hostPort(each.address, ETCD_PORT)}`);
}

/** `configFolder`: where the files will be on the host. */
export function agentYaml(plan: ClusterPlan, host: HostPlan, configFolder: string): string {
  return yamlOf(`The agent of ${host.name}, made by coloctl host add. All keys: agent.yaml.example.`, {
    cluster: plan.cluster,
    host: host.name,
    etcd: { endpoints: etcdEndpoints(plan, host.name), serverName: ETCD_SERVER_NAME },
    listen: hostPort(host.address, AGENT_PORT),
    replicationAddress: host.replicationAddress,
    ...(host.bridge === null ? {} : { bridge: host.bridge }),
    tls: tlsKeys(configFolder, 'agent'),
    heartbeat: { keyFile: `${configFolder}/heartbeat.key` },
    ...(plan.encryptReplication === true ? { qemu: { tlsDir: `${configFolder}/${QEMU_FOLDER}` } } : {}),
  });
}

export function coordinatorYaml(plan: ClusterPlan, host: HostPlan, configFolder: string): string {
  return yamlOf(`The coordinator on ${host.name}, made by coloctl host add. All keys: coordinator.yaml.example.`, {
    cluster: plan.cluster,
    name: host.name,
    etcd: { endpoints: etcdEndpoints(plan, host.name), serverName: ETCD_SERVER_NAME },
    listen: hostPort(host.address, COORDINATOR_PORT),
    tls: tlsKeys(configFolder, 'coordinator'),
  });
}

export function coloctlYaml(plan: ClusterPlan, name: string): string {
  return yamlOf(`For coloctl: this folder as ~/.config/colo, or /etc/colo-ha/coloctl.yaml with the files beside it.`, {
    endpoints: plan.members.map((each) => hostPort(each.address, COORDINATOR_PORT)),
    tls: { ca: 'ca.crt', certificate: `${name}.crt`, key: `${name}.key` },
  });
}

/** The file that Debian's etcd reads. `folder`: where certificates will be on the host. */
export function etcdEnvironment(plan: ClusterPlan, host: Member, folder: string): string {
  const client = `https://${hostPort(host.address, ETCD_PORT)}`;
  const peerUrl = (member: Member): string => `https://${hostPort(member.address, ETCD_PEER_PORT)}`;
  const variables: Readonly<Record<string, string>> = {
    ETCD_NAME: host.name,
    ETCD_DATA_DIR: '/var/lib/etcd/default',
    ETCD_LISTEN_CLIENT_URLS: `${client},https://127.0.0.1:${ETCD_PORT}`,
    ETCD_ADVERTISE_CLIENT_URLS: client,
    ETCD_LISTEN_PEER_URLS: peerUrl(host),
    ETCD_INITIAL_ADVERTISE_PEER_URLS: peerUrl(host),
    ETCD_INITIAL_CLUSTER: plan.members.map((each) => `${each.name}=${peerUrl(each)}`).join(','),
    ETCD_INITIAL_CLUSTER_TOKEN: plan.cluster,
    ETCD_INITIAL_CLUSTER_STATE: 'new',
    ETCD_HEARTBEAT_INTERVAL: '50',
    ETCD_ELECTION_TIMEOUT: '250',
    ETCD_GRPC_KEEPALIVE_MIN_TIME: '50ms',
    ETCD_AUTO_COMPACTION_MODE: 'revision',
    ETCD_AUTO_COMPACTION_RETENTION: '10000',
    ETCD_CERT_FILE: `${folder}/etcd.crt`,
    ETCD_KEY_FILE: `${folder}/etcd.key`,
    ETCD_TRUSTED_CA_FILE: `${folder}/ca.crt`,
    ETCD_CLIENT_CERT_AUTH: 'true',
    ETCD_PEER_CERT_FILE: `${folder}/etcd.crt`,
    ETCD_PEER_KEY_FILE: `${folder}/etcd.key`,
    ETCD_PEER_TRUSTED_CA_FILE: `${folder}/ca.crt`,
    ETCD_PEER_CLIENT_CERT_AUTH: 'true',
    ETCD_PEER_CERT_ALLOWED_CN: ETCD_PEER_NAME,
  };
  return Object.entries(variables)
    .map(([name, value]) => `${name}=${value}\n`)
    .join('');
}

/** Puts a host's folder in place on the host; also after `certs renew`. */
export function installScript(plan: ClusterPlan, host: HostPlan): string {
  const member = isMember(plan, host.name);
  const agent = host.replicationAddress !== null;
  return [
    '#!/bin/sh',
    `# Puts what is in this folder in place on ${host.name}. Run it there, as root, with colo-ha (and on members etcd) installed; again after a renewal.`,
    'set -eu',
    'cd "$(dirname -- "$0")"',
    'umask 077',
    'folder=/etc/colo-ha',
    'install -d -m 0755 $folder $folder/tls',
    'install -m 0644 ca.crt $folder/tls/ca.crt',
    'fresh() { [ -e "$folder/$1" ] || install -m 0644 "$1" "$folder/$1"; }',
    ...(agent
      ? [
          'install -m 0600 heartbeat.key $folder/heartbeat.key',
          'install -m 0600 agent.key $folder/tls/agent.key',
          'install -m 0644 agent.crt $folder/tls/agent.crt',
          'fresh agent.yaml',
        ]
      : []),
    ...(agent && plan.encryptReplication === true
      ? [
          "# QEMU's user reads its own certificate and no other. Each new pair is made with what is here then.",
          `install -d -m 0700 -o colo-qemu -g colo-qemu $folder/${QEMU_FOLDER}`,
          'qemu() { install -m 0400 -o colo-qemu -g colo-qemu "$1" "$folder/' + QEMU_FOLDER + '/$2"; }',
          'qemu ca.crt ca-cert.pem',
          'for end in server client; do qemu qemu.crt $end-cert.pem; qemu qemu.key $end-key.pem; done',
        ]
      : []),
    ...(member
      ? [
          '# The coordinator has a user of its own.',
          'install -m 0600 -o colo -g colo coordinator.key $folder/tls/coordinator.key',
          'install -m 0644 coordinator.crt $folder/tls/coordinator.crt',
          'fresh coordinator.yaml',
          'if getent passwd etcd >/dev/null; then',
          '  install -d -m 0700 -o etcd -g etcd /etc/colo-ha/etcd',
          '  for file in ca.crt etcd.crt etcd.key; do install -m 0600 -o etcd -g etcd "$file" "/etc/colo-ha/etcd/$file"; done',
          '  install -m 0644 etcd.env /etc/default/etcd',
          'fi',
        ]
      : []),
    '',
  ].join('\n');
}

export function hostPort(address: string, port: number): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}

function tlsKeys(folder: string, who: string): object {
  return { ca: `${folder}/tls/ca.crt`, certificate: `${folder}/tls/${who}.crt`, key: `${folder}/tls/${who}.key` };
}

function yamlOf(comment: string, value: object): string {
  return `# ${comment}\n${stringify(value)}`;
}
