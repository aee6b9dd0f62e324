// The status as tables, to be read by somebody who was woken by it: the problem first, then each VM with what is wanted, what is, and why.

import type { Status, VmStatus } from '../../shared/gen/colo/v1/coordinator.js';
import { hasFailed, isDegraded } from './exit-codes.js';
import { age, bytes, orDash, table, type Colours } from './text.js';

export interface ViewOptions {
  readonly wide: boolean;
  /** Milliseconds since 1970. */
  readonly nowMs: number;
  readonly colours: Colours;
}

export function renderStatus(status: Status, options: ViewOptions): string {
  const { colours } = options;
  const parts = [headline(status, colours)];
  if (status.problem !== '') parts.push(colours.red(colours.bold(`PROBLEM: ${status.problem}`)));
  parts.push(status.vms.length === 0 ? 'No VM is defined: coloctl vm define -f FILE' : vmTable(status.vms, options));
  const notes = status.vms.flatMap((vm) => vmNotes(vm, options));
  if (notes.length > 0) parts.push(notes.join('\n'));
  parts.push(status.hosts.length === 0 ? 'No host has joined: is colo-agent running anywhere?' : hostTable(status, options));
  const strange = status.hosts.flatMap((host) =>
    host.strange.map((line) => `${host.name} says what ${status.answeredBy} does not know (upgrade it): ${line}`),
  );
  if (strange.length > 0) parts.push(colours.yellow(strange.join('\n')));
  if (options.wide && status.coordinators.length > 0) parts.push(coordinatorTable(status, colours));
  return `${parts.join('\n\n')}\n`;
}

function headline(status: Status, colours: Colours): string {
  const leader = status.leader === '' ? colours.red('no leader') : `leader ${status.leader} (term ${status.term})`;
  return `${colours.bold(`Cluster ${status.cluster}`)}   ${leader}   answered by ${status.answeredBy}`;
}

function vmTable(vms: readonly VmStatus[], { colours, nowMs, wide }: ViewOptions): string {
  const head = ['VM', 'PHASE', 'WANTED', 'PRIMARY', 'SECONDARY', 'EPOCH', 'SINCE', ...(wide ? ['ROW', 'DISK'] : []), 'REASON'];
  const rows = vms.map((vm) => [
    vm.name,
    paintPhase(vm, colours),
    wantedOf(vm),
    orDash(vm.primary),
    orDash(vm.secondary),
    String(vm.epoch),
    vm.sinceMs === 0 ? '-' : age(nowMs - vm.sinceMs),
    ...(wide ? [orDash(vm.row), vm.diskHost === '' ? '-' : `${vm.diskHost} (${vm.diskState})`] : []),
    reasonOf(vm),
  ]);
  return table(head, rows, colours);
}

/** What the tables have no room for: last errors, and in the wide form each side. */
function vmNotes(vm: VmStatus, { wide, colours }: ViewOptions): readonly string[] {
  const notes: string[] = [];
  if (vm.lastError !== '' && vm.lastError !== vm.reason) notes.push(colours.yellow(`${vm.name}: last error: ${vm.lastError}`));
  if (!wide && !hasFailed(vm)) return notes;
  for (const side of vm.sides) {
    const what = [
      `qemu ${side.qemu}`,
      side.pid === 0 ? '' : `pid ${side.pid}`,
      side.runstate,
      `pair ${side.pair}`,
      side.task === 'idle' ? '' : side.task,
    ];
    notes.push(`${vm.name}: ${side.role === '' ? 'stray' : side.role} on ${side.host}: ${what.filter((each) => each !== '').join(', ')}`);
    notes.push(...side.evidence.map((line) => `${vm.name}:   ${line}`));
  }
  return notes;
}

function hostTable(status: Status, { colours, wide }: ViewOptions): string {
  const head = ['HOST', 'STATE', 'QEMU', 'FREE', ...(wide ? ['ADDRESS', 'REPLICATION', 'AGENT'] : []), 'VMS'];
  const rows = status.hosts.map((host) => [
    host.name,
    paintHost(host.state, colours),
    orDash(host.qemuVersion),
    host.freeDiskBytes === 0 ? '-' : bytes(host.freeDiskBytes),
    ...(wide ? [host.address, host.replicationAddress, orDash(host.agentVersion)] : []),
    orDash(vmsOn(status.vms, host.name)),
  ]);
  return table(head, rows, colours);
}

function coordinatorTable(status: Status, colours: Colours): string {
  return table(
    ['COORDINATOR', 'ROLE', 'ADDRESS'],
    status.coordinators.map((each) => [each.name, each.leader ? 'leader' : 'follower', each.address]),
    colours,
  );
}

function vmsOn(vms: readonly VmStatus[], host: string): string {
  const roles = vms.flatMap((vm) => [
    ...(vm.primary === host ? [`${vm.name} (primary)`] : []),
    ...(vm.secondary === host ? [`${vm.name} (secondary)`] : []),
  ]);
  return roles.join(', ');
}

export function wantedOf(vm: Pick<VmStatus, 'wanted' | 'protect'>): string {
  return vm.wanted === 'running' ? `running, ${vm.protect ? 'protected' : 'unprotected'}` : vm.wanted;
}

function reasonOf(vm: VmStatus): string {
  const progress =
    vm.resyncTotalBytes === 0
      ? ''
      : ` (${Math.floor((100 * vm.resyncDoneBytes) / vm.resyncTotalBytes)} % of ${bytes(vm.resyncTotalBytes)})`;
  return `${orDash(vm.reason)}${progress}`;
}

export function paintPhase(vm: VmStatus, colours: Colours): string {
  const word = vm.onHold && vm.phase !== 'held' ? `${vm.phase} (on hold)` : vm.phase;
  if (hasFailed(vm)) return colours.red(colours.bold(word));
  return isDegraded(vm) ? colours.yellow(word) : colours.green(word);
}

function paintHost(state: string, colours: Colours): string {
  if (state === 'ready') return colours.green(state);
  return state === 'lost' ? colours.red(state) : colours.yellow(state);
}
