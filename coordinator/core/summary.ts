// The state of the cluster for people and for monitoring: what is wanted, what the records say and what hosts say now, side by side, in
// one plain value. Pure: whoever calls it has read the store and the agents' reports, and says how fresh they are.

import type { Epoch, Term } from '../../shared/core/ids.js';
import { CERTIFICATE_URGENT_MS } from '../../shared/core/limits.js';
import type { CertificateReport, HostKey, HostReport, Side, TaskReport, VmRecord, VmReport, VmWanted } from '../../shared/core/model.js';
import { unreachable } from '../../shared/core/assert.js';
import type { StoreLoss } from '../../shared/core/store-loss.js';
import { STORE_BEHIND, storeRow } from './transitions-store.js';
import { isSameSide } from './view.js';

export interface HostPicture {
  readonly key: HostKey;
  /** Its lease is there. */
  readonly leased: boolean;
  /** Its agent's stream is open and fresh at the coordinator that answers. */
  readonly heard: boolean;
  /** The last report, also when it is old. */
  readonly report: HostReport | null;
  /** Words of it that this version does not know, each with its field and as what it was read. */
  readonly strange: readonly string[];
}

export interface VmPicture {
  readonly name: string;
  /** Null when only a record is left. */
  readonly wanted: VmWanted | null;
  readonly record: VmRecord | null;
  /** What the last decision said, where the one who answers decides; null elsewhere. */
  readonly decision: LastDecision | null;
}

/** `hold`: nothing may be decided, and why. */
export interface LastDecision {
  readonly row: string;
  readonly reason: string;
  readonly hold: boolean;
}

export interface ClusterPicture {
  readonly cluster: string;
  readonly answeredBy: string;
  readonly leader: string | null;
  /** The last one seen, 0 = none. */
  readonly term: Term;
  /** Why the store cannot be followed, so that all the rest is old; null = it is followed. */
  readonly storeProblem: StoreLoss | null;
  readonly vms: readonly VmPicture[];
  readonly hosts: readonly HostPicture[];
  readonly coordinators: readonly { readonly name: string; readonly address: string }[];
  /** Values of the store that cannot be read, each with its key and what is wrong. */
  readonly unreadable: readonly string[];
  /** Why this coordinator does not trust what the store holds; null = it does. */
  readonly storeDoubt: string | null;
  /** Of the coordinator that answers; null = it runs without certificates. */
  readonly certificate: CertificateReport | null;
  /** Milliseconds since 1970. */
  readonly wallMs: number;
}

export type HostState = 'ready' | 'silent' | 'unleased' | 'lost';
export type ProblemKind = 'store' | 'leader' | 'data' | 'certificate';

export interface SideSummary {
  readonly host: string;
  readonly born: Epoch | null;
  /** Null = a QEMU that the record does not name. */
  readonly role: 'primary' | 'secondary' | null;
  readonly qemu: 'absent' | 'starting' | 'unknown' | 'alive' | 'hung' | 'dead' | 'unheard';
  readonly pid: number | null;
  readonly runstate: string | null;
  readonly pair: string;
  readonly evidence: readonly string[];
  readonly task: string;
}

export interface VmSummary {
  readonly name: string;
  readonly uid: string;
  readonly phase: VmRecord['phase'];
  readonly epoch: number;
  readonly primary: string | null;
  readonly secondary: string | null;
  readonly reason: string;
  readonly wanted: VmWanted['wanted'];
  readonly protect: boolean;
  readonly sinceMs: number;
  readonly row: string;
  readonly lastError: string | null;
  readonly sides: readonly SideSummary[];
  readonly disk: { readonly host: string; readonly state: string } | null;
  readonly resync: { readonly doneBytes: number; readonly totalBytes: number } | null;
  readonly splitSuspected: boolean;
  readonly onHold: boolean;
  readonly storeBehind: boolean;
}

export interface HostSummary {
  readonly key: HostKey;
  readonly state: HostState;
  readonly freeDiskBytes: number;
  /** What its agent says and this version does not know. */
  readonly strange: readonly string[];
}

export interface Summary {
  readonly cluster: string;
  readonly leader: string | null;
  readonly term: Term;
  readonly vms: readonly VmSummary[];
  readonly hosts: readonly HostSummary[];
  readonly coordinators: readonly { readonly name: string; readonly address: string; readonly leader: boolean }[];
  readonly problem: { readonly kind: ProblemKind; readonly text: string } | null;
  readonly certificates: readonly CertificateReport[];
  readonly answeredBy: string;
}

/** VMs, hosts and coordinators by name. */
export function summarize(picture: ClusterPicture): Summary {
  return {
    cluster: picture.cluster,
    leader: picture.leader,
    term: picture.term,
    vms: picture.vms.map((vm) => summarizeVm(vm, picture.hosts)).sort((x, y) => order(x.name, y.name)),
    hosts: picture.hosts
      .map((host) => ({
        key: host.key,
        state: hostState(host),
        freeDiskBytes: host.report?.freeDiskBytes ?? 0,
        strange: host.heard ? host.strange : [],
      }))
      .sort((x, y) => order(x.key.host, y.key.host)),
    coordinators: picture.coordinators
      .map((each) => ({ ...each, leader: each.name === picture.leader }))
      .sort((x, y) => order(x.name, y.name)),
    problem: problemOf(picture),
    certificates: certificatesOf(picture),
    answeredBy: picture.answeredBy,
  };
}

export function summarizeVm(vm: VmPicture, hosts: readonly HostPicture[]): VmSummary {
  const uid = vm.wanted?.uid ?? vm.record?.uid ?? '';
  // A record of another uid is that of an earlier VM of this name.
  const record = vm.record?.uid === uid ? vm.record : null;
  const sides = sidesOf(vm.name, uid, record, hosts);
  const alone = sides.filter((each) => each.claimsToRunAlone).map((each) => each.summary.host);
  const splitSuspected = alone.length > 1;
  const storeBehind = isStoreBehind(vm, uid, record, hosts);
  return {
    name: vm.name,
    uid,
    phase: record?.phase ?? 'stopped',
    epoch: record?.epoch ?? 0,
    primary: record?.primary?.host ?? null,
    secondary: record?.secondary?.host ?? null,
    reason: splitSuspected
      ? `split suspected: it runs alone on ${alone.join(' and ')}`
      : (vm.decision?.reason ?? record?.reason ?? (storeBehind ? `${STORE_BEHIND}: coloctl recover` : 'defined, never started')),
    wanted: vm.wanted?.wanted ?? 'deleted',
    protect: vm.wanted?.protect ?? false,
    sinceMs: record?.sinceMs ?? 0,
    row: record?.row ?? '',
    lastError: record?.lastError ?? null,
    sides: sides.map((each) => each.summary),
    disk: record?.disk ? { host: record.disk.host, state: record.disk.state } : null,
    resync: record?.phase === 'syncing' ? (sides.find((each) => each.summary.role === 'primary')?.resync ?? null) : null,
    splitSuspected,
    onHold: vm.decision?.hold ?? false,
    storeBehind,
  };
}

/**
 * The leader's decision says it. Another coordinator's mirror is a moment behind at every edge, so that it believes its own eyes only where
 * the leader has written the same, or where there is nothing to be behind of.
 */
function isStoreBehind(vm: VmPicture, uid: string, record: VmRecord | null, hosts: readonly HostPicture[]): boolean {
  if (vm.decision !== null) return vm.decision.row === storeRow.name;
  const obeyed = Math.max(0, ...hosts.map((each) => (each.heard ? (reportOf(each, vm.name, uid)?.epoch ?? 0) : 0)));
  return record === null ? obeyed > 1 : obeyed > record.epoch && record.reason.startsWith(STORE_BEHIND);
}

/** `silent`: its lease is there and its stream is not. `unleased`: the other way round. */
export function hostState(host: Pick<HostPicture, 'leased' | 'heard'>): HostState {
  if (host.heard) return host.leased ? 'ready' : 'unleased';
  return host.leased ? 'silent' : 'lost';
}

interface SeenSide {
  readonly summary: SideSummary;
  readonly claimsToRunAlone: boolean;
  readonly resync: VmReport['resync'];
}

/** The record's sides first, then every other host that has a QEMU of this VM. */
function sidesOf(vm: string, uid: string, record: VmRecord | null, hosts: readonly HostPicture[]): readonly SeenSide[] {
  const named: SeenSide[] = [];
  const name = (side: Side | null, role: 'primary' | 'secondary'): void => {
    if (side === null) return;
    const host = hosts.find((each) => each.key.host === side.host);
    named.push(seenSide(side.host, side, role, host?.heard === true ? reportOf(host, vm, uid) : 'unheard'));
  };
  name(record?.primary ?? null, 'primary');
  if (!isSameSide(record?.primary ?? null, record?.secondary ?? null)) name(record?.secondary ?? null, 'secondary');
  const strays = hosts.flatMap((host) => {
    const report = host.heard ? reportOf(host, vm, uid) : null;
    const isNamed = named.some((each) => each.summary.host === host.key.host);
    return report === null || isNamed || report.qemu.kind === 'absent' || report.qemu.kind === 'dead'
      ? []
      : [seenSide(host.key.host, null, null, report)];
  });
  return [...named, ...strays];
}

function reportOf(host: HostPicture, vm: string, uid: string): VmReport | null {
  return host.report?.vms.find((each) => each.vm === vm && each.uid === uid) ?? null;
}

function seenSide(host: string, side: Side | null, role: SideSummary['role'], report: VmReport | null | 'unheard'): SeenSide {
  if (report === null || report === 'unheard') {
    const qemu = report === null ? 'absent' : 'unheard';
    const summary = {
      host,
      born: side?.born ?? null,
      role,
      qemu,
      pid: null,
      runstate: null,
      pair: 'none',
      evidence: [],
      task: 'idle',
    } as const;
    return { summary, claimsToRunAlone: false, resync: null };
  }
  const { qemu } = report;
  return {
    summary: {
      host,
      born: side?.born ?? (qemu.kind === 'absent' ? null : qemu.born),
      role,
      qemu: qemu.kind,
      pid: 'pid' in qemu ? qemu.pid : null,
      runstate: qemu.kind === 'alive' ? qemu.runstate : null,
      pair: report.pair.state,
      evidence: qemu.kind === 'dead' ? [...report.pair.evidence, qemu.why] : report.pair.evidence,
      task: describeTask(report.task),
    },
    claimsToRunAlone: qemu.kind === 'alive' && qemu.role === 'alone' && report.aloneSince !== null && !report.held,
    resync: report.resync,
  };
}

function describeTask(task: TaskReport): string {
  switch (task.kind) {
    case 'idle':
      return 'idle';
    case 'running':
      return `${task.goal}: ${task.procedure}, ${task.step}`;
    case 'failed':
      return `${task.goal} failed at ${task.step}: ${task.error}`;
    default:
      return unreachable(task);
  }
}

/** The one that matters most: without the store nothing is decided, and without a leader neither. */
function problemOf(picture: ClusterPicture): Summary['problem'] {
  if (picture.storeProblem !== null) return problemOfStore(picture.storeProblem);
  if (picture.leader === null) return { kind: 'leader', text: 'no coordinator leads: guests go on, decisions wait' };
  const unknown = unknownQemus(picture.hosts, picture.vms);
  const wrong = [...(picture.storeDoubt === null ? [] : [picture.storeDoubt]), ...picture.unreadable, ...unknown];
  if (wrong.length > 0) return { kind: 'data', text: wrong.join('; ') };
  const urgent = certificatesOf(picture).flatMap((each) => certificateProblem(each, picture.wallMs) ?? []);
  return urgent.length === 0 ? null : { kind: 'certificate', text: urgent.join('; ') };
}

/** An outage ends by itself. An older store does not, and is one that knows less than the hosts, until somebody has done something about it. */
function problemOfStore({ kind, detail }: StoreLoss): Summary['problem'] {
  switch (kind) {
    case 'lost':
      return { kind: 'store', text: `no etcd quorum (${detail}): guests go on, decisions wait, and this is the last known state` };
    case 'older':
      return {
        kind: 'data',
        text:
          `etcd went back in time (${detail}): it was restored, or is another one. Guests go on, nothing is decided, and this is the state of ` +
          'before. If it is to stay so: systemctl restart colo-coordinator on every machine that has one, then coloctl recover',
      };
    default:
      return unreachable(kind);
  }
}

function certificatesOf({ certificate, hosts }: ClusterPicture): readonly CertificateReport[] {
  const agents = hosts.flatMap(({ heard, report }) => (heard && report?.certificate ? [report.certificate] : []));
  return [...(certificate === null ? [] : [certificate]), ...agents].sort((x, y) => order(x.identity, y.identity));
}

/** What an operator must do something about within days; null = nothing. */
export function certificateProblem({ identity, notAfterMs, problem }: CertificateReport, wallMs: number): string | null {
  if (notAfterMs <= wallMs) return `the certificate of ${identity} has expired: coloctl certs renew`;
  if (problem !== null) return `${identity} keeps its old certificate: ${problem}`;
  const days = Math.floor((notAfterMs - wallMs) / 86_400_000);
  return notAfterMs - wallMs < CERTIFICATE_URGENT_MS ? `the certificate of ${identity} expires in ${days} days: coloctl certs renew` : null;
}

/** QEMUs that hosts have and that the store knows nothing of, one line a VM with what to do. Nobody destroys them. */
export function unknownQemus(hosts: readonly HostPicture[], vms: readonly VmPicture[]): readonly string[] {
  const known = new Set(vms.map((vm) => `${vm.name} ${vm.wanted?.uid ?? vm.record?.uid ?? ''}`));
  const found = new Map<string, { readonly vm: string; readonly uid: string; readonly on: string[] }>();
  for (const { key, heard, report } of hosts) {
    for (const { vm, uid, qemu } of heard ? (report?.vms ?? []) : []) {
      if (qemu.kind === 'absent' || qemu.kind === 'dead' || known.has(`${vm} ${uid}`)) continue;
      const entry = found.get(`${vm} ${uid}`) ?? { vm, uid, on: [] };
      entry.on.push(key.host);
      found.set(`${vm} ${uid}`, entry);
    }
  }
  return [...found.values()].map(
    ({ vm, uid, on }) =>
      `${STORE_BEHIND}: VM "${vm}" (uid ${uid}) has a QEMU on ${on.join(' and ')} and is not in etcd; nothing touches it. If etcd was ` +
      `restored or emptied: coloctl vm define -f FILE --uid ${uid}, then coloctl recover. Else end it there yourself`,
  );
}

/** One line a host; its first word stands for all. */
export function strangeWords(hosts: readonly HostPicture[]): readonly string[] {
  return hosts.flatMap(({ key, heard, strange: [first, ...others] }) =>
    heard && first !== undefined
      ? [
          `the agent of ${key.host} says what this version does not know${others.length === 0 ? '' : ` (${others.length + 1} times)`}: ${first}. Upgrade the coordinators`,
        ]
      : [],
  );
}

function order(one: string, other: string): number {
  return one < other ? -1 : one > other ? 1 : 0;
}
