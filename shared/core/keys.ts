// Where things are in etcd. Every key of a cluster is under one prefix, so that many clusters can share a store.

export interface Keys {
  readonly all: string;
  readonly cluster: string;
  readonly leader: string;
  readonly vms: string;
  readonly hosts: string;
  readonly inventory: string;
  readonly history: string;
  readonly members: string;
  spec(vm: string): string;
  record(vm: string): string;
  /** Under the host's lease: there while the agent's heartbeat is. */
  host(host: string): string;
  /** The same value without a lease, so that a coordinator can dial a host whose lease is gone. */
  inventoryOf(host: string): string;
  /** Coordinators' addresses, leased, for status. */
  member(name: string): string;
  /** Sorts by time within a VM, because epochs only grow. */
  historyOf(vm: string, uid: string, epoch: number): string;
  /** What was asked for, in a ring beside the edges. */
  askedOf(vm: string, uid: string, place: number): string;
}

/** `prefix` without a trailing slash, for example `/colo/demo`. */
export function keysOf(prefix: string): Keys {
  return {
    all: `${prefix}/`,
    cluster: `${prefix}/cluster`,
    leader: `${prefix}/leader`,
    vms: `${prefix}/vms/`,
    hosts: `${prefix}/hosts/`,
    inventory: `${prefix}/inventory/`,
    history: `${prefix}/history/`,
    members: `${prefix}/coordinators/`,
    spec: (vm) => `${prefix}/vms/${vm}/spec`,
    record: (vm) => `${prefix}/vms/${vm}/record`,
    host: (host) => `${prefix}/hosts/${host}`,
    inventoryOf: (host) => `${prefix}/inventory/${host}`,
    member: (name) => `${prefix}/coordinators/${name}`,
    historyOf: (vm, uid, epoch) => `${prefix}/history/${vm}/${uid}/${String(epoch).padStart(12, '0')}`,
    askedOf: (vm, uid, place) => `${prefix}/history/${vm}/${uid}/asked-${String(place).padStart(4, '0')}`,
  };
}
