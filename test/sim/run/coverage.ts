// What a search has been through: which rows of the transition table fired, and during which of them each kind of process died.

import type { Seen } from '../invariants/watchers.js';
import type { World } from '../world/world.js';

const ROLES = ['leader', 'follower', 'agent-primary', 'agent-secondary', 'agent-spare'] as const;
type Role = (typeof ROLES)[number];

/** Mergeable over workers: plain data. */
export interface Coverage {
  /** Row -> how often it was said or saved. */
  readonly rows: Record<string, number>;
  /** `row role` -> how often a process of this role died while the row was the last one of a VM. */
  readonly crashes: Record<string, number>;
  /** `row role call`: the same with the call that was its last one. */
  readonly steps: Record<string, number>;
}

export function nothingCovered(): Coverage {
  return { rows: {}, crashes: {}, steps: {} };
}

export function cover(coverage: Coverage, world: World, { process, event, fields }: Seen): void {
  if (event === 'row') {
    const row = String(fields['row']);
    count(coverage.rows, row);
    world.lastRow.set(String(fields['vm']), row);
    return;
  }
  if (event !== 'died') return;
  const call = stepOf(String(fields['after']));
  for (const [vm, last] of world.lastRow) {
    const role = roleOf(world, process, vm);
    count(coverage.crashes, `${last} ${role}`);
    count(coverage.steps, `${last} ${role} ${call}`);
  }
}

export function merge(into: Coverage, other: Coverage): void {
  for (const part of ['rows', 'crashes', 'steps'] as const) {
    for (const [key, times] of Object.entries(other[part])) into[part][key] = (into[part][key] ?? 0) + times;
  }
}

/** Lines of the table: each row of `table`, how often it fired, and a mark for each kind of process that died in it. */
export function coverageTable(coverage: Coverage, table: readonly string[]): readonly string[] {
  const width = Math.max(...table.map((row) => row.length));
  const head = `${'row'.padEnd(width)} ${'fired'.padStart(9)}  ${ROLES.map((role) => role.padStart(15)).join(' ')}`;
  const lines = table.map((row) => {
    const died = ROLES.map((role) => String(coverage.crashes[`${row} ${role}`] ?? 0).padStart(15)).join(' ');
    return `${row.padEnd(width)} ${String(coverage.rows[row] ?? 0).padStart(9)}  ${died}`;
  });
  const never = table.filter((row) => coverage.rows[row] === undefined);
  const steps = Object.keys(coverage.steps).length;
  return [
    head,
    ...lines,
    `rows that never fired: ${never.length === 0 ? 'none' : never.join(', ')}`,
    `different (row, process, step) at a death: ${steps}`,
  ];
}

/** A call without what it is about: the command to QEMU, the kind of transaction or order. */
function stepOf(call: string): string {
  const [what = '', kind = ''] = call.split(' ');
  return ['qmp', 'etcd', 'order'].includes(what) ? `${what} ${kind}` : what;
}

function roleOf(world: World, process: string, vm: string): Role {
  if (!process.startsWith('agent ')) return world.leaderWas === process ? 'leader' : 'follower';
  const host = process.replace('agent ', '');
  const record = world.record(vm);
  if (record?.primary?.host === host) return 'agent-primary';
  return record?.secondary?.host === host ? 'agent-secondary' : 'agent-spare';
}

function count(into: Record<string, number>, key: string): void {
  into[key] = (into[key] ?? 0) + 1;
}
