// Brands keep numbers and strings of different meaning apart: an epoch is never a term, a host name never a host id.

declare const brand: unique symbol;
type Brand<T, B extends string> = T & { readonly [brand]: B };

/** Per-VM counter, +1 on each phase edge. 0 means "none yet". */
export type Epoch = Brand<number, 'Epoch'>;
/** The leader key's mod revision in etcd. */
export type Term = Brand<number, 'Term'>;
/** Random, made when a VM is defined; a name used twice is never the same uid. */
export type VmUid = Brand<string, 'VmUid'>;
/** Random, made when an agent first uses its state folder. */
export type HostId = Brand<string, 'HostId'>;
/** Random, stamped beside a disk image when it is first made on a host. */
export type DiskId = Brand<string, 'DiskId'>;
/** Random, made when a cluster is first written to etcd; `coloctl recover` makes a new one. */
export type Incarnation = Brand<string, 'Incarnation'>;
/** Monotonic milliseconds of this process; never compared across processes. */
export type Instant = Brand<number, 'Instant'>;

export const epoch = (value: number): Epoch => value as Epoch;
export const term = (value: number): Term => value as Term;
export const vmUid = (value: string): VmUid => value as VmUid;
export const hostId = (value: string): HostId => value as HostId;
export const diskId = (value: string): DiskId => value as DiskId;
export const incarnation = (value: string): Incarnation => value as Incarnation;
export const instant = (value: number): Instant => value as Instant;

export const nextEpoch = (value: Epoch): Epoch => (value + 1) as Epoch;
