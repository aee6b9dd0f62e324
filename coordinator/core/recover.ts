// `coloctl recover`: what the store is to say of one VM after it was restored, emptied or replaced, by what the hosts really have. A guest
// that runs is adopted as it is; without one the newest disk that is not stale is named; and where two answers are possible none is given,
// and the operator chooses. The new epoch is above everything that any heard host has obeyed, so that its orders are obeyed again.

import { epoch, type Epoch } from '../../shared/core/ids.js';
import type { HistoryEntry, Side, ValidDisk, Verdict, VmRecord, VmReport, VmWanted } from '../../shared/core/model.js';
import { fail, ok, type Result } from '../../shared/core/result.js';
import { takeEdge } from './decide.js';
import { bootableDisk, bootableDisks, describeDisk, unknownDisk } from './disks.js';
import type { DeclaredOff } from './forced.js';
import { freshPorts } from './placement.js';
import type { HostView, VmView } from './view.js';

export const RECOVERED = 'recovered';

/** Edges that ordered nothing have left no trace on any host, and no epoch is to be used twice. */
const EPOCH_MARGIN = 100;

export interface RecoveryWishes {
  readonly off: DeclaredOff;
  /** The host whose disk the operator chose for this VM; null = none. */
  readonly disk: string | null;
  /** Who asks, for the history. */
  readonly by?: string;
}

export type Recovery =
  /** The store agrees with the hosts. */
  | { readonly kind: 'agrees'; readonly found: readonly string[] }
  | {
      readonly kind: 'write';
      readonly found: readonly string[];
      readonly record: VmRecord;
      readonly history: HistoryEntry;
      /** Changed when a guest runs that the store wants stopped: nobody asked for its end since. Null = unchanged. */
      readonly wanted: VmWanted | null;
    };

type Patch = Pick<VmRecord, 'phase' | 'reason' | 'primary' | 'secondary' | 'disk'> & Partial<VmRecord>;

interface Live {
  readonly host: HostView;
  readonly report: VmReport;
  readonly side: Side;
}

export function planRecovery(view: VmView, wishes: RecoveryWishes): Result<Recovery, string> {
  const { record } = view;
  const hosts = view.hosts.filter((each) => each.heard && !wishes.off.has(each.key.host));
  const found = hosts.flatMap(describeFinding);
  const isOwnQuestion = record.phase === 'failed' && record.row === RECOVERED;
  const isBehind = hosts.some((each) => each.report !== null && each.report.epoch > record.epoch);
  if (!isBehind && !isOwnQuestion && wishes.disk === null) return ok({ kind: 'agrees', found });
  const unsure = hosts.find((each) => each.report?.qemu.kind === 'starting' || each.report?.qemu.kind === 'unknown');
  if (unsure !== undefined) return fail(`host ${unsure.key.host} is still looking at its QEMU: try again in a moment`);
  const top = Math.max(record.epoch, ...hosts.map((each) => each.report?.epoch ?? 0)) + EPOCH_MARGIN;
  const raised: VmView = { ...view, record: { ...record, epoch: epoch(top) } };
  const patch = whatIs(raised, hosts, wishes);
  if (!patch.ok) return patch;
  const change = { kind: 'edge', patch: { verdict: null, failedAttempts: 0, lastError: null, ...patch.value }, evidence: found } as const;
  const runs = hosts.some((each) => liveOn(each).length > 0);
  const wanted = runs && view.wanted.wanted !== 'running' ? { ...view.wanted, wanted: 'running' as const } : null;
  return ok({ kind: 'write', found, wanted, ...takeEdge(raised, RECOVERED, change, wishes.by ?? 'operator') });
}

/** Hosts that may have something of this VM, are not heard, and were not declared powered off: without them nothing can be judged. */
export function missingHosts(view: VmView, off: DeclaredOff): readonly string[] {
  const { record, wanted } = view;
  const named = [record.primary?.host, record.secondary?.host, record.disk?.host, ...wanted.spec.hosts].filter(
    (each) => each !== undefined,
  );
  const heard = new Set(view.hosts.filter((each) => each.heard).map((each) => each.key.host));
  return [...new Set([...view.hosts.map((each) => each.key.host), ...named])].filter((each) => !heard.has(each) && !off.has(each)).sort();
}

function whatIs(view: VmView, hosts: readonly HostView[], wishes: RecoveryWishes): Result<Patch, string> {
  const live = hosts.flatMap(liveOn);
  const alone = live.filter(({ report }) => report.aloneSince !== null && !report.held).sort(byAge);
  if (wishes.disk !== null) return chosenDisk(view, hosts, live, wishes.disk);
  const [only] = alone;
  if (alone.length > 1) return ok(runsTwice(view, alone));
  if (only !== undefined) return ok(newerThan(view, hosts, only, only.report.aloneSince ?? epoch(0)) ?? soloOn(view, only));
  const primary = live.filter(({ report }) => roleOf(report) === 'primary').sort(byAge)[0];
  const secondary = live.filter(({ report }) => roleOf(report) === 'secondary').sort(byAge)[0];
  if (primary !== undefined && secondary !== undefined && areProven(primary.report, secondary.report)) {
    const states = [primary.report.pair.state, secondary.report.pair.state];
    if (states.every((each) => each === 'ok')) return pairOf(view, primary, secondary);
    // A pair in doubt may be well a moment later, and would be taken apart for nothing.
    if (states.every((each) => each === 'ok' || each === 'unknown'))
      return fail(`the pair on ${primary.side.host} and ${secondary.side.host} is in doubt: try again in a moment`);
  }
  if (primary !== undefined && !(primary.report.held && secondary !== undefined && mayBePromoted(secondary.report)))
    return ok(
      newerThan(view, hosts, primary, primary.report.provenFor ?? epoch(0)) ?? release(view, 'solo-primary', primary, secondary ?? null),
    );
  if (secondary !== undefined) return ok(orphan(view, hosts, secondary, primary ?? null));
  return ok(live.length > 0 ? undecided(view, live, 'a QEMU is there and it is not known what it is') : fromDisks(view, hosts, wishes.off));
}

function soloOn(view: VmView, only: Live): Patch {
  const host = only.side.host;
  return {
    phase: 'solo',
    reason: `recovered: it runs alone on ${host}`,
    primary: only.side,
    secondary: null,
    disk: liveDisk(view, only),
  };
}

function pairOf(view: VmView, primary: Live, secondary: Live): Result<Patch, string> {
  const same = view.record.primary?.born === primary.side.born && view.record.secondary?.born === secondary.side.born;
  const ports = same && view.record.ports !== null ? ok(view.record.ports) : freshPorts(view);
  if (!ports.ok) return ports;
  return ok({
    phase: 'protected',
    reason: `recovered: a healthy pair on ${primary.side.host} and ${secondary.side.host}`,
    primary: primary.side,
    secondary: secondary.side,
    ports: ports.value,
    disk: liveDisk(view, primary),
  });
}

/** Nobody has released output: the pair broke and nobody was told to go on. */
function release(view: VmView, kind: Verdict['kind'], winner: Live, loser: Live | null): Patch {
  const verdict: Verdict = { row: RECOVERED, kind, winner: winner.side, loser: loser?.side ?? null, evidence: [], atMs: view.wallMs };
  return {
    phase: 'verdict',
    reason: `recovered: half of a pair is on ${winner.side.host} and goes on`,
    primary: winner.side,
    secondary: loser?.side ?? null,
    verdict,
    disk: liveDisk(view, winner),
  };
}

/** A secondary without a living primary. It may go on if that primary is known to have died in this very pair. */
function orphan(view: VmView, hosts: readonly HostView[], secondary: Live, primary: Live | null): Patch {
  const { provenFor } = secondary.report;
  const diedBeside = hosts.some(
    ({ report }) => report?.qemu.kind === 'dead' && report.provenFor !== null && report.provenFor === provenFor,
  );
  if (!mayBePromoted(secondary.report) || (primary === null && !diedBeside))
    return undecided(view, [secondary], `the secondary on ${secondary.side.host} is left, and it is not known what became of its primary`);
  const newer = newerThan(view, hosts, secondary, provenFor ?? epoch(0));
  return newer ?? release(view, 'promote-secondary', secondary, primary);
}

function fromDisks(view: VmView, hosts: readonly HostView[], off: DeclaredOff): Patch {
  const { record } = view;
  const [first, second] = bootableDisks(hosts);
  const nobody = { primary: null, secondary: null };
  if (first === undefined && off.size === 0 && record.disk === null && hosts.every((each) => hasNoDisk(each.report)))
    return { ...nobody, phase: 'stopped', reason: 'recovered: no host has a QEMU or a disk of it', disk: null };
  const isClear = first !== undefined && off.size === 0 && (second === undefined || second.epoch < first.epoch);
  if (isClear)
    return { ...nobody, phase: 'stopped', reason: `recovered: nothing runs, and ${describeDisk(first)} is the newest`, disk: first };
  const choices = bootableDisks(hosts).map(describeDisk);
  const why = off.size > 0 ? `${[...off].join(', ')} cannot be asked` : 'no disk is the newest';
  return {
    ...nobody,
    phase: 'failed',
    reason: `recovered: nothing runs, and ${why}. ${howToChoose(view)}; there is ${choices.length === 0 ? 'none' : choices.join(', ')}`,
    disk: unknownDisk(record, [...off][0] ?? hosts[0]?.key.host ?? '?'),
  };
}

function chosenDisk(view: VmView, hosts: readonly HostView[], live: readonly Live[], name: string): Result<Patch, string> {
  const host = hosts.find((each) => each.key.host === name);
  const disk = host === undefined ? null : bootableDisk(host);
  if (disk === null) return fail(`host ${name} is not heard, or its disk is stale, torn or missing: it cannot be chosen`);
  const running = live.map((each) => each.side.host);
  if (running.length > 0) return fail(`a QEMU of it is on ${running.join(', ')}: end that first, if its state is not to be kept`);
  const reason = `recovered: an operator chose ${describeDisk(disk)}`;
  return ok({ phase: 'stopped', reason, primary: null, secondary: null, disk });
}

/** Both are named by the record, so that neither is let go before somebody has chosen. */
function runsTwice(view: VmView, alone: readonly Live[]): Patch {
  const where = alone.map((each) => each.side.host).join(' and ');
  return undecided(view, alone, `it runs alone on ${where}`);
}

/** Something else says that it ran the guest later than this one; null = nothing does. */
function newerThan(view: VmView, hosts: readonly HostView[], live: Live, since: Epoch): Patch | null {
  const others = hosts.filter((each) => each.key.host !== live.host.key.host);
  const newer = others.find((each) => {
    const disk = bootableDisk(each);
    return (each.report?.aloneSince ?? 0) > since || (disk !== null && each.report?.disk.state !== 'stale' && disk.epoch > since);
  });
  if (newer === undefined) return null;
  return undecided(view, [live], `a QEMU is on ${live.side.host}, and ${newer.key.host} ran the guest later than that`);
}

function undecided(view: VmView, keep: readonly Live[], what: string): Patch {
  const [first, second] = keep;
  const { name } = view.wanted.spec;
  const hosts = keep.map((each) => each.side.host);
  return {
    phase: 'failed',
    reason:
      `recovered: ${what}. Power off the host whose copy is to be lost, then: coloctl recover ${name} --without HOST; ` +
      `or end the QEMU on ${hosts.join(' and ')}, then: ${howToChoose(view)}`,
    primary: first?.side ?? null,
    secondary: second?.side ?? null,
    disk: unknownDisk(view.record, first?.side.host ?? '?'),
  };
}

const howToChoose = (view: VmView): string => `coloctl recover ${view.wanted.spec.name} --disk HOST chooses a disk`;

function liveOn(host: HostView): readonly Live[] {
  const { report } = host;
  if (report === null || (report.qemu.kind !== 'alive' && report.qemu.kind !== 'hung')) return [];
  return [{ host, report, side: { host: host.key.host, hostId: host.key.hostId, born: report.qemu.born } }];
}

const byAge = (one: Live, other: Live): number => ageOf(other.report) - ageOf(one.report);
const ageOf = (report: VmReport): number => Math.max(report.aloneSince ?? 0, report.provenFor ?? 0, report.readyFor ?? 0);

function roleOf(report: VmReport): 'primary' | 'secondary' | null {
  if (report.qemu.kind !== 'alive') return null;
  return report.qemu.role === 'primary' || report.qemu.role === 'secondary' ? report.qemu.role : null;
}

const areProven = (primary: VmReport, secondary: VmReport): boolean =>
  primary.provenFor !== null && primary.provenFor === secondary.provenFor && !primary.held && !secondary.held;

function mayBePromoted(report: VmReport): boolean {
  return report.provenFor !== null && report.unpromotable === null && report.disk.replication !== 'error';
}

const hasNoDisk = (report: VmReport | null): boolean => report === null || report.disk.state === 'missing' || report.disk.diskId === null;

function liveDisk(view: VmView, live: Live): ValidDisk {
  const { disk } = live.report;
  const { host } = live.side;
  if (disk.diskId === null || disk.state === 'missing')
    return view.record.disk?.host === host ? view.record.disk : unknownDisk(view.record, host);
  const isChain = disk.state !== 'clean';
  return { host, diskId: disk.diskId, epoch: view.record.epoch, state: isChain ? 'merging' : 'clean', images: disk.images };
}

function describeFinding({ key, report }: HostView): readonly string[] {
  if (report === null) return [];
  const { qemu, disk } = report;
  const role = qemu.kind === 'alive' ? `, ${qemu.role}, pair ${report.pair.state}` : '';
  const since = report.aloneSince === null ? '' : `, alone since epoch ${report.aloneSince}`;
  const what = qemu.kind === 'absent' ? 'no QEMU' : `QEMU ${qemu.kind}${role}${since}${report.held ? ', held' : ''}`;
  const stamp =
    disk.state === 'missing' ? 'no disk' : `disk ${disk.state}${disk.stampEpoch === null ? '' : ` of epoch ${disk.stampEpoch}`}`;
  return [`${key.host}: has obeyed epoch ${report.epoch}; ${what}; ${stamp}`];
}
