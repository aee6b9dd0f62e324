// The images of one VM on this host: made ready for a start, stamped, and looked at for the report. Rules are in core/disk-rules.ts.

import { planBoot, planParent, type SeenImage, type Stamp } from '../core/disk-rules.js';
import { chainsOf, mergingImages, parentImages, qemuPaths, vmFolder } from '../core/paths.js';
import type { DiskView } from '../core/report.js';
import { isMerging } from '../core/situation.js';
import type { Overlays } from '../core/qemu-args.js';
import type { Vm } from './vm.js';
import { diskId, epoch, type DiskId, type Epoch } from '../../shared/core/ids.js';
import type { DiskState, VmSpec } from '../../shared/core/model.js';
import { fail, ok, type Result } from '../../shared/core/result.js';

const NO_DISK: DiskView = { diskId: null, stampEpoch: null, state: 'missing', images: [] };

/** Reads the stamps anew for the report. An external QEMU's disk is what QEMU itself says. */
export async function refreshDisk(vm: Vm): Promise<void> {
  const { journal } = vm;
  if (journal === null) return;
  vm.disk = journal.spec.launch.kind === 'external' ? externalDisk(vm, journal.diskId) : await stampedDisk(vm, journal.spec);
  vm.changed();
}

async function stampedDisk(vm: Vm, spec: VmSpec): Promise<DiskView> {
  const stamps: Stamp[] = [];
  for (const parent of parentImages(vm.setup.folders, spec)) {
    const image = await look(vm, parent);
    const stamp = image.ok ? (image.value?.stamp ?? null) : null;
    if (stamp === null || stamp.uid !== vm.journal?.uid) return NO_DISK;
    stamps.push(stamp);
  }
  const [first] = stamps;
  if (first === undefined) return NO_DISK;
  const state: DiskState = stamps.some((each) => each.state === 'stale')
    ? 'stale'
    : stamps.some((each) => each.state === 'merging')
      ? 'merging'
      : 'clean';
  const { qemu } = vm;
  // What a secondary would be promoted with; the record notes it with the verdict.
  const images =
    state === 'stale' && qemu?.startedAs === 'secondary'
      ? mergingImages(vm.setup.folders, spec, qemu.born)
      : stamps.flatMap((each) => each.images);
  return { diskId: first.diskId, stampEpoch: first.epoch, state, images };
}

function externalDisk(vm: Vm, id: DiskId | null): DiskView {
  if (vm.facts === null) return vm.disk;
  const images = vm.facts.disks.flatMap((disk) => disk.images);
  const state = vm.facts.role === 'secondary' ? 'stale' : isMerging(vm.facts) ? 'merging' : 'clean';
  return { diskId: id, stampEpoch: vm.qemu?.aloneSince ?? null, state, images };
}

/** The merge after a secondary failover has ended: the raw parents are the disk again. Written down before the overlays go. */
export async function noteMergeEnded(vm: Vm, born: Epoch): Promise<void> {
  const { journal, facts } = vm;
  if (journal === null || facts === null || vm.qemu?.born !== born) return;
  if (journal.spec.launch.kind === 'external') return refreshDisk(vm);
  if (vm.disk.state !== 'merging' || vm.situation() !== 'alone' || vm.task?.goal.kind === 'release-secondary') return;
  if (isMerging(facts) || facts.disks.length === 0 || facts.disks.some((disk) => !disk.present)) return;
  const stamped = await stampParents(vm, journal.spec, 'clean', vm.qemu.aloneSince ?? journal.epoch);
  if (!stamped.ok) {
    vm.ports.log.error({ vm: vm.name, error: stamped.error }, 'stamp-failed');
    return;
  }
  const paths = vm.paths(born);
  await vm.ports.disks.remove([...paths.active, ...paths.hidden]);
  await refreshDisk(vm);
  vm.ports.log.info({ vm: vm.name, born }, 'merge-ended');
}

/** Stamps every raw parent of the VM. `merging`: together with the overlays of the QEMU that is here. */
export async function stampParents(vm: Vm, spec: VmSpec, state: DiskState, at: Epoch): Promise<Result<null, string>> {
  const { journal } = vm;
  if (journal === null) return fail('no journal');
  const { folders } = vm.setup;
  const paths = qemuPaths(folders, spec, vm.qemu?.born ?? at);
  for (const [k, parent] of parentImages(folders, spec).entries()) {
    const image = await look(vm, parent);
    if (!image.ok) return image;
    const images = state === 'merging' ? [paths.active[k] ?? '', paths.hidden[k] ?? '', parent] : [parent];
    const id = image.value?.stamp?.diskId ?? journal.diskId ?? diskId(vm.ports.random.id());
    const stamped = await vm.ports.disks.writeStamp(parent, {
      format: 1,
      uid: journal.uid,
      diskId: id,
      epoch: at,
      state,
      images,
      offline: false,
    });
    if (!stamped.ok) return stamped;
  }
  return ok(null);
}

/** Chains that QEMU is to be started with: one raw image per disk, overlays of an earlier life merged before. */
export async function prepareBoot(
  vm: Vm,
  spec: VmSpec,
  images: readonly string[] | null,
  create: boolean,
  at: Epoch,
): Promise<Result<readonly string[], string>> {
  const { folders } = vm.setup;
  const parents = parentImages(folders, spec);
  if (images !== null && images.length > 0) {
    const chains = chainsOf(folders, spec, images);
    if (!chains.ok) return chains;
    const merged = await mergeOffline(vm, chains.value, at);
    if (!merged.ok) return merged;
  }
  for (const [k, parent] of parents.entries()) {
    const disk = spec.disks[k];
    if (disk === undefined) return fail('a disk without a spec');
    const image = await look(vm, parent);
    if (!image.ok) return image;
    const uid = vm.journal?.uid;
    if (uid === undefined) return fail('no journal');
    const planned = planBoot(parent, image.value, uid, disk.sizeBytes, create);
    if (planned.kind === 'refuse') return fail(planned.why);
    if (planned.kind === 'create') {
      const made = await vm.ports.disks.create(parent, disk.sizeBytes, disk.source);
      if (!made.ok) return made;
    } else if (planned.growTo !== null) {
      const grown = await vm.ports.disks.grow(parent, planned.growTo);
      if (!grown.ok) return grown;
    }
  }
  const stamped = await stampParents(vm, spec, 'clean', at);
  return stamped.ok ? ok(parents) : stamped;
}

/**
 * A chain whose stamp says `clean` was merged by QEMU before it ended, and its overlays are old. One that says `stale` is a secondary's
 * whose promotion was saved and never heard of here: the record's word counts, as long as every overlay of that very attempt is there.
 */
async function mergeOffline(vm: Vm, chains: readonly (readonly string[])[], at: Epoch): Promise<Result<null, string>> {
  const { disks, log } = vm.ports;
  for (const chain of chains) {
    const parent = chain.at(-1);
    if (parent === undefined || chain.length === 1) continue;
    const image = await look(vm, parent);
    if (!image.ok) return image;
    const stamp = image.value?.stamp ?? null;
    if (stamp === null || stamp.uid !== vm.journal?.uid) return fail(`${parent} carries no stamp of this VM`);
    if (stamp.state === 'clean') continue;
    if (stamp.state === 'stale') {
      for (const overlay of chain.slice(0, -1)) {
        const there = await look(vm, overlay);
        if (!there.ok) return there;
        if (there.value === null) return fail(`${parent} is stale and the overlay ${overlay} is not there`);
      }
    }
    const merged = stamp.offline ? ok(false) : await disks.merged(chain);
    if (!merged.ok) return merged;
    log.info({ vm: vm.name, chain, merged: merged.value }, 'merging-offline');
    if (!merged.value) {
      const begun = await disks.writeStamp(parent, { ...stamp, state: 'merging', epoch: at, images: chain, offline: true });
      if (!begun.ok) return begun;
      const flat = await disks.flatten(chain);
      if (!flat.ok) return flat;
    }
    const ended = await disks.writeStamp(parent, { ...stamp, state: 'clean', epoch: at, images: [parent], offline: false });
    if (!ended.ok) return ended;
  }
  return ok(null);
}

/** Raw parents for a secondary, stamped as worthless before QEMU may touch them, and fresh overlays. */
export async function prepareSecondary(
  vm: Vm,
  spec: VmSpec,
  born: Epoch,
  identical: boolean,
): Promise<Result<{ readonly images: readonly string[]; readonly overlays: readonly Overlays[] }, string>> {
  const { disks } = vm.ports;
  const parents = parentImages(vm.setup.folders, spec);
  const paths = vm.paths(born);
  const uid = vm.journal?.uid;
  if (uid === undefined) return fail('no journal');
  // An overlay of an earlier attempt together with a parent that is filled anew would be a chain that never was.
  await disks.sweepOverlays(vmFolder(vm.setup.folders, spec.name), []);
  const overlays: Overlays[] = [];
  for (const [k, parent] of parents.entries()) {
    const sizeBytes = spec.disks[k]?.sizeBytes ?? 0;
    const image = await look(vm, parent);
    if (!image.ok) return image;
    const planned = planParent(parent, image.value, uid, sizeBytes, identical);
    if (planned.kind === 'refuse') return fail(planned.why);
    if (planned.kind === 'create') {
      const made = await disks.create(parent, sizeBytes, null);
      if (!made.ok) return made;
    }
    const stamp = image.value?.stamp ?? null;
    const id = stamp?.diskId ?? vm.journal?.diskId ?? diskId(vm.ports.random.id());
    const stamped = await disks.writeStamp(parent, {
      format: 1,
      uid,
      diskId: id,
      epoch: epoch(0),
      state: 'stale',
      images: [parent],
      offline: false,
    });
    if (!stamped.ok) return stamped;
    const sized =
      planned.kind === 'recreate'
        ? await disks.recreate(parent, sizeBytes)
        : planned.kind === 'grow'
          ? await disks.grow(parent, sizeBytes)
          : ok(null);
    if (!sized.ok) return sized;
    const reserved = await disks.reserve(parent, sizeBytes);
    if (!reserved.ok) return reserved;
    const pair = { active: paths.active[k] ?? '', hidden: paths.hidden[k] ?? '' };
    for (const overlay of [pair.active, pair.hidden]) {
      const made = await disks.makeOverlay(overlay, sizeBytes);
      if (!made.ok) return made;
    }
    overlays.push(pair);
  }
  return ok({ images: parents, overlays });
}

/** A primary's own write that fails for want of space would be told to the guest as done: the peer's copy has succeeded (SAFETY 1). */
export async function reserveOwnDisks(vm: Vm, spec: VmSpec): Promise<Result<null, string>> {
  if (spec.launch.kind === 'external') return ok(null);
  for (const [k, parent] of parentImages(vm.setup.folders, spec).entries()) {
    const reserved = await vm.ports.disks.reserve(parent, spec.disks[k]?.sizeBytes ?? 0);
    if (!reserved.ok) return reserved;
  }
  return ok(null);
}

async function look(vm: Vm, path: string): Promise<Result<SeenImage | null, string>> {
  const image = await vm.ports.disks.look(path);
  if (!image.ok) return image;
  return ok(image.value.kind === 'missing' ? null : { path, sizeBytes: image.value.sizeBytes, stamp: image.value.stamp });
}
