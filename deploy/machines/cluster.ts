// Three machines with a systemd of their own, each with the .deb installed by apt and with what `coloctl cluster init` and `host add` make, on
// the lab's networks: the nearest thing to three real hosts that one machine can be. Each machine lives in the network namespace that the lab's
// plan has for its host, so that the lab's client, its cuts and its taking away serve here as well.

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse, stringify } from 'yaml';
import { LabError, waitFor } from '../lab/command.js';
import { coloctl, clusterStatus, waitForCluster, type Call } from '../lab/coloctl.js';
import { guestVmFile } from '../lab/guest-vm.js';
import { etcdAnswers, hostFolder, makeCertificates, makeEtcdUsers } from '../lab/certificates.js';
import { claimLab, takeDown, writeColoctl } from '../lab/lab.js';
import { raiseNetwork } from '../lab/network.js';
import type { HostPlan, LabPlan } from '../lab/plan.js';
import { startProber } from '../lab/prober.js';
import { cache, guestImage, qemuProgram, type QemuVersion } from '../lab/tree.js';
import { Machine, type Suite } from './machine.js';

export interface PackagedOptions {
  readonly name: string;
  readonly suite: Suite;
  readonly deb: string;
  /** Name of the VM to define, start and protect. */
  readonly vm: string;
  readonly report: (line: string) => void;
  readonly signal?: AbortSignal;
}

/** The only one that runs COLO under TCG dependably; it is the lab's and not the machines' own. */
const QEMU: QemuVersion = '11.1';
const AGENT_CONFIG = '/etc/colo-ha/agent.yaml';
const READY_MS = 60_000;
const START_MS = 60_000;
const BOOT_MS = 90_000;
const PROTECT_MS = 180_000;

export interface PackagedCluster {
  readonly plan: LabPlan;
  machine(host: string): Machine;
  takeDown(): Promise<void>;
}

export async function bringUpPackaged(options: PackagedOptions): Promise<PackagedCluster> {
  const { name, report } = options;
  const call: Call = options.signal === undefined ? {} : { signal: options.signal };
  const plan = await claimLab({ name, hostCount: 3, qemu: QEMU, tls: true });
  const machines = new Map<string, Machine>();
  const cluster: PackagedCluster = {
    plan,
    machine: (host) => {
      const found = machines.get(host);
      if (found === undefined) throw new LabError(`there is no machine ${host}`);
      return found;
    },
    takeDown: async () => {
      for (const machine of machines.values()) await machine.destroy();
      machines.clear();
      await takeDown(name);
    },
  };
  try {
    const image = await guestImage();
    await raiseNetwork(plan);
    // Also QEMU's own streams are TLS: what an operator who does not trust his replication network asks `cluster init` for.
    await makeCertificates(plan, true);
    writeColoctl(plan);
    const visible = [join(cache, `qemu-${QEMU}`), join(image.kernel, '..')];
    // One after the other: the first may have to make the Debian that all of them boot.
    for (const host of plan.hosts) {
      machines.set(host.name, await Machine.boot({ suite: options.suite, hostname: host.name, namespace: host.namespace, visible }));
    }
    report(`three machines with Debian ${options.suite} and a systemd each`);
    await Promise.all(plan.hosts.map((host) => install(plan, host, cluster.machine(host.name), options.deb)));
    report('on each the package is installed, and what coloctl cluster init and host add made for it');
    for (const host of plan.hosts)
      await waitFor({ what: `etcd on ${host.name}`, boundMs: READY_MS }, async () => ((await etcdAnswers(plan, host)) ? true : null));
    await makeEtcdUsers(plan);
    await Promise.all(plan.hosts.map((host) => cluster.machine(host.name).must('systemctl start colo-coordinator colo-agent')));
    report('etcd knows its users, and the services run');
    const status = await waitForCluster(plan, READY_MS, () => undefined, call);
    report(`cluster: coordinator ${status.leader ?? '?'} leads, ${status.hosts.length} agents are ready`);
    await bringUpVm(cluster, options, guestVmFile(plan, { name: options.vm, number: 0, image, qemu: QEMU }), call);
    return cluster;
  } catch (error) {
    await cluster.takeDown();
    throw error;
  }
}

/** What the handbook tells an operator to do on a new host, up to the start of the services. */
async function install(plan: LabPlan, host: HostPlan, machine: Machine, deb: string): Promise<void> {
  const installed = await machine.install(deb);
  if (installed.code !== 0) throw new LabError(`the package cannot be installed on ${host.name}: ${installed.out}${installed.err}`);
  machine.copyIn(hostFolder(plan, host), 'root/from-operator');
  await machine.must('sh /root/from-operator/install.sh && rm -r /root/from-operator');
  const qemu = { system: qemuProgram(QEMU, 'qemu-system-x86_64'), img: qemuProgram(QEMU, 'qemu-img') };
  const config = parse(await machine.must(`cat ${AGENT_CONFIG}`)) as { readonly qemu?: object };
  await machine.write(AGENT_CONFIG, stringify({ ...config, qemu: { ...config.qemu, ...qemu } }));
  // etcd is ready when its members have found one another, so nobody waits for it here.
  await machine.must('systemctl start --no-block etcd');
}

async function bringUpVm(cluster: PackagedCluster, options: PackagedOptions, text: string, call: Call): Promise<void> {
  const { plan } = cluster;
  const { vm, report } = options;
  mkdirSync(plan.runFolder, { recursive: true });
  const file = join(plan.runFolder, `${vm}.yaml`);
  writeFileSync(file, text);
  await coloctl(plan, ['vm', 'define', '-f', file], call);
  // Under TCG a guest that boots inside COLO takes many times as long, so it is protected only once it answers.
  await coloctl(plan, ['vm', 'unprotect', vm], call);
  await coloctl(plan, ['vm', 'start', vm, '--wait', '--timeout', `${START_MS / 1000}s`], { ...call, deadlineMs: START_MS + 5_000 });
  const prober = startProber(plan, { probe: 'closed-loop', reconnect: true });
  await prober.waitForMore(1, BOOT_MS, options.signal).finally(() => prober.stop());
  report(`VM ${vm}: runs, guest answers at ${plan.guest.address}:${plan.guest.port}`);
  await coloctl(plan, ['vm', 'protect', vm, '--wait', '--timeout', `${PROTECT_MS / 1000}s`], { ...call, deadlineMs: PROTECT_MS + 5_000 });
  report(`VM ${vm}: protected`);
}

/** Until every agent has that version, as the cluster knows it, and is heard. */
export async function waitForVersion(plan: LabPlan, version: string, boundMs: number): Promise<void> {
  type Seen = { readonly hosts: readonly { readonly name: string; readonly state: string; readonly agentVersion?: string }[] };
  let last = 'no coordinator answered';
  const wait = { what: `agents of version ${version}, all ready`, boundMs, everyMs: 200, last: () => last };
  await waitFor(wait, async () => {
    const status = (await clusterStatus(plan)) as Seen | null;
    if (status === null) return null;
    last = status.hosts.map((each) => `${each.name} ${each.state} ${each.agentVersion ?? '?'}`).join(', ');
    const isThere = status.hosts.length === plan.hosts.length;
    return isThere && status.hosts.every((each) => each.state === 'ready' && each.agentVersion === version) ? true : null;
  });
}
