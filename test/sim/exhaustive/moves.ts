// Every move that the small world can make from a state, and what must hold after each.

import { commit, lateArrives, learn, look, restart, usurp, withCoordinator, yieldPlace, type Luck } from './coordinator.js';
import { obey, other, qemuEnds, reportOfHost, step, withHost, type Next } from './host.js';
import { COORDINATORS, HOSTS, type Coordinator, type Host, type State } from './state.js';

export interface Move {
  readonly label: string;
  readonly next: Next;
}

/** A client is told so many answers; more would only make more states. */
const MOST_TOLD = 2;
const LUCK: readonly Luck[] = ['unknown, and written', 'unknown, and not written', 'unknown, and still on its way'];

/** `faults`: so many things may go wrong in one history. */
export function movesFrom(state: State, faults: number): readonly Move[] {
  const moves: Move[] = [];
  const add = (label: string, next: Next | null): void => {
    if (next !== null && next !== state) moves.push({ label, next });
  };
  const fault = (label: string, next: State | null): void => {
    if (next !== null && next !== state && state.faults < faults)
      moves.push({ label: `FAULT ${label}`, next: { ...next, faults: state.faults + 1 } });
  };
  for (const name of COORDINATORS) coordinatorMoves(state, name, add, fault);
  for (const host of HOSTS) hostMoves(state, host, add, fault);
  for (const [at, { to, order, delivered }] of state.orders.entries()) {
    const target = state.hosts[to];
    if (!target.agentUp || !target.adopted) continue;
    const rest = delivered
      ? state.orders.filter((_, index) => index !== at)
      : state.orders.map((each, index) => (index === at ? { ...each, delivered: true } : each));
    add(
      `${to} gets ${order.goal.kind} of epoch ${order.epoch}${delivered ? ' once more' : ''}`,
      obey({ ...state, orders: rest }, to, order),
    );
  }
  if (!state.linkCut) fault('the link is cut', { ...state, linkCut: true, pair: state.pair === 'colo' ? 'broken' : state.pair });
  add('a write that nobody waits for reaches the store', lateArrives(state));
  add('a client is answered', answer(state));
  return moves;
}

/** Both coordinators have heard both hosts. */
export function allHeard(state: State): State {
  const reports = { h1: reportOfHost(state, 'h1'), h2: reportOfHost(state, 'h2') };
  const { c1, c2 } = state.coordinators;
  const heard = { h1: true, h2: true };
  return { ...state, coordinators: { c1: { ...c1, reports, heard }, c2: { ...c2, reports, heard } } };
}

type Add = (label: string, next: State | null) => void;

function coordinatorMoves(state: State, name: Coordinator, add: (label: string, next: Next | null) => void, fault: Add): void {
  const own = state.coordinators[name];
  add(`${name} looks`, look(state, name, false));
  add(`${name} looks, all patience used up`, look(state, name, true));
  add(`${name} saves`, commit(state, name, 'known'));
  if (own.draft !== null) {
    for (const luck of LUCK) {
      const next = commit(state, name, luck);
      if (next !== null && 'broken' in next) add(`${name} saves`, next);
      else fault(`${name} saves: ${luck}`, next);
    }
  }
  add(`${name} hears of the record`, learn(state, name));
  add(`${name} hears that it does not lead`, yieldPlace(state, name));
  if (own.leads === 0 || state.leader.revision !== own.leads) fault(`${name} takes the place of ${state.leader.name}`, usurp(state, name));
  if (own.leads > 0) fault(`${name} begins anew`, restart(state, name));
  for (const host of HOSTS) {
    if (!state.hosts[host].agentUp) {
      if (own.heard[host]) add(`${name} loses ${host}`, withCoordinator(state, name, { heard: { ...own.heard, [host]: false } }));
      continue;
    }
    if (own.leads === 0) continue;
    const report = reportOfHost(state, host);
    const known = own.reports[host];
    const isNews = !own.heard[host] || (known !== report && JSON.stringify(known) !== JSON.stringify(report));
    if (isNews) {
      add(
        `${name} hears ${host}`,
        withCoordinator(state, name, { heard: { ...own.heard, [host]: true }, reports: { ...own.reports, [host]: report } }),
      );
    }
    if (own.heard[host]) fault(`${name} does not hear ${host}`, withCoordinator(state, name, { heard: { ...own.heard, [host]: false } }));
  }
}

function hostMoves(state: State, host: Host, add: (label: string, next: Next | null) => void, fault: Add): void {
  const { agentUp, adopted, journal, qemu, task, disk } = state.hosts[host];
  if (agentUp) fault(`agent of ${host} dies`, withHost(state, host, { agentUp: false, adopted: false, task: null }));
  else add(`agent of ${host} starts`, withHost(state, host, { agentUp: true, sawCheckpoint: false }));
  if (qemu?.alive === true) fault(`QEMU of ${host} dies`, qemuEnds(state, host));
  const isUnseen = qemu !== null && !qemu.alive && journal?.qemu?.born === qemu.born && journal.qemu.death === null;
  // A QEMU that was announced and never launched is gone as well for an agent that begins anew.
  const isGone = journal !== null && journal.qemu !== null && journal.qemu.death === null && qemu?.born !== journal.qemu.born;
  if (agentUp && !adopted) {
    const seen = withHost(state, host, { adopted: true });
    add(`agent of ${host} looks at its QEMU`, isUnseen || isGone ? sawDeath(seen, host) : seen);
  } else if (agentUp && isUnseen) add(`agent of ${host} sees its QEMU dead`, sawDeath(state, host));
  if (agentUp && adopted && task !== null) add(`${host} does a step of ${journal?.goal.kind ?? '?'}`, step(state, host));
  if (qemu?.alive !== true) return;
  const isHalf = qemu.role === 'primary' || qemu.role === 'secondary';
  const { sawCheckpoint } = state.hosts[host];
  if (agentUp && adopted && isHalf && !sawCheckpoint && state.pair === 'colo')
    add(`agent of ${host} sees a checkpoint`, withHost(state, host, { sawCheckpoint: true }));
  if (isHalf && !qemu.noticed) {
    const noticed = withHost(state, host, { qemu: { ...qemu, noticed: true } });
    if (state.pair === 'broken') add(`${host} notices that the pair is broken`, noticed);
    else fault(`${host} believes that the pair is broken`, noticed);
  }
  const isReady = journal?.qemu?.startedAs === 'secondary' && journal.qemu.readyFor !== null && journal.qemu.provenFor === null;
  if (agentUp && adopted && isReady && qemu.role === 'secondary' && state.pair === 'colo' && journal.qemu.aloneSince === null) {
    const { readyFor } = journal.qemu;
    add(
      `${host} proves its side`,
      withHost(state, host, { journal: { ...journal, qemu: { ...journal.qemu, provenFor: readyFor, promised: readyFor } } }),
    );
  }
  if (agentUp && disk.state === 'merging' && qemu.role === 'alone' && journal?.qemu?.aloneSince !== null) {
    add(
      `${host} has merged its overlays`,
      withHost(state, host, { disk: { count: qemu.count, state: 'clean', stampEpoch: disk.stampEpoch } }),
    );
  }
}

function sawDeath(state: State, host: Host): State {
  const { journal } = state.hosts[host];
  if (journal === null || journal.qemu === null) return state;
  return withHost(state, host, { journal: { ...journal, qemu: { ...journal.qemu, death: { why: 'it ended' } } } });
}

/** By whoever is heard, or by a pair in lock-step, whose both sides then know of it. */
function answer(state: State): State | null {
  if (state.told >= MOST_TOLD) return null;
  const told = state.told + 1;
  let after: State = { ...state, told };
  const count = (host: Host): void => {
    const { qemu } = after.hosts[host];
    if (qemu !== null) after = withHost(after, host, { qemu: { ...qemu, count: qemu.count + 1 } });
  };
  for (const host of HOSTS) {
    const { qemu } = state.hosts[host];
    if (qemu?.alive !== true) continue;
    if (qemu.heard) return (count(host), after);
    const peer = state.hosts[other(host)].qemu;
    if (qemu.role === 'primary' && state.pair === 'colo' && peer?.alive === true) return (count(host), count(other(host)), after);
  }
  return null;
}

/** What must hold in every state; null = it does. */
export function violation(state: State): string | null {
  const heard = HOSTS.filter((host) => state.hosts[host].qemu?.heard === true);
  const { record } = state;
  for (const host of heard) {
    const isNamed = record.primary?.host === host && record.primary.born === state.hosts[host].qemu?.born;
    if (!isNamed && record.phase !== 'stopped' && record.phase !== 'failed')
      return `${host} is heard, and the record of epoch ${record.epoch} (${record.phase}) names ${record.primary?.host ?? 'nobody'}`;
    if (record.phase === 'protected') return `${host} is heard uncompared while the record says protected`;
  }
  if (heard.length > 1) return `split brain: ${heard.join(' and ')} are both heard`;
  for (const host of heard) {
    const { qemu } = state.hosts[host];
    if (qemu === null) continue;
    if (!qemu.whole) return `${host} is heard and is torn`;
    if (qemu.count < state.told) return `${host} is heard and lacks what a client was told (${qemu.count} of ${state.told})`;
  }
  return validDiskProblem(state);
}

/** The disk that the record names, as whoever boots it would find it. */
function validDiskProblem({ record, hosts, told }: State): string | null {
  if (record.disk === null) return null;
  const { qemu, disk } = hosts[record.disk.host === 'h1' ? 'h1' : 'h2'];
  const count = qemu?.alive === true ? (qemu.whole ? qemu.count : -1) : disk.count;
  if (count >= told) return null;
  const what = count < 0 ? 'torn' : `lacks what a client was told (${count} of ${told})`;
  return `the disk on ${record.disk.host} that the record of epoch ${record.epoch} (${record.phase}) calls valid is ${what}`;
}
