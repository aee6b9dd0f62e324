// What is true of one QEMU right now, from its own answers and nothing else: an agent that was just started knows as much as one that
// was there all the time. What QEMU's answers cannot show is left out: query-colo-status and query-migrate go on saying `colo` after
// the pair broke (the honest sign is a chardev that is disconnected), and a silent death shows nowhere here.

import type { QemuRole } from '../../shared/core/model.js';
import type { NicNames, VmNames } from './names.js';
import { blockGraph, type DiskFacts, diskFacts } from './facts-disk.js';
import { at, type Path } from './procedures/condition.js';
import type { Json, JsonObject } from './procedures/port.js';

export interface Query {
  readonly command: string;
  readonly args: JsonObject;
}

export const REPLICATION_QUERY = { command: 'query-xen-replication-status', args: {} } as const satisfies Query;
/** How it is told that the answer to it is an error: the secondary has refused a write. */
export const MISSED_WRITE = `${REPLICATION_QUERY.command}: error`;

/** First round; the answers go to `factsFrom` in this order. */
export const FACT_QUERIES = [
  { command: 'query-status', args: {} },
  { command: 'query-colo-status', args: {} },
  { command: 'query-migrate', args: {} },
  { command: 'qom-list', args: { path: '/objects' } },
  { command: 'query-chardev', args: {} },
  { command: 'query-named-block-nodes', args: { flat: true } },
  { command: 'x-debug-query-block-graph', args: {} },
  { command: 'query-block-exports', args: {} },
  { command: 'query-block-jobs', args: {} },
  REPLICATION_QUERY,
] as const satisfies readonly Query[];

export interface FilterFacts {
  readonly id: string;
  /** `status` is on; a colo-compare has no status and counts as on. */
  readonly on: boolean;
  /** Without it what is compared is garbage. */
  readonly vnetHdr: boolean;
}

export interface JobFacts {
  readonly id: string;
  readonly type: string;
  readonly ready: boolean;
  readonly doneBytes: number;
  readonly totalBytes: number;
}

export interface QemuFacts {
  readonly role: QemuRole;
  /** QEMU's word: running, paused, inmigrate, colo, finish-migrate, shutdown, io-error, ... */
  readonly runstate: string;
  readonly running: boolean;
  /** `reason` request with mode none: COLO was left by x-colo-lost-heartbeat. `processing` and `error` come from QEMU. */
  readonly colo: { readonly mode: 'none' | 'primary' | 'secondary'; readonly lastMode: string; readonly reason: string };
  /** query-migrate's status; `none` before the first one. `colo` stays after a break. */
  readonly migration: { readonly status: string; readonly error: string | null };
  /** Ids under /objects. */
  readonly objects: readonly string[];
  /** Filters and compares of this VM that are there. */
  readonly filters: readonly FilterFacts[];
  /** Ids of filter-rewriters: filters of a primary are inserted before them. */
  readonly rewriters: readonly string[];
  readonly chardevs: readonly { readonly id: string; readonly connected: boolean }[];
  readonly disks: readonly DiskFacts[];
  readonly exports: readonly string[];
  readonly jobs: readonly JobFacts[];
  /** query-xen-replication-status: an error that the guest was never told of. `none`: no replication driver is at work. */
  readonly replication: 'none' | 'clean' | 'error';
}

/** Second round: the properties of those filters that the first round found. Its answers go to `factsFrom` in this order. */
export function filterQueries(first: readonly Json[], names: VmNames): readonly Query[] {
  return presentFilters(first, names).flatMap((filter) => filter.properties.map((property) => qomGet(filter.id, property)));
}

/** `first`: answers to FACT_QUERIES; `second`: answers to filterQueries. */
export function factsFrom(first: readonly Json[], second: readonly Json[], names: VmNames): QemuFacts {
  const [status, colo, migration, , chardevs, nodes, graph, exports, jobs, replication] = first.map((answer) => answer ?? null);
  const objects = objectsIn(first);
  const answers = second[Symbol.iterator]();
  const filters = presentFilters(first, names).map((filter): FilterFacts => {
    const values = new Map(filter.properties.map((property) => [property, answers.next().value as Json | undefined]));
    return { id: filter.id, on: !values.has('status') || values.get('status') === 'on', vnetHdr: values.get('vnet_hdr_support') === true };
  });
  const blocks = blockGraph(nodes ?? null, graph ?? null);
  const disks = names.disks.map((disk) => diskFacts(disk, blocks));
  const mode = modeFrom(text(colo, ['mode'], 'none'));
  const runstate = text(status, ['status'], 'unknown');
  return {
    role: roleFrom(mode, runstate, objects, disks, names),
    runstate,
    running: at(status ?? null, ['running']) === true,
    colo: { mode, lastMode: text(colo, ['last-mode'], 'none'), reason: text(colo, ['reason'], 'none') },
    migration: { status: text(migration, ['status'], 'none'), error: textOrNull(migration, ['error-desc']) },
    objects,
    filters,
    rewriters: names.nics.map((nic) => nic.rewriter).filter((id) => objects.includes(id)),
    chardevs: items(chardevs).map((item) => ({
      id: text(item, ['label'], ''),
      connected: !text(item, ['filename'], '').startsWith('disconnected:'),
    })),
    disks,
    exports: items(exports).map((item) => text(item, ['id'], '')),
    jobs: items(jobs).map((item) => ({
      id: text(item, ['device'], ''),
      type: text(item, ['type'], ''),
      ready: at(item, ['ready']) === true,
      doneBytes: number(item, ['offset']),
      totalBytes: number(item, ['len']),
    })),
    replication: replicationFrom(replication ?? null, blocks.hasDriver('replication')),
  };
}

/**
 * `primary` and `secondary` also while a pair is being made or taken apart: whoever has a filter or a second disk child is not alone.
 * A rewriter alone is what every ex-secondary keeps.
 */
function roleFrom(
  mode: QemuFacts['colo']['mode'],
  runstate: string,
  objects: readonly string[],
  disks: readonly DiskFacts[],
  names: VmNames,
): QemuRole {
  const has = (ids: (nic: NicNames) => readonly string[]): boolean => names.nics.some((nic) => ids(nic).some((id) => objects.includes(id)));
  if (mode === 'secondary' || runstate === 'inmigrate' || has((nic) => [nic.filterIn, nic.filterOut])) return 'secondary';
  const half = has((nic) => [nic.mirrorFilter, nic.redirectIn, nic.redirectOut, nic.compare]) || disks.some((disk) => disk.peer !== 'none');
  return mode === 'primary' || half ? 'primary' : 'alone';
}

export function replicationFrom(answer: Json, hasDriver: boolean): QemuFacts['replication'] {
  if (!hasDriver) return 'none';
  if (at(answer, ['error']) !== true) return 'clean';
  return text(answer, ['desc'], '').includes('not running') ? 'none' : 'error';
}

interface PresentFilter {
  readonly id: string;
  readonly properties: readonly string[];
}

function presentFilters(first: readonly Json[], names: VmNames): readonly PresentFilter[] {
  const objects = objectsIn(first);
  const filters = names.nics.flatMap((nic) => [
    ...[nic.mirrorFilter, nic.redirectIn, nic.redirectOut, nic.filterIn, nic.filterOut, nic.rewriter].map((id) => ({
      id,
      properties: ['status', 'vnet_hdr_support'],
    })),
    { id: nic.compare, properties: ['vnet_hdr_support'] },
  ]);
  return filters.filter((filter) => objects.includes(filter.id));
}

function objectsIn(first: readonly Json[]): readonly string[] {
  return items(first[3])
    .filter((item) => text(item, ['type'], '').startsWith('child<'))
    .map((item) => text(item, ['name'], ''));
}

function qomGet(id: string, property: string): Query {
  return { command: 'qom-get', args: { path: `/objects/${id}`, property } };
}

function modeFrom(value: string): QemuFacts['colo']['mode'] {
  return value === 'primary' || value === 'secondary' ? value : 'none';
}

function items(answer: Json | undefined): readonly Json[] {
  return Array.isArray(answer) ? answer : [];
}

function text(value: Json | undefined, path: Path, otherwise: string): string {
  return textOrNull(value, path) ?? otherwise;
}

function textOrNull(value: Json | undefined, path: Path): string | null {
  const found = at(value ?? null, path);
  return typeof found === 'string' ? found : null;
}

function number(value: Json, path: Path): number {
  const found = at(value, path);
  return typeof found === 'number' ? found : 0;
}
