// What tests of the wire share: reports that differ from a good one only where the case says so.

import { diskId, epoch, hostId, term, vmUid } from '../../../shared/core/ids.js';
import type { HostReport, VmReport } from '../../../shared/core/model.js';

export function aVmReport(change: Partial<VmReport> = {}): VmReport {
  return {
    vm: 'web',
    uid: vmUid('uid-web'),
    term: term(7),
    epoch: epoch(3),
    qemu: { kind: 'alive', born: epoch(2), pid: 4711, role: 'primary', runstate: 'colo' },
    pair: { state: 'ok', evidence: ['checkpoint 12 ms ago'] },
    aloneSince: null,
    readyFor: null,
    provenFor: epoch(3),
    guestShutdown: false,
    held: false,
    coloExited: false,
    unpromotable: null,
    task: { kind: 'idle' },
    disk: { diskId: diskId('d1'), stampEpoch: epoch(3), state: 'clean', images: ['/i.raw'], replication: 'clean', localError: false },
    resync: null,
    durationsMs: { copy: 12.5 },
    ...change,
  };
}

export function aReport(change: Partial<HostReport> = {}): HostReport {
  return {
    host: 'a',
    hostId: hostId('id-a'),
    session: 's1',
    sequence: 1,
    latenessMs: 0,
    incarnation: null,
    vms: [],
    peersSilentMs: {},
    freeDiskBytes: 1,
    etcdSilentMs: null,
    ...change,
  };
}
