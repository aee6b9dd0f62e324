// What an operator's change to a VM may do, given the other VMs, the hosts and the record. Pure: the caller reads the store, asks here,
// and writes the answer in a transaction that fails if anything it read has changed.

import { unreachable } from '../../shared/core/assert.js';
import type { HostKey, VmRecord, VmSpec, VmWanted } from '../../shared/core/model.js';
import { fail, ok, type Result } from '../../shared/core/result.js';
import { sameMac, type SpecProblem } from '../../shared/core/spec-rules.js';

export type Wish = 'start' | 'stop' | 'protect' | 'unprotect' | 'release' | 'delete';

/** What a new definition collides with among the hosts and the other VMs; empty = it may be stored. */
export function collisions(spec: VmSpec, hosts: readonly HostKey[], others: readonly VmSpec[]): readonly SpecProblem[] {
  return [
    ...machineCollisions(spec, hosts),
    ...diskCollisions(spec, others),
    ...nicCollisions(spec, others),
    ...hostCollisions(spec, hosts),
  ];
}

/** What is wanted after a wish, or why it cannot be. Asking for what is already wanted is no error. */
export function afterWish(wish: Wish, wanted: VmWanted, record: VmRecord | null): Result<VmWanted, string> {
  const name = wanted.spec.name;
  if (wanted.wanted === 'deleted')
    return wish === 'delete' ? ok(wanted) : fail(`VM "${name}" is being deleted: define it again when it is gone`);
  switch (wish) {
    case 'start':
      if (record?.uid === wanted.uid && record.phase === 'failed') {
        return fail(
          `VM "${name}" is failed: ${record.reason}. When the cause is gone: coloctl vm stop ${name} --wait, then start it again`,
        );
      }
      return ok({ ...wanted, wanted: 'running' });
    case 'stop':
      return ok({ ...wanted, wanted: 'stopped' });
    case 'protect':
      return ok({ ...wanted, protect: true });
    case 'unprotect':
      return ok({ ...wanted, protect: false });
    case 'release': {
      // The record's own times are taken, so that no two clocks are compared.
      const failovers = record?.uid === wanted.uid ? record.failoversAtMs : [];
      return ok(failovers.length === 0 ? wanted : { ...wanted, releasedAtMs: Math.max(...failovers) });
    }
    case 'delete': {
      const phase = record?.uid === wanted.uid ? record.phase : 'stopped';
      if (wanted.wanted === 'stopped' && phase === 'stopped') return ok({ ...wanted, wanted: 'deleted' });
      return fail(
        `VM "${name}" is ${phase}${wanted.wanted === 'running' ? ' and wanted running' : ''}: stop it first (coloctl vm stop ${name} --wait)`,
      );
    }
    default:
      return unreachable(wish);
  }
}

function hostCollisions(spec: VmSpec, hosts: readonly HostKey[]): readonly SpecProblem[] {
  const known = hosts.map((each) => each.host).sort();
  const list = known.length === 0 ? 'no host has joined yet: is colo-agent running on them?' : `the cluster has ${known.join(', ')}`;
  return spec.hosts.flatMap((host, index) =>
    known.includes(host) ? [] : [{ path: ['hosts', index], problem: `host "${host}" does not exist in this cluster: ${list}` }],
  );
}

function nicCollisions(spec: VmSpec, others: readonly VmSpec[]): readonly SpecProblem[] {
  return spec.nics.flatMap((nic, index) => {
    const other = others.find((each) => each.nics.some((theirs) => sameMac(theirs.mac, nic.mac)));
    return other === undefined
      ? []
      : [{ path: ['nics', index, 'mac'], problem: `${nic.mac} belongs to VM "${other.name}": choose another address` }];
  });
}

function diskCollisions(spec: VmSpec, others: readonly VmSpec[]): readonly SpecProblem[] {
  return spec.disks.flatMap((disk, index) => {
    if (disk.path === null) return [];
    const other = others.find((each) => each.disks.some((theirs) => theirs.path === disk.path));
    return other === undefined
      ? []
      : [
          {
            path: ['disks', index, 'path'],
            problem: `${disk.path} is the image of VM "${other.name}": two VMs on one image would destroy its data`,
          },
        ];
  });
}

/** A QEMU older than the machine type cannot run it. Only upstream's PC types are judged: others are numbered by their distributor. */
function machineCollisions(spec: VmSpec, hosts: readonly HostKey[]): readonly SpecProblem[] {
  const machine = /^pc-(?:i440fx|q35)-(\d+)\.(\d+)$/.exec(spec.machine);
  if (machine === null) return [];
  const wanted = versionOf(machine);
  const eligible = hosts.filter((each) => spec.hosts.length === 0 || spec.hosts.includes(each.host));
  const tooOld = eligible.filter((each) => {
    const version = /(\d+)\.(\d+)/.exec(each.qemuVersion);
    return version !== null && versionOf(version) < wanted;
  });
  // Where any host may run it, those that cannot are simply passed by, as long as somebody can.
  if (tooOld.length === 0 || (spec.hosts.length === 0 && tooOld.length < eligible.length)) return [];
  const versions = tooOld.map((each) => `${each.host} has QEMU ${each.qemuVersion}`).join(', ');
  return [
    { path: ['machine'], problem: `${spec.machine} is newer than its hosts: ${versions}. Choose a machine type that all of them know` },
  ];
}

function versionOf(match: RegExpExecArray): number {
  return Number(match[1]) * 1_000 + Number(match[2]);
}
