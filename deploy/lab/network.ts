// The lab's network: a namespace a host, one for the switch, one for the client. Each host has three links into the switch, each onto a
// bridge of its own, as a real host has a management, a replication and a guest network.
//
//   host1 [mgmt0 10.98.i.1] [repl0 10.99.i.1] [br-guest: guest0 + taps]      client [mgmt0] [guest0 10.97.i.200]     this machine
//            |                 |                 |                               |       |                            |
//   switch  br-mgmt           br-repl           br-guest                        br-mgmt  br-guest                    br-mgmt

import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { LabError, run, tryRun, waitFor } from './command.js';
import { LINKS, namespaces, switchBridge, switchPort, type HostPlan, type LabPlan, type Link } from './plan.js';

/** `ip -batch`: one process for many commands, and an error names its line. */
async function ip(namespace: string | null, lines: readonly string[]): Promise<void> {
  const where = namespace === null ? [] : ['-netns', namespace];
  await run('ip', [...where, '-batch', '-'], { input: `${lines.join('\n')}\n` });
}

/** No spanning tree and no learning delay: a port forwards from its first instant. No snooping: nothing is ever held back. */
function bridgeLines(name: string): readonly string[] {
  return [`link add ${name} type bridge forward_delay 0 stp_state 0 mcast_snooping 0`, `link set ${name} up`];
}

export async function raiseNetwork(plan: LabPlan): Promise<void> {
  await ip(
    null,
    namespaces(plan).map((namespace) => `netns add ${namespace}`),
  );
  // Before any interface exists, so that none ever sends a neighbour solicitation.
  for (const namespace of namespaces(plan)) await disableIpv6(namespace);
  await ip(plan.switchNamespace, ['link set lo up', ...LINKS.flatMap((link) => bridgeLines(switchBridge(link)))]);
  for (const host of plan.hosts) await raiseHost(plan, host);
  await raiseClient(plan);
  await raiseRoot(plan);
  await prepareCuts(plan);
}

async function disableIpv6(namespace: string): Promise<void> {
  const keys = ['all', 'default'].map((each) => `net.ipv6.conf.${each}.disable_ipv6=1`);
  await run('ip', ['netns', 'exec', namespace, 'sysctl', '-qw', '--ignore', ...keys]);
}

async function attach(plan: LabPlan, namespace: string, link: Link, inside: string, who: string): Promise<void> {
  const port = switchPort(link, who);
  await ip(namespace, [`link add ${inside} type veth peer name ${port} netns ${plan.switchNamespace}`, `link set ${inside} up`]);
  await ip(plan.switchNamespace, [`link set ${port} master ${switchBridge(link)}`, `link set ${port} up`]);
}

async function raiseHost(plan: LabPlan, host: HostPlan): Promise<void> {
  const who = host.name.replace(/^host/, 'h');
  for (const link of LINKS) await attach(plan, host.namespace, link, host.links[link].interface, who);
  const { management, replication, guest } = host.links;
  const subnet = plan.subnets.replication;
  await ip(host.namespace, [
    'link set lo up',
    `address add ${management.address}/24 dev ${management.interface}`,
    `address add ${replication.address}/24 dev ${replication.interface}`,
    // A COLO checkpoint is a dialogue of small messages; without delayed acknowledgements its pause is five times shorter.
    `route replace ${subnet} dev ${replication.interface} proto kernel scope link src ${replication.address} quickack 1`,
    ...bridgeLines(host.bridge),
    `link set ${guest.interface} master ${host.bridge}`,
  ]);
}

async function raiseClient(plan: LabPlan): Promise<void> {
  const { namespace, guestAddress, managementAddress } = plan.client;
  await attach(plan, namespace, 'guest', 'guest0', 'client');
  await attach(plan, namespace, 'management', 'mgmt0', 'client');
  await ip(namespace, ['link set lo up', `address add ${guestAddress}/24 dev guest0`, `address add ${managementAddress}/24 dev mgmt0`]);
}

async function raiseRoot(plan: LabPlan): Promise<void> {
  const { interface: name, address } = plan.root;
  const port = switchPort('management', 'root');
  await ip(null, [`link add ${name} type veth peer name ${port} netns ${plan.switchNamespace}`]);
  await ip(plan.switchNamespace, [`link set ${port} master ${switchBridge('management')}`, `link set ${port} up`]);
  await ip(null, [`address add ${address}/24 dev ${name}`, `link set ${name} up`]);
}

/** The management subnet is the only one that this machine itself sees. The interface by which it uses it already; null = it is free. */
export async function userOfSubnet(plan: LabPlan): Promise<string | null> {
  const shown = await run('ip', ['-j', 'route', 'show', 'root', plan.subnets.management]);
  const routes = JSON.parse(shown.trim() === '' ? '[]' : shown) as readonly { readonly dst: string; readonly dev?: string }[];
  const taken = routes[0];
  return taken === undefined ? null : (taken.dev ?? '?');
}

/** Safe to repeat, and whatever is not there is passed over. */
export async function lowerNetwork(plan: LabPlan): Promise<void> {
  // The kernel takes a namespace's interfaces away some time later; this one must be gone when a next lab of this number wants its name.
  await tryRun('ip', ['link', 'delete', plan.root.interface]);
  const present = await existingNamespaces();
  const ours = namespaces(plan).filter((namespace) => present.has(namespace));
  if (ours.length > 0) {
    await ip(
      null,
      ours.map((namespace) => `netns delete ${namespace}`),
    );
  }
}

export async function existingNamespaces(): Promise<ReadonlySet<string>> {
  const shown = await run('ip', ['-j', 'netns', 'list']);
  const list = JSON.parse(shown.trim() === '' ? '[]' : shown) as readonly { readonly name: string }[];
  return new Set(list.map((each) => each.name));
}

export async function processesIn(namespace: string): Promise<readonly number[]> {
  const shown = await tryRun('ip', ['netns', 'pids', namespace]);
  return shown.stdout
    .split(/\s+/)
    .filter((each) => each !== '')
    .map(Number);
}

// ---------------------------------------------------------------- cuts

const TABLE = 'colo_lab';
const CUT_READY_MS = 10_000;
/** From the host into the network, from the network to the host. */
export type Direction = 'out' | 'in' | 'both';

/** Frames are dropped in the middle of the switch, so both ends keep their carrier and hear nothing: that is how a network really dies. */
async function prepareCuts(plan: LabPlan): Promise<void> {
  const rules = `table bridge ${TABLE} {
    set out { type ifname; }
    set in { type ifname; }
    chain forward {
      type filter hook forward priority 0; policy accept;
      iifname @out drop
      oifname @in drop
    }
  }`;
  await run('ip', ['netns', 'exec', plan.switchNamespace, 'nft', '-f', '-'], { input: rules });
}

function cutLines(verb: 'add' | 'delete', ports: readonly string[], direction: Direction): string {
  const sets = direction === 'both' ? ['out', 'in'] : [direction];
  const elements = ports.map((port) => `"${port}"`).join(', ');
  return sets.map((set) => `${verb} element bridge ${TABLE} ${set} { ${elements} }\n`).join('');
}

const portsOf = (host: HostPlan, links: readonly Link[]): readonly string[] => links.map((link) => host.links[link].switchPort);

async function changeCut(plan: LabPlan, verb: 'add' | 'delete', ports: readonly string[], direction: Direction): Promise<void> {
  await run('ip', ['netns', 'exec', plan.switchNamespace, 'nft', '-f', '-'], { input: cutLines(verb, ports, direction) });
}

/**
 * A cut that waits for its moment: the program that makes it runs already and only lacks the end of its input. Whoever measures from a cut
 * on would otherwise measure the start of a program as well. The answer cuts, and resolves when it is done.
 */
export async function prepareCut(
  plan: LabPlan,
  host: HostPlan,
  links: readonly Link[],
  direction: Direction = 'both',
): Promise<() => Promise<void>> {
  const child = spawn('ip', ['netns', 'exec', plan.switchNamespace, 'nft', '-f', '-'], { stdio: ['pipe', 'ignore', 'pipe'] });
  let said = '';
  child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString('utf8')));
  child.stdin.on('error', () => undefined);
  const ended = new Promise<number | null>((resolve) => child.once('exit', resolve));
  child.stdin.write(cutLines('add', portsOf(host, links), direction));
  await waitFor({ what: 'nft that waits for its input', boundMs: CUT_READY_MS, everyMs: 5 }, () =>
    waitsAs(child.pid, 'nft') ? true : null,
  );
  return async () => {
    child.stdin.end();
    const status = await ended;
    if (status !== 0) throw new LabError(`nft: exit status ${status ?? 'none'}: ${said.trim()}`);
  };
}

/** `ip netns exec` has become that program, and the program sleeps. */
function waitsAs(pid: number | undefined, program: string): boolean {
  try {
    const stat = readFileSync(`/proc/${pid ?? 0}/stat`, 'utf8');
    return stat.includes(`(${program}) S `);
  } catch {
    return false;
  }
}

/** All cuts of one call happen in the same instant (one nft transaction). */
export async function cutLinks(plan: LabPlan, host: HostPlan, links: readonly Link[], direction: Direction = 'both'): Promise<void> {
  await changeCut(plan, 'add', portsOf(host, links), direction);
}

export async function mendLinks(plan: LabPlan, host: HostPlan, links: readonly Link[], direction: Direction = 'both'): Promise<void> {
  await changeCut(plan, 'delete', portsOf(host, links), direction);
}
