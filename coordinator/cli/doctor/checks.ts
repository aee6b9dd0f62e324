// What a host needs for colo-ha, judged: facts in, findings in plain words out. Pure; look.ts finds the facts. A finding that is not good says
// what to do about it.

import { certificateFindings, type CertificateFact } from './certificates.js';
import { doubtful, good, missing, type Finding } from './finding.js';

/** A file that a daemon is configured by. `broken`: one line a problem, with file, line and key. */
export type ConfigFact<T> =
  | { readonly kind: 'absent' }
  | { readonly kind: 'broken'; readonly problems: readonly string[] }
  | { readonly kind: 'read'; readonly value: T };

export interface AgentFacts {
  readonly qemuProgram: string;
  readonly qemuUser: string;
  readonly bridge: string | null;
  readonly replicationAddress: string;
  readonly listen: string;
  readonly stateDir: string;
  readonly insecure: boolean;
}

export interface CoordinatorFacts {
  readonly listen: string;
  readonly firstPort: number;
  readonly lastPort: number;
  readonly insecure: boolean;
}

export interface EtcdFact {
  readonly endpoint: string;
  /** Null: no answer, with `problem`. */
  readonly version: string | null;
  readonly problem: string;
}

export interface HostFacts {
  readonly root: boolean;
  readonly node: string;
  readonly agent: ConfigFact<AgentFacts>;
  readonly coordinator: ConfigFact<CoordinatorFacts>;
  /** Programs that are not to be found, of those that the daemons run. */
  readonly programsMissing: readonly string[];
  /** What QEMU says of itself; null = it cannot be started. */
  readonly qemu: { readonly version: string; readonly objects: string; readonly formats: string } | null;
  readonly kvm: 'usable' | 'absent' | 'forbidden';
  /** Null: could not be tried, because this is not root. */
  readonly nft: boolean | null;
  /** There, and for everybody: a tap is guarded by its owner. */
  readonly tun: boolean;
  readonly interfaces: readonly string[];
  readonly addresses: readonly string[];
  readonly users: readonly string[];
  /** `active`, `inactive`, `failed`, ... ; '' = no such unit. */
  readonly units: Readonly<Record<'colo-agent' | 'colo-coordinator', string>>;
  /** `ADDRESS:PORT` of every TCP socket that listens. */
  readonly listening: readonly string[];
  readonly etcd: readonly EtcdFact[];
  /** Why no member was asked; null = all were. */
  readonly etcdUnasked: string | null;
  /** One a daemon that is configured with certificates. */
  readonly certificates: readonly CertificateFact[];
  readonly nowMs: number;
  /** Of an etcd of this machine, in milliseconds; null = there is none, or it does not say. */
  readonly etcdElectionMs: number | null;
  /** Null: nobody here knows. */
  readonly clockSynchronised: boolean | null;
  readonly localPorts: readonly [number, number];
  /** Of the file system with the state folder; null = there is no such folder. */
  readonly stateFreeBytes: number | null;
}

export const PROGRAMS: Readonly<Record<string, string>> = {
  'qemu-img': 'qemu-utils',
  ip: 'iproute2',
  nft: 'nftables',
  flock: 'util-linux',
  'systemd-run': 'systemd',
  'systemd-notify': 'systemd',
};
const OBJECTS = ['colo-compare', 'filter-mirror', 'filter-redirector', 'filter-rewriter'];
const FORMATS = ['quorum', 'replication'];
const OLDEST_NODE = 20;
const OLDEST_ETCD = [3, 5] as const;
/** Below this the first VM does not fit. */
const LEAST_FREE_BYTES = 1024 ** 3;
const LITTLE_FREE_BYTES = 10 * 1024 ** 3;
/** etcd's own default, in milliseconds: with it, decisions wait seconds when etcd's leader dies. */
const SLOW_ELECTION_MS = 1_000;

type Check = (facts: HostFacts) => readonly Finding[];

/** In the order of an installation. What only an agent needs is not asked of a machine that has none. */
export function examine(facts: HostFacts): readonly Finding[] {
  const hasAgent = facts.agent.kind !== 'absent';
  const everywhere: readonly Check[] = [node, configs, plaintext, certificates, addresses, ports, clock, etcd, services];
  const hosts: readonly Check[] = [programs, qemu, accelerator, network, stateFolder];
  return [...everywhere, ...(hasAgent || facts.coordinator.kind === 'absent' ? hosts : [])].flatMap((check) => check(facts));
}

function node({ node: version }: HostFacts): readonly Finding[] {
  return Number(version.split('.')[0]) >= OLDEST_NODE
    ? [good('node', `Node.js ${version}`)]
    : [missing('node', `Node.js ${version} is too old`, `install version ${OLDEST_NODE} or newer`)];
}

function configs(facts: HostFacts): readonly Finding[] {
  const one = (name: 'agent' | 'coordinator', fact: ConfigFact<unknown>): readonly Finding[] => {
    switch (fact.kind) {
      case 'absent':
        return [];
      case 'broken':
        return fact.problems.map((problem) => missing('config', problem, `correct it, then: systemctl restart colo-${name}`));
      case 'read':
        return [good('config', `/etc/colo-ha/${name}.yaml is right`)];
    }
  };
  if (facts.agent.kind === 'absent' && facts.coordinator.kind === 'absent')
    return [
      missing('config', 'neither service has a configuration', 'cp /usr/share/colo-ha/examples/agent.yaml /etc/colo-ha/ and edit it'),
    ];
  return [...one('agent', facts.agent), ...one('coordinator', facts.coordinator)];
}

function plaintext({ agent, coordinator }: HostFacts): readonly Finding[] {
  const insecure = [agent, coordinator].some((each) => each.kind === 'read' && each.value.insecure);
  return insecure
    ? [
        doubtful(
          'certificates',
          'insecureLab: whoever reaches the ports commands the cluster',
          'for a laboratory only; configure certificates',
        ),
      ]
    : [];
}

function certificates({ certificates: facts, nowMs }: HostFacts): readonly Finding[] {
  return certificateFindings(facts, nowMs);
}

function addresses({ agent, coordinator, addresses: own }: HostFacts): readonly Finding[] {
  const wanted = [
    ...(agent.kind === 'read' ? [agent.value.replicationAddress, hostOf(agent.value.listen)] : []),
    ...(coordinator.kind === 'read' ? [hostOf(coordinator.value.listen)] : []),
  ];
  const absent = [...new Set(wanted)].filter((each) => !['0.0.0.0', '::', 'localhost', ...own].includes(each));
  return [
    ...absent.map((each) =>
      missing('addresses', `this machine does not have the address ${each}`, 'correct the configuration, or the network'),
    ),
    ...(absent.length === 0 && wanted.length > 0 ? [good('addresses', wanted.join(', '))] : []),
  ];
}

function ports({ agent, coordinator, units, listening, localPorts }: HostFacts): readonly Finding[] {
  const taken = (name: keyof HostFacts['units'], fact: ConfigFact<{ readonly listen: string }>): readonly Finding[] =>
    fact.kind === 'read' && units[name] !== 'active' && listening.includes(fact.value.listen)
      ? [missing('ports', `${fact.value.listen} is taken by another program`, `ss -tlnp says by which; ${name} needs it`)]
      : [];
  const [low, high] = localPorts;
  const overlaps = coordinator.kind === 'read' && coordinator.value.firstPort <= high && coordinator.value.lastPort >= low;
  return [
    ...taken('colo-agent', agent),
    ...taken('colo-coordinator', coordinator),
    ...(overlaps
      ? [
          doubtful(
            'ports',
            `the ports of pairs overlap those that the kernel gives out by itself (${low}-${high})`,
            'an attempt may then fail and be repeated; choose others in coordinator.yaml, or net.ipv4.ip_local_port_range',
          ),
        ]
      : []),
  ];
}

function clock({ clockSynchronised }: HostFacts): readonly Finding[] {
  const hint = 'install chrony, or enable systemd-timesyncd; a clock that is stepped back hurts checkpoints of QEMU';
  if (clockSynchronised === true) return [good('clock', 'synchronised')];
  return [doubtful('clock', clockSynchronised === null ? 'nobody says whether it is synchronised' : 'is not synchronised', hint)];
}

function etcd({ etcd: members, etcdUnasked, etcdElectionMs }: HostFacts): readonly Finding[] {
  const answering = members.filter((each) => each.version !== null);
  const quorum = Math.floor(members.length / 2) + 1;
  return [
    ...(etcdUnasked === null ? [] : [doubtful('etcd', `was not asked: ${etcdUnasked}`, 'see the certificates above')]),
    ...members.flatMap(({ endpoint, version, problem }) => {
      if (version === null) {
        const hint = 'is etcd running there, and the port open? systemctl status etcd';
        return [(answering.length < quorum ? missing : doubtful)('etcd', `${endpoint} does not answer: ${problem}`, hint)];
      }
      return isOlder(version)
        ? [doubtful('etcd', `${endpoint} is etcd ${version}`, 'before 3.5 it can forget live leases after a pause; take 3.5.30 or newer')]
        : [good('etcd', `${endpoint} is etcd ${version}`)];
    }),
    ...(members.length === 1 || members.length === 2
      ? [
          doubtful(
            'etcd',
            `${members.length} member${members.length === 1 ? '' : 's'} in the configuration`,
            'three outlive the loss of one',
          ),
        ]
      : []),
    ...(etcdElectionMs !== null && etcdElectionMs >= SLOW_ELECTION_MS
      ? [
          doubtful(
            'etcd',
            `the election timeout here is ${etcdElectionMs} ms`,
            'ETCD_HEARTBEAT_INTERVAL=50 and ETCD_ELECTION_TIMEOUT=250 let decisions wait less when its leader dies, on quick disks',
          ),
        ]
      : []),
  ];
}

function services({ agent, coordinator, units }: HostFacts): readonly Finding[] {
  const one = (name: keyof HostFacts['units'], fact: ConfigFact<unknown>): readonly Finding[] => {
    if (fact.kind === 'absent') return [];
    if (units[name] === '') return [doubtful('services', `systemd knows no ${name}`, 'install the package colo-ha')];
    return units[name] === 'active'
      ? [good('services', `${name} runs`)]
      : [missing('services', `${name} is ${units[name]}`, `systemctl start ${name}; journalctl -u ${name} -e`)];
  };
  return [...one('colo-agent', agent), ...one('colo-coordinator', coordinator)];
}

function programs({ programsMissing }: HostFacts): readonly Finding[] {
  return programsMissing.map((name) => missing('programs', `${name} is not installed`, `apt-get install ${PROGRAMS[name] ?? name}`));
}

function qemu({ qemu: found, agent }: HostFacts): readonly Finding[] {
  const program = agent.kind === 'read' ? agent.value.qemuProgram : 'qemu-system-x86_64';
  if (found === null) return [missing('qemu', `${program} cannot be started`, 'apt-get install qemu-system-x86')];
  const lacks = [...OBJECTS.filter((each) => !found.objects.includes(each)), ...FORMATS.filter((each) => !found.formats.includes(each))];
  return lacks.length > 0
    ? [missing('qemu', `QEMU ${found.version} was built without ${lacks.join(', ')}`, "Debian's QEMU has them")]
    : [good('qemu', `QEMU ${found.version} with COLO; must be the same on all hosts`)];
}

function accelerator({ kvm }: HostFacts): readonly Finding[] {
  switch (kvm) {
    case 'usable':
      return [good('kvm', '/dev/kvm is there')];
    case 'absent':
      return [doubtful('kvm', 'there is no /dev/kvm', 'switch virtualisation on in the firmware; without it guests are ten times slower')];
    case 'forbidden':
      return [doubtful('kvm', '/dev/kvm is not for the group kvm', 'udev does that at boot: udevadm trigger /dev/kvm')];
  }
}

function network({ agent, nft, tun, interfaces, users }: HostFacts): readonly Finding[] {
  const bridge = agent.kind === 'read' ? agent.value.bridge : null;
  const user = agent.kind === 'read' ? agent.value.qemuUser : 'colo-qemu';
  return [
    ...(bridge !== null && !interfaces.includes(bridge)
      ? [
          missing(
            'bridge',
            `there is no bridge ${bridge}`,
            'make it where this machine makes its network, for example in /etc/network/interfaces',
          ),
        ]
      : []),
    ...(bridge !== null && interfaces.includes(bridge) ? [good('bridge', bridge)] : []),
    ...(tun ? [] : [missing('taps', "/dev/net/tun is not there, or not for QEMU's user", 'modprobe tun; udev gives it mode 0666')]),
    ...(nft === false
      ? [
          missing(
            'nft',
            'nft does not work here',
            "it holds a broken pair's ARP and IPv6 back; modprobe nf_tables, or see `nft list tables`",
          ),
        ]
      : []),
    ...(nft === null ? [doubtful('nft', 'could not be tried', 'run coloctl doctor as root')] : []),
    ...(users.includes(user) ? [] : [missing('user', `there is no user ${user} for QEMU`, 'systemd-sysusers makes it')]),
  ];
}

function stateFolder({ agent, stateFreeBytes }: HostFacts): readonly Finding[] {
  const folder = agent.kind === 'read' ? agent.value.stateDir : '/var/lib/colo-ha';
  if (stateFreeBytes === null) return [missing('state', `there is no folder ${folder}`, 'systemd-tmpfiles --create')];
  const said = `${(stateFreeBytes / 1024 ** 3).toFixed(1)} GiB free in ${folder}`;
  if (stateFreeBytes < LEAST_FREE_BYTES) return [missing('state', said, 'disks of VMs are made there; their space is reserved at once')];
  return [stateFreeBytes < LITTLE_FREE_BYTES ? doubtful('state', said, 'disks of VMs are made there') : good('state', said)];
}

const hostOf = (address: string): string => address.slice(0, address.lastIndexOf(':')).replace(/^\[(.*)\]$/, '$1');

function isOlder(version: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  return major < OLDEST_ETCD[0] || (major === OLDEST_ETCD[0] && minor < OLDEST_ETCD[1]);
}
