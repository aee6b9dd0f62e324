// What an agent tells Prometheus of its host: its VMs, how late it is itself, and whom it hears.

import { gauge, type Metric, type Sample } from '../../shared/core/metrics.js';
import type { HostReport } from '../../shared/core/model.js';

/** `heartbeatKeys`: names of the keys in use, newest first. */
export function agentMetrics(report: HostReport, heartbeatKeys: readonly string[]): readonly Metric[] {
  const { vms } = report;
  const perVm = (word: (vm: HostReport['vms'][number]) => Readonly<Record<string, string>>): readonly Sample[] =>
    vms.map((vm) => ({ labels: { vm: vm.vm, ...word(vm) }, value: 1 }));
  return [
    gauge(
      'colo_vm_qemu',
      '1 for each VM of this host: what its QEMU is, and its role.',
      perVm(({ qemu }) => ({ state: qemu.kind, role: qemu.kind === 'alive' ? qemu.role : 'none' })),
    ),
    gauge(
      'colo_vm_pair',
      '1 for each VM of this host: what this host makes of its pair.',
      perVm(({ pair }) => ({ state: pair.state })),
    ),
    gauge(
      'colo_vm_epoch',
      'The highest epoch that this host has obeyed.',
      vms.map((vm) => ({ labels: { vm: vm.vm }, value: vm.epoch })),
    ),
    gauge(
      'colo_peer_silent_seconds',
      'Time since the last heartbeat of a host that this one shares a VM with.',
      Object.entries(report.peersSilentMs).map(([address, ms]) => ({ labels: { address }, value: ms / 1_000 })),
    ),
    gauge('colo_loop_lateness_seconds', 'How late the last tick of this agent was.', report.latenessMs / 1_000),
    gauge('colo_free_disk_bytes', 'Free space where the folders of VMs are.', report.freeDiskBytes),
    gauge(
      'colo_etcd_silent_seconds',
      'Time since etcd last answered.',
      report.etcdSilentMs === null ? [] : [{ labels: {}, value: report.etcdSilentMs / 1_000 }],
    ),
    gauge(
      'colo_heartbeat_key',
      '1 for each key that heartbeats are signed with; two while one replaces the other.',
      heartbeatKeys.map((key) => ({ labels: { key }, value: 1 })),
    ),
  ];
}
