// Puts the leaders where a strike wants them, exactly and not by luck: etcd's by its own command, the coordinators' by what leadership is,
// a write of the leader key under the wished coordinator's own lease.

import { LabError, run, waitFor } from '../../../deploy/lab/command.js';
import { members, type HostPlan, type LabPlan } from '../../../deploy/lab/plan.js';
import { restartDaemon } from '../../../deploy/lab/processes.js';
import { programs } from '../../../deploy/lab/tree.js';
import { keysOf } from '../../../shared/core/keys.js';
import { openLogs } from './logs.js';

const LEADS_MS = 10_000;
const READY_MS = 20_000;
/** Leadership moves by itself too, on a busy machine; then it is put there anew. */
const PLACINGS = 4;

async function etcdctl(endpoints: readonly HostPlan[], args: readonly string[]): Promise<string> {
  return run(programs.etcdctl, args, {
    environment: { ETCDCTL_ENDPOINTS: endpoints.map((each) => each.etcdClientUrl).join(','), ETCDCTL_API: '3' },
  });
}

interface Member {
  readonly host: HostPlan;
  /** In hex, as etcdctl takes it. */
  readonly id: string;
  readonly leads: boolean;
}

/** Null while a member does not answer, or none of them leads. */
async function etcdMembers(plan: LabPlan): Promise<readonly Member[] | null> {
  const text = await etcdctl(members(plan), ['endpoint', 'status', '--command-timeout=2s', '-w', 'simple']).catch(() => '');
  // Lines of: endpoint, id, version, size, is leader, ...
  const lines = text.split('\n').map((line) => line.split(',').map((field) => field.trim()));
  const found = lines.flatMap(([endpoint, id, , , leads]) => {
    const host = members(plan).find((each) => each.etcdClientUrl === endpoint);
    return host === undefined || id === undefined ? [] : [{ host, id, leads: leads === 'true' }];
  });
  return found.length === members(plan).length && found.some((each) => each.leads) ? found : null;
}

export async function untilEtcdWhole(plan: LabPlan): Promise<void> {
  await waitFor({ what: 'etcd with all its members', boundMs: READY_MS }, () => etcdMembers(plan));
}

export async function leadEtcdFrom(plan: LabPlan, wished: HostPlan): Promise<void> {
  await waitFor({ what: `etcd led from ${wished.name}`, boundMs: LEADS_MS }, async () => {
    const all = await etcdMembers(plan);
    const target = all?.find((each) => each.host === wished);
    const leader = all?.find((each) => each.leads);
    if (target === undefined || leader === undefined) return null;
    if (target === leader) return true;
    await etcdctl([leader.host], ['move-leader', target.id]);
    return null;
  });
}

interface StoredKey {
  readonly value: string;
  /** Hex. */
  readonly lease: string;
}

async function keyOf(plan: LabPlan, key: string): Promise<StoredKey | null> {
  const text = await etcdctl(members(plan), ['get', key, '-w', 'json']);
  const answer = JSON.parse(text) as { readonly kvs?: readonly { readonly value: string }[] };
  const value = answer.kvs?.[0]?.value;
  // The number of a lease has more digits than JSON.parse keeps.
  const lease = /"lease":(\d+)/.exec(text)?.[1];
  return value === undefined || lease === undefined
    ? null
    : { value: Buffer.from(value, 'base64').toString(), lease: BigInt(lease).toString(16) };
}

/** Name of the leading coordinator, which is its host's. */
export async function coordinatorLeader(plan: LabPlan): Promise<string | null> {
  const key = await keyOf(plan, keysOf(`/colo/${plan.name}`).leader);
  return key === null ? null : (JSON.parse(key.value) as { readonly name: string }).name;
}

/**
 * `fresh`: the others are started anew. They remember who led lately and hold back when leadership returns again and again within half a
 * minute, which strikes on end would be taken for.
 */
export async function leadFrom(plan: LabPlan, wished: HostPlan, fresh: boolean): Promise<void> {
  for (let placing = 1; ; placing += 1) {
    await giveLead(plan, wished);
    if (!fresh) return;
    await renewFollowers(plan, wished);
    const leader = await coordinatorLeader(plan);
    if (leader === wished.name) return;
    if (placing === PLACINGS) throw new LabError(`${leader ?? 'nobody'} leads, not ${wished.name}, placed there ${PLACINGS} times`);
  }
}

async function giveLead(plan: LabPlan, wished: HostPlan): Promise<void> {
  if ((await coordinatorLeader(plan)) === wished.name) return;
  const keys = keysOf(`/colo/${plan.name}`);
  const logs = openLogs(plan);
  const own = await waitFor({ what: `the key of the coordinator on ${wished.name}`, boundMs: READY_MS }, () =>
    keyOf(plan, keys.member(wished.name)),
  );
  await etcdctl(members(plan), ['put', `--lease=${own.lease}`, keys.leader, own.value]);
  await logs.until({ what: `leadership of ${wished.name}`, boundMs: LEADS_MS }, ({ host, event, fields }) =>
    host === wished.name && event === 'leadership-changed' && fields['kind'] === 'leader' ? true : null,
  );
}

async function renewFollowers(plan: LabPlan, wished: HostPlan): Promise<void> {
  const logs = openLogs(plan);
  const others = members(plan).filter((each) => each !== wished);
  await Promise.all(others.map((each) => restartDaemon(plan, each, 'coordinator')));
  for (const each of others) await untilWarm(plan, logs, each);
}

/** A follower that hears every agent and knows who leads. */
async function untilWarm(plan: LabPlan, logs: ReturnType<typeof openLogs>, host: HostPlan): Promise<void> {
  const wait = { what: `a warm coordinator on ${host.name}`, boundMs: READY_MS };
  for (const each of plan.hosts) {
    await logs.until(wait, (seen) =>
      seen.host === host.name && seen.daemon === 'coordinator' && seen.event === 'agent-heard' && seen.fields['host'] === each.name
        ? true
        : null,
    );
  }
  await logs.until(wait, (seen) =>
    seen.host === host.name && seen.event === 'leadership-changed' && seen.fields['leader'] !== null ? true : null,
  );
}
