// Ids of nodes, chardevs and objects inside one QEMU. With one disk and one NIC they are the very ids of QEMU's COLO manual, so that
// what an operator reads there is what he finds here. With more, each id carries the number of its disk or NIC:
//
// | per disk k | one disk | several |        | per NIC k | one NIC | several |
// |---|---|---|                            |---|---|---|
// | quorum | colo-disk0 | colo-disk{k} |    | netdev, device | hn0, e0 | hn{k}, e{k} |
// | secondary's raw parent | parent0 | parent{k} |  | to the secondary | mirror0 | mirror{k} |
// | replication node (secondary) | childs0 | childs{k} | | from the secondary | compare1 | compare1-{k} |
// | replication node (primary) | replication0 | replication{k} | | compare input, both ends | compare0, compare0-0 | compare0-{k}, compare0c-{k} |
// | NBD node (primary) | nbd0 | nbd{k} |    | compare output, both ends | compare_out, compare_out0 | cout-{k}, coutc-{k} |
// | copy job | resync | resync{k} |         | filters (primary) | m0, redire0, redire1 | m{k}, redire0-{k}, redire1-{k} |
// |          |        |           |         | compare, its thread | comp0, iothread1 | comp{k}, iothread{k} |
// |          |        |           |         | chardevs (secondary) | red0, red1 | red0-{k}, red1-{k} |
// |          |        |           |         | filters (secondary) | f1, f2, rew0 | f1-{k}, f2-{k}, rew{k} |
//
// The two schemes differ only where the manual's own id leaves no place for a number. A VM's lists never change while it is
// defined, so one VM never sees both.

export interface DiskNames {
  readonly quorum: string;
  readonly parent: string;
  readonly childs: string;
  readonly replication: string;
  readonly nbd: string;
  readonly job: string;
}

export interface NicNames {
  readonly netdev: string;
  readonly device: string;
  /** Chardevs of a primary. `mirror` and `compareSecondary` listen on the network, the other four are two pairs inside the host. */
  readonly mirror: string;
  readonly compareSecondary: string;
  readonly compareIn: string;
  readonly compareInClient: string;
  readonly compareOut: string;
  readonly compareOutClient: string;
  /** Objects of a primary. */
  readonly mirrorFilter: string;
  readonly redirectIn: string;
  readonly redirectOut: string;
  readonly iothread: string;
  readonly compare: string;
  /** Chardevs and filters of a secondary. The rewriter stays for ever after a secondary failover. */
  readonly redIn: string;
  readonly redOut: string;
  readonly filterIn: string;
  readonly filterOut: string;
  readonly rewriter: string;
}

export interface VmNames {
  readonly disks: readonly DiskNames[];
  readonly nics: readonly NicNames[];
}

/** All ids of a VM with so many disks and NICs; index k of each list belongs to disk k or NIC k of the spec. */
export function vmNames(diskCount: number, nicCount: number): VmNames {
  const key = `${diskCount} ${nicCount}`;
  const known = made.get(key);
  if (known !== undefined) return known;
  const names: VmNames = {
    disks: Array.from({ length: diskCount }, (_, k) => diskNames(k, diskCount)),
    nics: Array.from({ length: nicCount }, (_, k) => nicNames(k, nicCount)),
  };
  made.set(key, names);
  return names;
}

/** They are asked for at every look and every event, and a host has VMs of few shapes. */
const made = new Map<string, VmNames>();

function diskNames(k: number, count: number): DiskNames {
  return {
    quorum: `colo-disk${k}`,
    parent: `parent${k}`,
    childs: `childs${k}`,
    replication: `replication${k}`,
    nbd: `nbd${k}`,
    job: count === 1 ? 'resync' : `resync${k}`,
  };
}

function nicNames(k: number, count: number): NicNames {
  const common = {
    netdev: `hn${k}`,
    device: `e${k}`,
    mirror: `mirror${k}`,
    mirrorFilter: `m${k}`,
    compare: `comp${k}`,
    rewriter: `rew${k}`,
  };
  if (count === 1) {
    return {
      ...common,
      compareSecondary: 'compare1',
      compareIn: 'compare0',
      compareInClient: 'compare0-0',
      compareOut: 'compare_out',
      compareOutClient: 'compare_out0',
      redirectIn: 'redire0',
      redirectOut: 'redire1',
      iothread: 'iothread1',
      redIn: 'red0',
      redOut: 'red1',
      filterIn: 'f1',
      filterOut: 'f2',
    };
  }
  return {
    ...common,
    compareSecondary: `compare1-${k}`,
    compareIn: `compare0-${k}`,
    compareInClient: `compare0c-${k}`,
    compareOut: `cout-${k}`,
    compareOutClient: `coutc-${k}`,
    redirectIn: `redire0-${k}`,
    redirectOut: `redire1-${k}`,
    iothread: `iothread${k}`,
    redIn: `red0-${k}`,
    redOut: `red1-${k}`,
    filterIn: `f1-${k}`,
    filterOut: `f2-${k}`,
  };
}

/** Unix sockets of the two chardev pairs inside one host, in the VM's runtime folder. */
export function compareSocketPath(runtimeDir: string, chardevId: string): string {
  return `${runtimeDir}/${chardevId}.sock`;
}
