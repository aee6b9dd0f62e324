// Which disk of a VM could be booted, by what the hosts say of their stamps. A primary's stamp keeps the epoch in which it was started or
// promoted, so that among disks that are not stale the newest stamp is that of the last host to run the guest.

import { diskId, epoch } from '../../shared/core/ids.js';
import type { ValidDisk, VmRecord } from '../../shared/core/model.js';
import type { HostView } from './view.js';

/** What this host could boot the VM from; null = nothing. A secondary that proved its pair is as good as its primary, with its overlays. */
export function bootableDisk(host: HostView): ValidDisk | null {
  const { report } = host;
  if (report === null || report.disk.diskId === null) return null;
  const { disk, provenFor, unpromotable } = report;
  const base = { host: host.key.host, diskId: report.disk.diskId, images: disk.images };
  switch (disk.state) {
    case 'clean':
    case 'merging':
      return { ...base, epoch: disk.stampEpoch ?? epoch(0), state: disk.state };
    case 'stale':
      if (provenFor === null || unpromotable !== null || disk.replication === 'error' || disk.images.length < 2) return null;
      return { ...base, epoch: provenFor, state: 'merging' };
    case 'missing':
      return null;
  }
}

/** Newest first. */
export function bootableDisks(hosts: readonly HostView[]): readonly ValidDisk[] {
  return hosts
    .map(bootableDisk)
    .filter((each) => each !== null)
    .sort((x, y) => y.epoch - x.epoch);
}

/** Says in a record that there is data and nobody knows which copy is the valid one; nothing is booted from it. */
export function unknownDisk(record: VmRecord, host: string): ValidDisk {
  const known = record.disk;
  return { host: known?.host ?? host, diskId: known?.diskId ?? diskId('unknown'), epoch: record.epoch, state: 'stale', images: [] };
}

export function describeDisk(disk: ValidDisk): string {
  return `the disk on ${disk.host} (${disk.state}, of epoch ${disk.epoch})`;
}
