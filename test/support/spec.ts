// Builds definitions for tests, so that a case shows only what differs from a good one.

import type { VmSpec } from '../../shared/core/model.js';

export function aSpec(change: Partial<VmSpec> = {}): VmSpec {
  return {
    name: 'web',
    memoryMiB: 96,
    cpus: 1,
    machine: 'pc-i440fx-11.1',
    cpuModel: 'qemu64',
    accel: 'auto',
    disks: [{ sizeBytes: 64 * 1024 * 1024, path: null, source: null }],
    nics: [{ mac: '52:54:00:12:34:56', bridge: null }],
    boot: { kind: 'disk' },
    extraArgs: [],
    hosts: [],
    launch: { kind: 'managed' },
    method: 'stop-copy',
    checkpointDelayMs: 1_000,
    compareTimeoutMs: 300,
    expiredScanCycleMs: 100,
    maxBandwidthBytes: 2 ** 30,
    onPoweroff: 'stop',
    restart: 'always',
    shutdownGraceMs: 30_000,
    ...change,
  };
}
