// The folder of a cluster on an operator's machine: its authority, what each host is to get, and the certificates of people. Made offline
// and step by step; nothing that is there is ever written over, but by a renewal. Keys are readable by their owner alone.

import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { z } from 'zod';
import type { Identity } from '../../core/access.js';
import { fail, ok, type Result } from '../../core/result.js';
import { describeProblems, parseYaml } from '../config.js';
import { authorityProblem, issue, makeAuthority, type PemPair, type Subject } from './authority.js';
import {
  agentYaml,
  coloctlYaml,
  coordinatorYaml,
  etcdEnvironment,
  etcdRootSubject,
  etcdSubject,
  installScript,
  isMember,
  qemuSubject,
  subjectOf,
  type ClusterPlan,
  type HostPlan,
} from './cluster-plan.js';

/** Ten years: whoever replaces an authority must replace everything. */
const AUTHORITY_DAYS = 3_650;
export const CERTIFICATE_DAYS = 825;
/** What hosts keep their configuration in. */
const CONFIG_FOLDER = '/etc/colo-ha';
const HEARTBEAT_KEY = 'heartbeat.key';

const randomKey = (): string => randomBytes(32).toString('hex');

const name = z
  .string()
  .regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/, 'must be a lower-case name of letters, digits and hyphens, at most 63 long');
const address = z.union([z.ipv4(), z.ipv6()], 'must be an IP address');
const member = z.strictObject({ name, address });
const planSchema = z.strictObject({
  cluster: name,
  members: z
    .array(member)
    .min(1)
    .refine((members) => new Set(members.map((each) => each.name)).size === members.length, 'must have different names')
    .refine((members) => members.length % 2 === 1, 'must be an odd number, because of two one alone is no majority'),
  encryptReplication: z.boolean().optional(),
});
const hostSchema = z.strictObject({ name, address, replicationAddress: address.nullable(), bridge: z.string().min(1).max(15).nullable() });

export interface Folder {
  readonly path: string;
  readonly plan: ClusterPlan;
  readonly authority: PemPair;
}

/** Answers the folders that were made for people to use. */
export async function initCluster(
  path: string,
  plan: ClusterPlan,
  operator: string,
  nowMs: number,
): Promise<Result<readonly string[], string>> {
  const checked = planSchema.safeParse(plan);
  if (!checked.success) return fail(problemsOf(checked.error));
  if (!name.safeParse(operator).success)
    return fail(`the operator's name "${operator}" must be a lower-case name of letters, digits and hyphens`);
  if (existsSync(path) && readdirSync(path).length > 0)
    return fail(`${path} is there already and not empty: a second authority would shut out everything that the first has certified`);
  mkdirSync(path, { recursive: true, mode: 0o700 });
  const authority = await makeAuthority(`colo-ha ${plan.cluster}`, nowMs, AUTHORITY_DAYS);
  mkdirSync(join(path, 'ca'), { mode: 0o700 });
  mkdirSync(join(path, 'hosts'), { mode: 0o700 });
  writePair(join(path, 'ca'), 'ca', authority);
  writeSecret(join(path, HEARTBEAT_KEY), `${randomKey()}\n`);
  writePublic(join(path, 'cluster.yaml'), stringify(checked.data));
  const folder: Folder = { path, plan: checked.data, authority };
  const root = join(path, 'etcd-root');
  mkdirSync(root, { mode: 0o700 });
  writePublic(join(root, 'ca.crt'), authority.certificate);
  writePair(root, 'root', await issue(authority, etcdRootSubject, nowMs, CERTIFICATE_DAYS));
  const person = await addPerson(folder, { role: 'operator', name: operator }, nowMs);
  return person.ok ? ok([person.value]) : person;
}

export function openFolder(path: string, nowMs: number): Result<Folder, string> {
  const file = join(path, 'cluster.yaml');
  try {
    const plan = parseYaml(file, readFileSync(file, 'utf8'), planSchema);
    if (!plan.ok) return fail(describeProblems(plan.error));
    const authority = { certificate: readFileSync(join(path, 'ca/ca.crt'), 'utf8'), key: readFileSync(join(path, 'ca/ca.key'), 'utf8') };
    const problem = authorityProblem(authority, nowMs);
    return problem === null ? ok({ path, plan: plan.value, authority }) : fail(`${join(path, 'ca')}: ${problem}`);
  } catch (error) {
    return fail(
      `${path} is not the folder of a cluster (coloctl cluster init makes one): ${error instanceof Error ? error.message : String(error)}`,
    );
  }
}

/** Everything for one more machine. Answers its folder. */
export async function addHost(folder: Folder, host: HostPlan, nowMs: number): Promise<Result<string, string>> {
  const checked = hostSchema.safeParse(host);
  if (!checked.success) return fail(problemsOf(checked.error));
  const { plan } = folder;
  const votes = isMember(plan, host.name);
  if (host.replicationAddress === null && !votes)
    return fail(`${host.name} is no member and has no address on the replication network: there is nothing for it to do`);
  const path = join(folder.path, 'hosts', host.name);
  if (existsSync(path)) return fail(`${path} is there already: coloctl certs renew --host ${host.name} makes new certificates`);
  mkdirSync(path, { mode: 0o700 });
  writePublic(join(path, 'host.yaml'), stringify(checked.data));
  await issueHost(folder, host, path, nowMs);
  if (host.replicationAddress !== null) {
    writeSecret(join(path, HEARTBEAT_KEY), readFileSync(join(folder.path, HEARTBEAT_KEY), 'utf8'));
    writePublic(join(path, 'agent.yaml'), agentYaml(plan, host, CONFIG_FOLDER));
  }
  if (votes) {
    writePublic(join(path, 'coordinator.yaml'), coordinatorYaml(plan, host, CONFIG_FOLDER));
    writePublic(join(path, 'etcd.env'), etcdEnvironment(plan, host, `${CONFIG_FOLDER}/etcd`));
  }
  return ok(path);
}

/** New certificates and keys of a host; its configuration stays. */
export async function renewHost(folder: Folder, name: string, nowMs: number): Promise<Result<string, string>> {
  const path = join(folder.path, 'hosts', name);
  const file = join(path, 'host.yaml');
  if (!existsSync(file)) return fail(`there is no host "${name}" in ${folder.path}: it has ${hostsOf(folder).join(', ') || 'none'}`);
  const host = parseYaml(file, readFileSync(file, 'utf8'), hostSchema);
  if (!host.ok) return fail(describeProblems(host.error));
  await issueHost(folder, host.value, path, nowMs);
  return ok(path);
}

async function issueHost(folder: Folder, host: HostPlan, path: string, nowMs: number): Promise<void> {
  const sign = (subject: Subject): Promise<PemPair> => issue(folder.authority, subject, nowMs, CERTIFICATE_DAYS);
  writePublic(join(path, 'ca.crt'), folder.authority.certificate);
  // Also in a renewal: the plan may have other certificates in it than at first.
  writePublic(join(path, 'install.sh'), installScript(folder.plan, host));
  if (host.replicationAddress !== null) {
    writePair(path, 'agent', await sign(subjectOf({ role: 'agent', name: host.name })));
    if (folder.plan.encryptReplication === true) writePair(path, 'qemu', await sign(qemuSubject(host.name, host.replicationAddress)));
  }
  if (!isMember(folder.plan, host.name)) return;
  writePair(path, 'coordinator', await sign(subjectOf({ role: 'coordinator', name: host.name })));
  writePair(path, 'etcd', await sign(etcdSubject(host)));
}

/**
 * `add`: a new key of the heartbeats before the old one, so that a host that has both is heard by those that have either. `drop`: the old one
 * goes, once every host has the new one. Answers the hosts' folders, which are to be installed again.
 */
export function replaceHeartbeatKey(folder: Folder, step: 'add' | 'drop'): Result<readonly string[], string> {
  const file = join(folder.path, HEARTBEAT_KEY);
  const keys = readFileSync(file, 'utf8').split('\n').filter(Boolean);
  const [newest = ''] = keys;
  if (step === 'add' && keys.length > 1) return fail(`${file} has two keys already: bring it to every host, then --drop the old one`);
  if (step === 'drop' && keys.length === 1) return fail(`${file} has one key: --add another one first`);
  const text = (step === 'add' ? [randomKey(), newest] : [newest]).map((each) => `${each}\n`).join('');
  const hosts = hostsOf(folder)
    .map((name) => join(folder.path, 'hosts', name))
    .filter((path) => existsSync(join(path, HEARTBEAT_KEY)));
  writeSecret(file, text);
  for (const path of hosts) writeSecret(join(path, HEARTBEAT_KEY), text);
  return ok(hosts);
}

/** A certificate for a person (or a program that only looks), with a coloctl.yaml beside it. A second time it is renewed. */
export async function addPerson(folder: Folder, identity: Identity, nowMs: number): Promise<Result<string, string>> {
  if (!name.safeParse(identity.name).success) return fail(`"${identity.name}" must be a lower-case name of letters, digits and hyphens`);
  const path = join(folder.path, `${identity.role}s`, identity.name);
  mkdirSync(path, { recursive: true, mode: 0o700 });
  writePublic(join(path, 'ca.crt'), folder.authority.certificate);
  writePair(path, identity.name, await issue(folder.authority, subjectOf(identity), nowMs, CERTIFICATE_DAYS));
  writePublic(join(path, 'coloctl.yaml'), coloctlYaml(folder.plan, identity.name));
  return ok(path);
}

export function hostsOf(folder: Folder): readonly string[] {
  return readdirSync(join(folder.path, 'hosts')).sort();
}

function writePair(path: string, file: string, pair: PemPair): void {
  writeSecret(join(path, `${file}.key`), pair.key);
  writePublic(join(path, `${file}.crt`), pair.certificate);
}

function writeSecret(path: string, text: string): void {
  write(path, text, 0o600);
}

function writePublic(path: string, text: string): void {
  write(path, text, 0o644);
}

/** Whole or not at all. */
function write(path: string, text: string, mode: number): void {
  writeFileSync(`${path}.new`, text, { mode, flag: 'wx' });
  renameSync(`${path}.new`, path);
}

function problemsOf(error: z.ZodError): string {
  return error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`).join('\n');
}
