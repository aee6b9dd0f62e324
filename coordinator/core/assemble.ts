// Puts a VmView together from what the store holds and the agents say. Pure: the loop hands in decoded values, links and the instant.

import type { Incarnation, Instant, Term } from '../../shared/core/ids.js';
import { epoch } from '../../shared/core/ids.js';
import type { HostKey, Side, VmRecord, VmReport, VmWanted } from '../../shared/core/model.js';
import type { HostLink } from './link.js';
import { enterEpoch, remember, sinceMs, type Memory } from './memory.js';
import { judgeQemu, judgeSide, type HostView, type VmView } from './view.js';

export interface Known {
  readonly incarnation: Incarnation;
  readonly term: Term;
  readonly termBase: number;
  readonly now: Instant;
  readonly wallMs: number;
  readonly late: boolean;
  readonly portRange: { readonly first: number; readonly last: number };
  readonly failoversPerHour: number;
  readonly hosts: ReadonlyMap<string, { readonly key: HostKey; readonly leased: boolean }>;
  readonly links: ReadonlyMap<string, HostLink>;
  readonly records: ReadonlyMap<string, VmRecord>;
  /** Records that are being replaced at this moment: whether their ports become free is not known yet. */
  readonly replaced?: readonly VmRecord[];
}

/** A VM that was never started. */
export function initialRecord(wanted: VmWanted): VmRecord {
  return {
    vm: wanted.spec.name,
    uid: wanted.uid,
    epoch: epoch(0),
    phase: 'stopped',
    reason: 'never started',
    row: 'defined',
    sinceMs: 0,
    primary: null,
    secondary: null,
    ports: null,
    verdict: null,
    disk: null,
    lastError: null,
    failedAttempts: 0,
    failoversAtMs: [],
  };
}

export function assemble(
  known: Known,
  wanted: VmWanted,
  record: VmRecord,
  before: Memory | null,
): { readonly view: VmView; readonly memory: Memory } {
  const { now } = known;
  const entered = enterEpoch(before, record.epoch, now);
  const reportOf = (host: string): VmReport | null => {
    const link = known.links.get(host);
    if (link === undefined || !link.heard) return null;
    return link.report?.vms.find((each) => each.vm === record.vm && each.uid === record.uid) ?? null;
  };
  const heard = (host: string): boolean => known.links.get(host)?.heard === true;
  const rawUnknown = (side: Side | null): boolean => {
    if (side === null || !heard(side.host)) return false;
    const report = reportOf(side.host);
    return report === null || judgeQemu(side.born, report) === 'unknown';
  };
  const judge = (side: Side | null, unknownMs: number, troubleSince: Instant | null) =>
    side === null
      ? null
      : judgeSide(side, reportOf(side.host), heard(side.host), unknownMs, isFresh(known.links.get(side.host), troubleSince));
  const first = { a: judge(record.primary, 0, null), b: judge(record.secondary, 0, null) };
  const memory = remember(entered, first, { a: rawUnknown(record.primary), b: rawUnknown(record.secondary) }, now);
  const view: VmView = {
    incarnation: known.incarnation,
    term: known.term,
    termBase: known.termBase,
    wallMs: known.wallMs,
    late: known.late,
    wanted,
    record,
    hosts: [...known.hosts.values()].map((host) => hostView(known, host, record, memory, reportOf(host.key.host))),
    a: judge(record.primary, sinceMs(memory.unknownSince.a, now), memory.troubleSince),
    b: judge(record.secondary, sinceMs(memory.unknownSince.b, now), memory.troubleSince),
    epochAgeMs: sinceMs(memory.epochSince, now),
    doubtMs: sinceMs(memory.doubtSince, now),
    durationsMs: memory.durationsMs,
    portBlocksTaken: new Set(
      [...known.records.values(), ...(known.replaced ?? [])]
        .filter((each) => each.vm !== record.vm && each.ports !== null)
        .map((each) => each.ports?.migration ?? 0),
    ),
    portRange: known.portRange,
    failoversPerHour: known.failoversPerHour,
  };
  return { view, memory };
}

/** A report that was on its way when the trouble was seen does not know of it yet. */
const REPORT_ON_ITS_WAY_MS = 20;

function isFresh(link: HostLink | undefined, troubleSince: Instant | null): boolean {
  if (troubleSince === null) return true;
  return link !== undefined && link.lastReportAt !== null && link.lastReportAt - troubleSince > REPORT_ON_ITS_WAY_MS;
}

function hostView(
  known: Known,
  host: { readonly key: HostKey; readonly leased: boolean },
  record: VmRecord,
  memory: Memory,
  report: VmReport | null,
): HostView {
  const name = host.key.host;
  const link = known.links.get(name);
  const failedAt = memory.failedHosts.get(name);
  return {
    key: host.key,
    heard: link?.heard === true,
    leased: host.leased,
    freeDiskBytes: link?.report?.freeDiskBytes ?? 0,
    peersSilentMs: link?.heard === true ? (link.report?.peersSilentMs ?? {}) : {},
    report,
    sides: [...known.records.values()].filter(
      (each) => each.vm !== record.vm && (each.primary?.host === name || each.secondary?.host === name),
    ).length,
    failedAgoMs: failedAt === undefined ? null : known.now - failedAt,
  };
}
