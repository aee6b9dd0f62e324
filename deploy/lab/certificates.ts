// The certificates of a lab with TLS: made by the same code as an operator's `coloctl cluster init` and `coloctl host add`, and laid out in
// the same folder, below the lab's own.

import { copyFileSync, existsSync, mkdirSync, readFileSync } from 'node:fs';
import { request } from 'node:https';
import { join } from 'node:path';
import { addHost, addPerson, initCluster, openFolder, renewHost, replaceHeartbeatKey } from '../../shared/io/pki/cluster-folder.js';
import { ETCD_SERVER_NAME, etcdEndpoints } from '../../shared/io/pki/cluster-plan.js';
import { prepareUsers } from '../../shared/io/etcd/users.js';
import type { TlsFiles } from '../../shared/io/tls/material.js';
import type { Result } from '../../shared/core/result.js';
import { LabError } from './command.js';
import { members, type HostPlan, type LabPlan } from './plan.js';

const HEALTH_MS = 1_000;
export const OPERATOR = 'admin';
export const VIEWER = 'watcher';

const folderOf = (plan: LabPlan): string => join(plan.runFolder, 'cluster');

/** What a host is to get, with the script that puts it in place. */
export function hostFolder(plan: LabPlan, host: HostPlan): string {
  return join(folderOf(plan), 'hosts', host.name);
}

export function hostFile(plan: LabPlan, host: HostPlan, file: string): string {
  return join(hostFolder(plan, host), file);
}

/** Of an agent or a coordinator. */
export function daemonTls(plan: LabPlan, host: HostPlan, who: 'agent' | 'coordinator'): TlsFiles {
  return { ca: hostFile(plan, host, 'ca.crt'), certificate: hostFile(plan, host, `${who}.crt`), key: hostFile(plan, host, `${who}.key`) };
}

export function personTls(plan: LabPlan, role: 'operator' | 'viewer'): TlsFiles {
  const name = role === 'operator' ? OPERATOR : VIEWER;
  const folder = join(folderOf(plan), `${role}s`, name);
  return { ca: join(folder, 'ca.crt'), certificate: join(folder, `${name}.crt`), key: join(folder, `${name}.key`) };
}

function rootTls(plan: LabPlan): TlsFiles {
  const folder = join(folderOf(plan), 'etcd-root');
  return { ca: join(folder, 'ca.crt'), certificate: join(folder, 'root.crt'), key: join(folder, 'root.key') };
}

/** `encryptReplication`: QEMU's own streams are TLS as well. */
export async function makeCertificates(plan: LabPlan, encryptReplication: boolean): Promise<void> {
  const machines = members(plan).map((host) => ({ name: host.name, address: managementOf(host) }));
  must(await initCluster(folderOf(plan), { cluster: plan.name, members: machines, encryptReplication }, OPERATOR, Date.now()));
  const folder = must(openFolder(folderOf(plan), Date.now()));
  for (const host of plan.hosts) {
    const replicationAddress = host.links.replication.address;
    must(await addHost(folder, { name: host.name, address: managementOf(host), replicationAddress, bridge: host.bridge }, Date.now()));
  }
  if (encryptReplication) for (const host of plan.hosts) layOutForQemu(plan, host);
  must(await addPerson(folder, { role: 'viewer', name: VIEWER }, Date.now()));
}

/** What a host's install.sh does: the names that QEMU wants. */
function layOutForQemu(plan: LabPlan, host: HostPlan): void {
  const folder = qemuTlsFolder(plan, host);
  mkdirSync(folder, { recursive: true });
  const copies = {
    'ca.crt': ['ca-cert.pem'],
    'qemu.crt': ['server-cert.pem', 'client-cert.pem'],
    'qemu.key': ['server-key.pem', 'client-key.pem'],
  };
  for (const [from, names] of Object.entries(copies)) for (const to of names) copyFileSync(hostFile(plan, host, from), join(folder, to));
}

export function qemuTlsFolder(plan: LabPlan, host: HostPlan): string {
  return hostFile(plan, host, 'qemu-tls');
}

export async function renewCertificates(plan: LabPlan, host: HostPlan): Promise<void> {
  must(await renewHost(must(openFolder(folderOf(plan), Date.now())), host.name, Date.now()));
  if (existsSync(qemuTlsFolder(plan, host))) layOutForQemu(plan, host);
}

/** On all hosts at once; agents look at their file when they look, so for a moment some have it and some do not. */
export function replaceHeartbeatKeys(plan: LabPlan, step: 'add' | 'drop'): void {
  must(replaceHeartbeatKey(must(openFolder(folderOf(plan), Date.now())), step));
}

/** Users and roles; from then on etcd asks for them. */
export async function makeEtcdUsers(plan: LabPlan): Promise<void> {
  const { plan: cluster } = must(openFolder(folderOf(plan), Date.now()));
  const files = rootTls(plan);
  const root = {
    endpoints: etcdEndpoints(cluster, null),
    serverName: ETCD_SERVER_NAME,
    ca: readFileSync(files.ca),
    certificate: readFileSync(files.certificate),
    key: readFileSync(files.key),
  };
  const names = plan.hosts.map((host) => host.name);
  must(
    await prepareUsers(
      root,
      `/colo/${plan.name}`,
      names,
      members(plan).map((host) => host.name),
    ),
  );
}

/** etcd's health as a client with a certificate sees it. */
export function etcdAnswers(plan: LabPlan, host: HostPlan): Promise<boolean> {
  const { ca, certificate, key } = rootTls(plan);
  return new Promise((resolve) => {
    const asked = request(
      `${host.etcdClientUrl}/health`,
      {
        ca: readFileSync(ca),
        cert: readFileSync(certificate),
        key: readFileSync(key),
        servername: ETCD_SERVER_NAME,
        timeout: HEALTH_MS,
        agent: false,
      },
      (answer) => {
        answer.resume();
        resolve(answer.statusCode === 200);
      },
    );
    asked.on('timeout', () => asked.destroy());
    asked.on('error', () => resolve(false));
    asked.end();
  });
}

/** For etcdctl. */
export function etcdctlEnvironment(plan: LabPlan): Readonly<Record<string, string>> {
  const { ca, certificate, key } = rootTls(plan);
  return { ETCDCTL_CACERT: ca, ETCDCTL_CERT: certificate, ETCDCTL_KEY: key };
}

function managementOf(host: HostPlan): string {
  const { address } = host.links.management;
  if (address === null) throw new LabError(`${host.name} has no address on the management network`);
  return address;
}

function must<T>(done: Result<T, string>): T {
  if (!done.ok) throw new LabError(done.error);
  return done.value;
}
