// Every name, address and path of one lab, worked out from its name, its number and its count of hosts. Pure: nothing is made here, so
// that whoever brings a lab up, looks at it or takes it away speaks of the same things.

export const LINKS = ['management', 'replication', 'guest'] as const;
export type Link = (typeof LINKS)[number];

export interface LinkPlan {
  /** In the host's namespace. */
  readonly interface: string;
  readonly switchNamespace: string;
  readonly switchPort: string;
  /** Null: a port of the bridge that the taps are on has no address. */
  readonly address: string | null;
}

export interface HostPlan {
  readonly name: string;
  readonly namespace: string;
  readonly links: Readonly<Record<Link, LinkPlan>>;
  readonly bridge: string;
  /** etcd and a coordinator run on the first three hosts only. */
  readonly member: boolean;
  /** Configuration, logs, sockets: gone with the machine's next start. */
  readonly runFolder: string;
  /** etcd's data, and the agent's state folder below it. */
  readonly dataFolder: string;
  readonly agentStateDir: string;
  readonly agentRuntimeDir: string;
  readonly agentAddress: string;
  readonly coordinatorAddress: string;
  readonly etcdClientUrl: string;
  readonly etcdPeerUrl: string;
}

export interface LabPlan {
  readonly name: string;
  /** Unique among the labs of this machine: subnets come from it. */
  readonly index: number;
  readonly runFolder: string;
  readonly dataFolder: string;
  readonly switchNamespace: string;
  readonly client: { readonly namespace: string; readonly guestAddress: string; readonly managementAddress: string };
  /** The machine's own way onto the management network, so that coloctl works without entering a namespace. */
  readonly root: { readonly interface: string; readonly address: string };
  readonly subnets: Readonly<Record<Link, string>>;
  readonly guest: { readonly address: string; readonly port: number; readonly mac: string };
  readonly hosts: readonly HostPlan[];
  /** Mutual TLS on all links, users in etcd, signed heartbeats. */
  readonly tls: boolean;
}

export const RUN_BASE = '/run/colo-lab';
export const DATA_BASE = '/var/lib/colo-lab';
export const MOST_LABS = 200;
export const FEWEST_HOSTS = 3;
export const MOST_HOSTS = 60;
export const GUEST_BRIDGE = 'br-guest';
const MEMBERS = 3;

/** Second numbers of the subnets 10.x.<index>.0/24. */
const NETWORK: Readonly<Record<Link, number>> = { guest: 97, management: 98, replication: 99 };
const SHORT: Readonly<Record<Link, string>> = { management: 'mgmt', replication: 'repl', guest: 'guest' };
const CLIENT_NUMBER = 200;
const ROOT_NUMBER = 254;
const FIRST_GUEST_NUMBER = 100;

/** Why a lab cannot have this name, or null. Socket paths of QEMU must fit into 107 bytes, so it must be short. */
export function nameProblem(name: string): string | null {
  if (/^[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?$/.test(name)) return null;
  return `"${name}" cannot name a lab: at most 20 lower-case letters, digits and hyphens, with a letter or digit at both ends`;
}

export function planLab(name: string, index: number, hostCount: number, tls = false): LabPlan {
  const scheme = tls ? 'https' : 'http';
  const runFolder = `${RUN_BASE}/${name}`;
  const dataFolder = `${DATA_BASE}/${name}`;
  const address = (link: Link, number: number): string => `10.${NETWORK[link]}.${index}.${number}`;
  const switchNamespace = `colo-${name}-switch`;

  function planHost(number: number): HostPlan {
    const host = `host${number}`;
    const link = (kind: Link): LinkPlan => ({
      interface: `${SHORT[kind]}0`,
      switchNamespace,
      switchPort: switchPort(kind, `h${number}`),
      address: kind === 'guest' ? null : address(kind, number),
    });
    const management = address('management', number);
    return {
      name: host,
      namespace: `colo-${name}-${host}`,
      links: { management: link('management'), replication: link('replication'), guest: link('guest') },
      bridge: GUEST_BRIDGE,
      member: number <= MEMBERS,
      runFolder: `${runFolder}/${host}`,
      dataFolder: `${dataFolder}/${host}`,
      agentStateDir: `${dataFolder}/${host}/agent`,
      agentRuntimeDir: `${runFolder}/${host}/vms`,
      agentAddress: `${management}:7400`,
      coordinatorAddress: `${management}:7500`,
      etcdClientUrl: `${scheme}://${management}:2379`,
      etcdPeerUrl: `${scheme}://${management}:2380`,
    };
  }

  return {
    name,
    index,
    runFolder,
    dataFolder,
    switchNamespace,
    client: {
      namespace: `colo-${name}-client`,
      guestAddress: address('guest', CLIENT_NUMBER),
      managementAddress: address('management', CLIENT_NUMBER),
    },
    root: { interface: `colo-lab${index}`, address: address('management', ROOT_NUMBER) },
    subnets: {
      management: `10.${NETWORK.management}.${index}.0/24`,
      replication: `10.${NETWORK.replication}.${index}.0/24`,
      guest: `10.${NETWORK.guest}.${index}.0/24`,
    },
    guest: { address: address('guest', FIRST_GUEST_NUMBER), port: 7000, mac: guestMac(0) },
    hosts: Array.from({ length: hostCount }, (_, position) => planHost(position + 1)),
    tls,
  };
}

/** Address of guest number k of a lab; the VM `demo` is number 0. */
export function guestAddress(plan: LabPlan, k: number): string {
  return `10.${NETWORK.guest}.${plan.index}.${FIRST_GUEST_NUMBER + k}`;
}

export function guestMac(k: number): string {
  return `52:54:00:97:00:${(k + 1).toString(16).padStart(2, '0')}`;
}

export function switchBridge(link: Link): string {
  return `br-${SHORT[link]}`;
}

export function switchPort(link: Link, who: string): string {
  return `${SHORT[link]}-${who}`;
}

export function members(plan: LabPlan): readonly HostPlan[] {
  return plan.hosts.filter((host) => host.member);
}

export function coordinatorEndpoints(plan: LabPlan): string {
  return members(plan)
    .map((host) => host.coordinatorAddress)
    .join(',');
}

/** For whoever runs coloctl against a lab: its file has the endpoints and what to show there. */
export function coloctlConfig(plan: LabPlan): string {
  return `${plan.runFolder}/coloctl.yaml`;
}

export function coloctlEnvironment(plan: LabPlan): Readonly<Record<string, string>> {
  return { COLO_CONFIG: coloctlConfig(plan) };
}

export function namespaces(plan: LabPlan): readonly string[] {
  return [plan.switchNamespace, plan.client.namespace, ...plan.hosts.map((host) => host.namespace)];
}
