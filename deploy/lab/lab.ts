// Brings a whole cluster up in namespaces of this machine, and takes it away again without a trace. Each part is waited for by a condition
// with a bound; whatever goes wrong on the way up, or an interruption, ends in the same `takeDown`.

import { chmodSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { coloctl, waitForCluster } from './coloctl.js';
import { LabError, tryRun, waitFor } from './command.js';
import { etcdAnswers, makeCertificates, makeEtcdUsers, personTls } from './certificates.js';
import { logFile, writeConfigs } from './daemons.js';
import { guestVmFile } from './guest-vm.js';
import { existingNamespaces, lowerNetwork, processesIn, raiseNetwork, userOfSubnet } from './network.js';
import {
  DATA_BASE,
  RUN_BASE,
  coloctlConfig,
  guestAddress,
  members,
  nameProblem,
  namespaces,
  planLab,
  type HostPlan,
  type LabPlan,
} from './plan.js';
import { identify, isAlive, sendSignal, waitForEnd, type ProcessIdentity } from './process-identity.js';
import { daemonOf, lastLines, startDaemon } from './processes.js';
import { startProber } from './prober.js';
import { livingQemus } from './qemus.js';
import { claimIndex, planOf, readRecord, releaseIndex, removeEmptyBases, writeRecord, type Daemon, type LabRecord } from './record.js';
import { guestImage, prepareQemu, programs, type QemuVersion } from './tree.js';

export interface UpOptions {
  readonly name: string;
  readonly hostCount: number;
  readonly qemu: QemuVersion;
  readonly tls?: boolean;
  /** Name of the VM to define, start and protect; null = none. */
  readonly vm: string | null;
  /** One line a finished phase. */
  readonly report: (line: string) => void;
  readonly signal?: AbortSignal;
}

const ETCD_READY_MS = 20_000;
const CLUSTER_READY_MS = 60_000;
const START_MS = 60_000;
const BOOT_MS = 60_000;
const PROTECT_MS = 180_000;
const END_MS = 5_000;

export async function bringUp(options: UpOptions): Promise<LabPlan> {
  const { name, report } = options;
  const call = options.signal === undefined ? {} : { signal: options.signal };
  const problem = nameProblem(name);
  if (problem !== null) throw new LabError(problem);
  await clearAbandoned(name);
  const plan = await claimLab(options);
  try {
    await prepareQemu(options.qemu, options.signal);
    await raiseNetwork(plan);
    report(`network: ${plan.hosts.length} hosts with three links each, a switch, a client`);
    if (plan.tls) await makeCertificates(plan, true);
    for (const host of plan.hosts) writeConfigs(plan, host, options.qemu);
    writeColoctl(plan);
    // All at once: each needs the others to become ready, and Node's own start is the slowest part of it.
    await Promise.all(plan.hosts.flatMap((host) => daemonsOf(host).map((daemon) => startDaemon(plan, host, daemon))));
    await Promise.all(members(plan).map((host) => waitForEtcd(plan, host, options.signal)));
    if (plan.tls) await makeEtcdUsers(plan);
    report(plan.tls ? 'etcd: every member is healthy, and asks for users' : 'etcd: every member is healthy');
    const status = await waitForCluster(plan, CLUSTER_READY_MS, () => refuseDeaths(plan), call);
    report(`cluster: coordinator ${status.leader ?? '?'} leads, ${status.hosts.length} agents are ready`);
    if (options.vm !== null) await bringUpVm(plan, options.vm, options);
    writeRecord({ ...recordOf(name), state: 'up', builder: null });
    return plan;
  } catch (error) {
    report('something went wrong: taking the lab away again');
    await takeDown(name);
    throw error;
  }
}

function daemonsOf(host: HostPlan): readonly Daemon[] {
  return host.member ? ['etcd', 'coordinator', 'agent'] : ['agent'];
}

export interface VmOptions extends Pick<UpOptions, 'qemu' | 'report' | 'signal'> {
  /** Which guest of the lab; default 0. */
  readonly number?: number;
  /** Further keys of the VM file, or other values for these. */
  readonly keys?: Readonly<Record<string, unknown>>;
}

/** Defines, starts and protects a tiny guest. */
export async function bringUpVm(plan: LabPlan, vm: string, options: VmOptions): Promise<void> {
  const { qemu, number = 0, keys = {} } = options;
  const call = options.signal === undefined ? {} : { signal: options.signal };
  const file = join(plan.runFolder, `${vm}.yaml`);
  writeFileSync(file, guestVmFile(plan, { name: vm, number, image: await guestImage(), qemu, keys }));
  await coloctl(plan, ['vm', 'define', '-f', file], call);
  // Under TCG a guest that boots inside COLO takes many times as long, so it is protected only once it answers.
  await coloctl(plan, ['vm', 'unprotect', vm], call);
  await coloctl(plan, ['vm', 'start', vm, '--wait', '--timeout', `${START_MS / 1000}s`], { ...call, deadlineMs: START_MS + 5_000 });
  const address = guestAddress(plan, number);
  const prober = startProber(plan, { probe: 'closed-loop', reconnect: true, address });
  await prober.waitForMore(1, BOOT_MS, options.signal).finally(() => prober.stop());
  options.report(`VM ${vm}: runs, guest answers at ${address}:${plan.guest.port}`);
  await coloctl(plan, ['vm', 'protect', vm, '--wait', '--timeout', `${PROTECT_MS / 1000}s`], { ...call, deadlineMs: PROTECT_MS + 5_000 });
  options.report(`VM ${vm}: protected`);
}

/** The folder of the record is the claim on the name; of two at once only one can make it. */
export async function claimLab(options: Pick<UpOptions, 'name' | 'hostCount' | 'qemu' | 'tls'>): Promise<LabPlan> {
  mkdirSync(RUN_BASE, { recursive: true });
  try {
    mkdirSync(`${RUN_BASE}/${options.name}`);
  } catch {
    throw new LabError(`a lab "${options.name}" is there already: \`npm run lab -- down --name ${options.name}\` takes it away`);
  }
  const plan = await numbered(options);
  const { index } = plan;
  const tls = options.tls === true;
  const builder = identify(process.pid);
  const { name, hostCount, qemu } = options;
  writeRecord({ version: 1, name, index, hostCount, qemu, tls, state: 'starting', builder, processes: [] });
  return plan;
}

/** The lowest number whose subnet this machine does not use yet, be it for a network of its own or for a lab of a container beside. */
async function numbered(options: Pick<UpOptions, 'name' | 'hostCount' | 'tls'>): Promise<LabPlan> {
  for (let from = 0; ;) {
    const index = claimIndex(options.name, from);
    const plan = planLab(options.name, index, options.hostCount, options.tls === true);
    if ((await userOfSubnet(plan)) === null) return plan;
    releaseIndex(options.name);
    from = index + 1;
  }
}

/** A lab whose builder was killed half-way is nobody's: clear it, so that the next `up` simply works. */
async function clearAbandoned(name: string): Promise<void> {
  const record = readRecord(name);
  if (record === null || record.state === 'up') return;
  if (record.builder !== null && isAlive(record.builder))
    throw new LabError(`lab "${name}" is just being brought up by process ${record.builder.pid}`);
  await takeDown(name);
}

async function waitForEtcd(plan: LabPlan, host: HostPlan, signal: AbortSignal | undefined): Promise<void> {
  const wait = { what: `healthy etcd on ${host.name}`, boundMs: ETCD_READY_MS, everyMs: 50, ...(signal === undefined ? {} : { signal }) };
  await waitFor(wait, async () => {
    const record = daemonOf(recordOf(plan.name), host.name, 'etcd');
    if (record !== null && !isAlive(record)) throw new LabError(`etcd on ${host.name} ended: ${lastLines(logFile(host, 'etcd'))}`);
    if (plan.tls) return (await etcdAnswers(plan, host)) ? true : null;
    const answer = await fetch(`${host.etcdClientUrl}/health`, { signal: AbortSignal.timeout(1_000) }).catch(() => null);
    return answer?.ok === true ? true : null;
  });
}

/** A daemon that has ended will not become ready: its last words are the better message. */
function refuseDeaths(plan: LabPlan): void {
  for (const { host: name, daemon } of recordOf(plan.name).processes.filter((each) => !isAlive(each))) {
    const host = plan.hosts.find((each) => each.name === name);
    if (host !== undefined) throw new LabError(`${daemon} on ${name} has ended: ${lastLines(logFile(host, daemon))}`);
  }
}

/** `coloctl` for this lab, so that `lab env` can put it into PATH. */
export function writeColoctl(plan: LabPlan): void {
  const folder = join(plan.runFolder, 'bin');
  mkdirSync(folder, { recursive: true });
  writeFileSync(
    coloctlConfig(plan),
    stringify({
      endpoints: members(plan).map((host) => host.coordinatorAddress),
      ...(plan.tls ? { tls: personTls(plan, 'operator') } : { insecureLab: true }),
    }),
  );
  const script = `#!/bin/sh\nexport COLO_CONFIG="\${COLO_CONFIG:-${coloctlConfig(plan)}}"\nexec '${process.execPath}' '${programs.coloctl}' "$@"\n`;
  writeFileSync(join(folder, 'coloctl'), script);
  chmodSync(join(folder, 'coloctl'), 0o755);
}

// ---------------------------------------------------------------- down

/** Leaves nothing: processes (also the QEMUs, which outlive their agents), namespaces, folders, the number. Safe to repeat. */
export async function takeDown(name: string): Promise<boolean> {
  const record = readRecord(name);
  if (record !== null) await takeAway(planOf(record), record);
  rmSync(`${RUN_BASE}/${name}`, { recursive: true, force: true });
  rmSync(`${DATA_BASE}/${name}`, { recursive: true, force: true });
  releaseIndex(name);
  removeEmptyBases();
  return record !== null;
}

async function takeAway(plan: LabPlan, record: LabRecord): Promise<void> {
  // Who could start something new goes first.
  for (const daemon of ['coordinator', 'agent'] as const) await endAll(record.processes.filter((each) => each.daemon === daemon));
  await endAll(livingQemus(plan));
  await endAll(record.processes.filter((each) => each.daemon === 'etcd'));
  // A namespace of the lab holds only what was started for the lab: probers, a capture, a QEMU whose note was never written.
  const present = await existingNamespaces();
  for (const namespace of namespaces(plan).filter((each) => present.has(each))) {
    const pids = await processesIn(namespace);
    await endAll(pids.map(identify).filter((each) => each !== null));
  }
  await lowerNetwork(plan);
}

async function endAll(targets: readonly ProcessIdentity[]): Promise<void> {
  for (const target of targets) sendSignal(target, 'SIGKILL');
  await Promise.all(targets.map((target) => waitForEnd(target, END_MS)));
}

// ---------------------------------------------------------------- an existing lab

export function openLab(name: string): LabPlan {
  return planOf(recordOf(name));
}

export function recordOf(name: string): LabRecord {
  const record = readRecord(name);
  if (record === null) throw new LabError(`there is no lab "${name}"`);
  return record;
}

/** Runs a program in a namespace of the lab, for example a ping from the client. */
export async function runIn(namespace: string, command: readonly string[], deadlineMs = 20_000) {
  return tryRun('ip', ['netns', 'exec', namespace, ...command], { deadlineMs });
}
