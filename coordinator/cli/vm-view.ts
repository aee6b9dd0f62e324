// VMs as tables: a list, and one with all that is known of it.

import type { Vm } from '../../shared/gen/colo/v1/coordinator.js';
import { paintPhase, wantedOf } from './status-view.js';
import { age, bytes, orDash, table, type Colours } from './text.js';

const MIB = 1024 * 1024;

export function renderVms(vms: readonly Vm[], colours: Colours): string {
  if (vms.length === 0) return 'No VM is defined: coloctl vm define -f FILE\n';
  const head = ['VM', 'PHASE', 'WANTED', 'PRIMARY', 'SECONDARY', 'MEMORY', 'CPUS', 'DISKS', 'CARDS'];
  const rows = vms.map(({ spec, status, wanted, protect }) => [
    spec?.name ?? '?',
    status === undefined ? '-' : paintPhase(status, colours),
    wantedOf({ wanted, protect }),
    orDash(status?.primary),
    orDash(status?.secondary),
    bytes((spec?.memoryMib ?? 0) * MIB),
    String(spec?.cpus ?? '-'),
    String(spec?.disks.length ?? '-'),
    String(spec?.nics.length ?? '-'),
  ]);
  return `${table(head, rows, colours)}\n`;
}

export function renderVm(vm: Vm, nowMs: number, colours: Colours): string {
  const { spec, status } = vm;
  const lines: (readonly [string, string])[] = [['VM', `${spec?.name ?? '?'} (${vm.uid})`]];
  if (status !== undefined) {
    lines.push([
      'Phase',
      `${paintPhase(status, colours)}${status.sinceMs === 0 ? '' : ` for ${age(nowMs - status.sinceMs)}`}, epoch ${status.epoch}`,
    ]);
    lines.push(['Wanted', wantedOf(vm)], ['Reason', orDash(status.reason)], ['Row', orDash(status.row)]);
    if (status.lastError !== '') lines.push(['Last error', status.lastError]);
    lines.push(['Valid disk', status.diskHost === '' ? '-' : `on ${status.diskHost}, ${status.diskState}`]);
    for (const side of status.sides) {
      const pid = side.pid === 0 ? '' : `, pid ${side.pid}`;
      lines.push([
        side.role === '' ? 'Stray' : side.role === 'primary' ? 'Primary' : 'Secondary',
        `${side.host}: qemu ${side.qemu}${pid}, pair ${side.pair}, ${side.task}`,
      ]);
      for (const line of side.evidence) lines.push(['', line]);
    }
  }
  if (spec !== undefined) {
    lines.push(['Machine', `${spec.machine}, ${spec.cpus} x ${spec.cpuModel}, ${bytes(spec.memoryMib * MIB)}, accel ${spec.accel}`]);
    lines.push(['Hosts', spec.hosts.length === 0 ? 'any' : spec.hosts.join(', ')]);
    for (const [index, disk] of spec.disks.entries())
      lines.push([`Disk ${index}`, `${bytes(disk.sizeBytes)}${disk.path === '' ? '' : ` at ${disk.path}`}`]);
    for (const [index, nic] of spec.nics.entries())
      lines.push([`Card ${index}`, `${nic.mac}${nic.bridge === '' ? '' : ` on ${nic.bridge}`}`]);
  }
  const width = Math.max(...lines.map(([title]) => title.length));
  return `${lines.map(([title, text]) => `${colours.bold(title.padEnd(width))}  ${text}`.trimEnd()).join('\n')}\n`;
}
