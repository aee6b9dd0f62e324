// The table of faults: each is done to a protected pair on a real cluster, n times, and the cluster's own history and one client tell what
// followed: who runs the guest, how long it took, what the client noticed, and whether the pair came back by itself.

import { clusterStatus, coloctl, waitForVm, type VmState } from '../../deploy/lab/coloctl.js';
import { LabError, waitFor } from '../../deploy/lab/command.js';
import { cutLinks, mendLinks } from '../../deploy/lab/network.js';
import type { HostPlan, LabPlan } from '../../deploy/lab/plan.js';
import { gapAround, summarise, type ProbeSummary } from '../../deploy/lab/probe-analysis.js';
import { sendSignal } from '../../deploy/lab/process-identity.js';
import { killDaemon, pauseDaemon, restartDaemon, resumeDaemon } from '../../deploy/lab/processes.js';
import { startProber, type Prober } from '../../deploy/lab/prober.js';
import { sideOf, type Role } from '../../deploy/lab/sides.js';
import { darken, qemuOf, rebootHost } from '../support/strikes.js';
import { table, type Series } from './report.js';

const VM = 'demo';
const PROTECT_MS = 180_000;
const ANSWER_MS = 60_000;
const CALM_ANSWERS = 40;
const GAP_WINDOW_MS = 15_000;
/** A fault that must move nobody is watched for so long. */
const WATCH_MS = 5_000;

/** `other`: the side that was not struck goes on. `primary`: the primary goes on, whoever was struck. `nobody`: no verdict at all. */
type Survivor = 'other' | 'primary' | 'nobody';

export interface Fault {
  readonly name: string;
  readonly role: Role;
  readonly survivor: Survivor;
  strike(plan: LabPlan, host: HostPlan): Promise<void> | void;
  /** After the failover is seen: undoes the fault, so that the host can be used again. */
  mend(plan: LabPlan, host: HostPlan): Promise<void>;
}

interface Entry {
  readonly at: string;
  readonly row: string;
  readonly to: string;
  readonly epoch: number;
  readonly primary: string | null;
  readonly durationsMs: Readonly<Record<string, number>>;
}

const nothing = (): Promise<void> => Promise.resolve();

export function faultsOf(role: Role): readonly Fault[] {
  const base = { role } as const;
  return [
    {
      ...base,
      name: 'QEMU SIGKILL',
      survivor: 'other',
      strike: (plan, host) => void sendSignal(qemuOf(plan, VM, host), 'SIGKILL'),
      mend: nothing,
    },
    // The hung QEMU is destroyed by its own agent when the other side has executed.
    {
      ...base,
      name: 'QEMU SIGSTOP',
      survivor: 'other',
      strike: (plan, host) => void sendSignal(qemuOf(plan, VM, host), 'SIGSTOP'),
      mend: nothing,
    },
    { ...base, name: 'host dark', survivor: 'other', strike: darken, mend: rebootHost },
    {
      ...base,
      name: 'replication link cut',
      survivor: 'primary',
      strike: (plan, host) => cutLinks(plan, host, ['replication']),
      mend: (plan, host) => mendLinks(plan, host, ['replication']),
    },
    {
      ...base,
      name: 'replication cut one way',
      survivor: 'primary',
      strike: (plan, host) => cutLinks(plan, host, ['replication'], 'out'),
      mend: (plan, host) => mendLinks(plan, host, ['replication'], 'out'),
    },
    {
      ...base,
      name: 'management link cut',
      survivor: 'nobody',
      strike: (plan, host) => cutLinks(plan, host, ['management']),
      mend: (plan, host) => mendLinks(plan, host, ['management']),
    },
    {
      ...base,
      name: 'agent SIGKILL',
      survivor: 'nobody',
      strike: (plan, host) => killDaemon(plan, host, 'agent'),
      mend: async (plan, host) => void (await restartDaemon(plan, host, 'agent')),
    },
    {
      ...base,
      name: 'agent SIGSTOP',
      survivor: 'nobody',
      strike: (plan, host) => pauseDaemon(plan, host, 'agent'),
      mend: (plan, host) => Promise.resolve(resumeDaemon(plan, host, 'agent')),
    },
  ];
}

interface Struck {
  readonly aloneMs: number;
  readonly gapMs: number;
  readonly againMs: number;
  readonly row: string;
  readonly wrong: string | null;
}

/** `only`: a part of the fault's name, null = all of them. */
export async function benchFaults(plan: LabPlan, rounds: number, only: string | null, report: (line: string) => void) {
  const rows: Series[] = [];
  const problems: string[] = [];
  const lines: string[] = [];
  const client = startProber(plan, { probe: 'closed-loop' });
  await client.waitForMore(CALM_ANSWERS, ANSWER_MS);
  for (const role of ['primary', 'secondary'] as const) {
    for (const fault of faultsOf(role).filter((each) => only === null || each.name.includes(only))) {
      const struck: Struck[] = [];
      for (let round = 0; round < rounds; round += 1) {
        const one = await strikeOnce(plan, fault, client);
        struck.push(one);
        report(
          `${role}, ${fault.name} ${round + 1}/${rounds}: ${one.row}, alone ${format(one.aloneMs)} ms, gap ${format(one.gapMs)} ms, protected again ${format(one.againMs)} ms${one.wrong === null ? '' : `, WRONG: ${one.wrong}`}`,
        );
        if (one.wrong !== null) problems.push(`${role}, ${fault.name}: ${one.wrong}`);
      }
      if (fault.survivor !== 'nobody')
        rows.push({ name: `${role}, ${fault.name}: fault -> running alone`, values: struck.map((each) => each.aloneMs) });
      rows.push({ name: `${role}, ${fault.name}: client gap`, values: struck.map((each) => each.gapMs) });
      if (fault.survivor !== 'nobody')
        rows.push({ name: `${role}, ${fault.name}: fault -> protected again`, values: struck.map((each) => each.againMs) });
      lines.push(`${role}, ${fault.name}: ${[...new Set(struck.map((each) => each.row))].join(', ')}`);
    }
  }
  const seen = summarise(await client.stop());
  const broken = continuity(seen);
  const held = problems.length === 0 && broken === null;
  const verdict = held
    ? `No rule was broken; one connection, ${seen.answers} answers, no counter missing.`
    : ['IT DID NOT HOLD:', ...problems, ...(broken === null ? [] : [broken])].join('\n  ');
  return { text: `${table('milliseconds', rows)}\nrows that fired:\n  ${lines.join('\n  ')}\n\n${verdict}\n`, held };
}

function continuity(seen: ProbeSummary): string | null {
  if (seen.connections !== 1 || seen.broken.length > 0) return `${seen.connections} connections: ${seen.broken.join('; ')}`;
  if (seen.counters.missing > 0 || seen.counters.backward > 0)
    return `${seen.counters.missing} counters missing, ${seen.counters.backward} backward`;
  return seen.boots.length === 1 ? null : `${seen.boots.length} boots`;
}

async function strikeOnce(plan: LabPlan, fault: Fault, client: Prober): Promise<Struck> {
  const before = await waitForVm(plan, VM, 'protected', PROTECT_MS);
  await client.waitForMore(CALM_ANSWERS, ANSWER_MS);
  const side = await sideOf(plan, VM, fault.role);
  const host = plan.hosts.find((each) => each.name === side.host);
  if (host === undefined) throw new LabError(`no host ${side.host}`);
  const wallMs = Date.now();
  const monoMs = Number(process.hrtime.bigint()) / 1e6;
  await fault.strike(plan, host);
  if (fault.survivor === 'nobody') return watchNobody(plan, fault, host, before, { wallMs, monoMs }, client);
  const { verdicts, executed } = await edges(plan, wallMs);
  await client.waitForMore(CALM_ANSWERS, ANSWER_MS);
  const gapMs = gapAround(client.lines(), monoMs, GAP_WINDOW_MS)?.ms ?? Number.NaN;
  await fault.mend(plan, host);
  await waitForVm(plan, VM, 'protected', PROTECT_MS);
  const againMs = Number(process.hrtime.bigint()) / 1e6 - monoMs;
  const expected = fault.survivor === 'primary' || fault.role === 'secondary' ? before.primary : before.secondary;
  const wrong =
    executed.primary !== expected
      ? `${executed.primary ?? '?'} went on, not ${expected ?? '?'}`
      : verdicts.length > 1
        ? `${verdicts.length} verdicts`
        : null;
  return { aloneMs: Date.parse(executed.at) - wallMs, gapMs, againMs, row: verdicts.map((each) => each.row).join('+'), wrong };
}

/** The client is followed for a while; then the fault is undone, and the epoch must be what it was. */
async function watchNobody(
  plan: LabPlan,
  fault: Fault,
  host: HostPlan,
  before: VmState,
  struck: { wallMs: number; monoMs: number },
  client: Prober,
): Promise<Struck> {
  await waitFor({ what: 'the watch over a fault that moves nobody', boundMs: WATCH_MS * 4, everyMs: 100 }, () =>
    Number(process.hrtime.bigint()) / 1e6 - struck.monoMs > WATCH_MS ? true : null,
  );
  const gapMs = gapAround(client.lines(), struck.monoMs, WATCH_MS)?.ms ?? Number.NaN;
  await fault.mend(plan, host);
  const ready = await waitFor({ what: `${host.name} ready again`, boundMs: PROTECT_MS, everyMs: 100 }, async () => {
    const status = await clusterStatus(plan);
    return status?.hosts.find((each) => each.name === host.name)?.state === 'ready' ? status : null;
  });
  const after = ready.vms.find((each) => each.name === VM);
  const wrong =
    after?.phase !== 'protected' || after.epoch !== before.epoch
      ? `epoch ${before.epoch} -> ${after?.epoch ?? '?'}, ${after?.phase ?? '?'}`
      : null;
  return { aloneMs: Number.NaN, gapMs, againMs: Number.NaN, row: wrong === null ? 'nobody moved' : 'MOVED', wrong };
}

async function edges(plan: LabPlan, wallMs: number): Promise<{ readonly verdicts: readonly Entry[]; readonly executed: Entry }> {
  return waitFor({ what: 'an executed failover in the history', boundMs: PROTECT_MS }, async () => {
    const entries = JSON.parse(await coloctl(plan, ['history', VM, '-o', 'json'])) as readonly Entry[];
    const after = entries.filter((entry) => Date.parse(entry.at) >= wallMs);
    const executed = after.find((entry) => entry.to === 'executed');
    if (after.some((entry) => entry.to === 'stopped' || entry.to === 'failed'))
      throw new LabError(`no failover but ${after.map((entry) => entry.row).join(', ')}`);
    return executed === undefined
      ? null
      : { verdicts: after.filter((entry) => entry.to === 'verdict' && entry.epoch < executed.epoch), executed };
  });
}

const format = (ms: number): string => (Number.isFinite(ms) ? String(Math.round(ms)) : '-');
