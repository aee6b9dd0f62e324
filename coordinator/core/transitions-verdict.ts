// The table of SAFETY 9: who goes on when something is wrong with a protected pair. A is the side that has the primary, B the secondary.
// No signal alone moves a VM, a fresh `ok` from either side beats every silence, and every combination has a row.

import type { PairState, Verdict } from '../../shared/core/model.js';
import { edge, evidenceOf, unfitnessOf, type Change, type Row } from './rows.js';
import { deathOf, lostWrites, promotedDisk } from './aftermath.js';
import { overlayBytes } from './placement.js';
import { failoversWithThis } from './transitions-budget.js';
import type { SideView, VmView } from './view.js';

/** How long a disagreement between the sides may last before the checkpoint that was forced has decided it. */
export const DOUBT_MS = 1_000;

const is = (view: SideView | null, ...states: readonly SideView['qemu'][]): boolean => view !== null && states.includes(view.qemu);
const pairIs = (view: SideView | null, ...states: readonly PairState[]): boolean => view !== null && states.includes(view.pair);
const someOk = (view: VmView): boolean => pairIs(view.a, 'ok') || pairIs(view.b, 'ok');
const someHard = (view: VmView): boolean => pairIs(view.a, 'hard') || pairIs(view.b, 'hard');
const diskFails = (view: SideView | null): boolean => view?.report?.disk.localError === true;
/** Also by its journal alone: an agent that was started since knows of what QEMU said before only what was written down. */
const primaryDiskFails = ({ a }: VmView): boolean => diskFails(a) || unfitnessOf(a) !== null;
const broken = (view: SideView | null): boolean => pairIs(view, 'hard', 'silent');

/** Why B must never run the guest; null = it may. */
export function notPromotable(view: VmView): string | null {
  const report = view.b?.report;
  if (report === null || report === undefined) return 'the secondary is not heard';
  if (report.unpromotable !== null)
    return `the secondary on ${view.b?.side.host ?? '?'} did not load its last checkpoint: ${report.unpromotable}`;
  // Also by the word of the primary, which sees its writes to the other side fail.
  if (report.disk.replication === 'error' || view.a?.report?.disk.replication === 'error') return missedWrites(view.b?.side.host ?? '?');
  if (report.disk.localError) return `the disk of the secondary on ${view.b?.side.host ?? '?'} fails`;
  return null;
}

const missedWrites = (host: string): string => `the disk of the secondary on ${host} missed writes`;

function verdict(view: VmView, row: string, kind: Verdict['kind'], why: string): Change {
  const { a, b, record } = view;
  if (a === null || b === null) return { kind: 'hold', reason: 'the record names no pair' };
  const [winner, loser] = kind === 'solo-primary' ? [a, b] : [b, a];
  return edge(view, 'verdict', why, {
    primary: winner.side,
    secondary: loser.side,
    verdict: {
      row,
      kind,
      winner: winner.side,
      loser: loser.side,
      evidence: evidenceOf(view),
      atMs: view.wallMs,
      ...(kind === 'solo-primary' && a.report?.disk.replication === 'error' ? { loserLacks: missedWrites(b.side.host) } : {}),
    },
    disk: kind === 'promote-secondary' ? promotedDisk(winner, record) : record.disk,
    // What an operator wished is no failover.
    failoversAtMs: row === 'unprotect-wanted' ? record.failoversAtMs : failoversWithThis(view),
  });
}

const promote =
  (row: string, why: (view: VmView) => string) =>
  (view: VmView): Change => {
    const unfit = notPromotable(view);
    if (unfit === null) return verdict(view, row, 'promote-secondary', why(view));
    // The primary's disk is whole when its QEMU died; a promoted secondary's would not be.
    if (view.a?.qemu === 'dead') return bothDead(view, `the primary died and ${unfit}`);
    return { kind: 'hold', reason: `data at risk: ${unfit}` };
  };

const solo =
  (row: string, why: (view: VmView) => string) =>
  (view: VmView): Change =>
    verdict(view, row, 'solo-primary', why(view));

/** Both sides of a pair without a verdict died: the primary's disk is the valid one. */
function bothDead(view: VmView, what: string): Change {
  if (unfitnessOf(view.a) !== null) return lostWrites(view, what);
  if (view.wanted.spec.restart === 'never') return edge(view, 'failed', `${what}; restart is "never"`, { secondary: null });
  return edge(view, 'stopped', `${what}; to be started again from the disk on ${view.record.disk?.host ?? '?'}`, {
    primary: null,
    secondary: null,
    failedAttempts: 0,
    lastError: what,
  });
}

const breakOf = (view: VmView): string =>
  [...(view.a?.report?.pair.evidence ?? []), ...(view.b?.report?.pair.evidence ?? [])].at(-1) ?? 'the pair is broken';

export const verdictRows: readonly Row[] = [
  {
    name: 'primary-disk-lost',
    from: ['protected'],
    to: 'verdict',
    why: "The primary's own disk fails; the secondary has every write and a clean disk.",
    when: (view) => primaryDiskFails(view) && is(view.b, 'alive') && notPromotable(view) === null,
    act: promote('primary-disk-lost', (view) => `the disk of the primary on ${view.a?.side.host ?? '?'} fails`),
  },
  {
    name: 'data-at-risk',
    from: ['protected'],
    to: 'failed',
    why: "The primary's own disk fails, and the secondary's is not whole either: the guest was told of writes that may be nowhere.",
    when: (view) => is(view.a, 'alive') && primaryDiskFails(view) && is(view.b, 'alive', 'dead'),
    act: (view) =>
      edge(view, 'failed', `data at risk: the disk of the primary on ${view.a?.side.host ?? '?'} fails, and ${unfitness(view)}`, {}),
  },
  {
    name: 'primary-disk-lost-secondary-lost',
    from: ['protected'],
    to: 'same',
    why: "The primary's own disk lacks writes, so it must not go on alone. Whether the secondary, which has them, can is not known yet.",
    when: (view) => unfitnessOf(view.a) !== null && !is(view.a, 'dead') && is(view.b, 'unheard', 'hung', 'unknown'),
    act: (view) => ({
      kind: 'hold',
      reason: `data at risk: the disk of the primary on ${view.a?.side.host ?? '?'} lacks writes, and the secondary on ${view.b?.side.host ?? '?'} is ${view.b?.qemu ?? 'unheard'}; waiting for it`,
    }),
  },
  {
    name: 'secondary-disk-lost',
    from: ['protected'],
    to: 'verdict',
    why: "The secondary's disk fails, so it could never go on; the primary has every write on its own.",
    when: (view) => is(view.a, 'alive') && is(view.b, 'alive') && diskFails(view.b),
    act: solo('secondary-disk-lost', (view) => `the disk of the secondary on ${view.b?.side.host ?? '?'} fails`),
  },
  {
    name: 'both-dead',
    from: ['protected'],
    to: 'stopped',
    why: 'Both QEMUs died before any verdict: the disk of the primary is the valid one.',
    when: (view) => is(view.a, 'dead') && is(view.b, 'dead'),
    act: (view) => bothDead(view, 'both sides died'),
  },
  {
    name: 'primary-dead',
    from: ['protected'],
    to: 'verdict',
    why: 'The exit of the primary is proven; the secondary goes on where the last answer left.',
    when: (view) => is(view.a, 'dead') && is(view.b, 'alive'),
    act: promote('primary-dead', (view) => deathOf(view.a) ?? 'the primary died'),
  },
  {
    name: 'primary-dead-secondary-lost',
    from: ['protected'],
    to: 'same',
    why: 'The primary died and nobody can say that the secondary is well: whoever chooses now may lose data.',
    when: (view) => is(view.a, 'dead'),
    act: (view) => ({
      kind: 'hold',
      reason: `the primary died and the secondary on ${view.b?.side.host ?? '?'} is ${view.b?.qemu ?? 'unheard'}; waiting for it`,
    }),
  },
  {
    name: 'secondary-dead',
    from: ['protected'],
    to: 'verdict',
    why: 'The exit of the secondary is proven; the primary is the only candidate.',
    when: (view) => is(view.b, 'dead'),
    act: solo('secondary-dead', (view) => deathOf(view.b) ?? 'the secondary died'),
  },
  {
    name: 'late',
    from: ['protected'],
    to: 'same',
    why: 'This coordinator was itself late, so the silences it sees may be its own.',
    when: (view) => view.late && !(is(view.a, 'alive') && is(view.b, 'alive') && someHard(view)),
    act: (view) => ({ kind: 'none', reason: view.record.reason }),
  },
  {
    name: 'blind',
    from: ['protected'],
    to: 'same',
    why: 'Neither agent is heard: more likely we are cut off than both are dead.',
    when: (view) => is(view.a, 'unheard') && is(view.b, 'unheard'),
    act: () => ({ kind: 'hold', reason: 'blind: neither agent is heard' }),
  },
  {
    name: 'unprotect-wanted',
    from: ['protected'],
    to: 'verdict',
    why: 'The operator wants the VM to run without protection.',
    when: (view) => !view.wanted.protect && is(view.a, 'alive'),
    act: solo('unprotect-wanted', () => 'protection is no longer wanted'),
  },
  {
    name: 'peer-to-be-asked',
    from: ['protected'],
    to: 'same',
    why: 'One side says that the other is silent, and the last word of the other is older than that: does it answer, and what does it say now?',
    when: (view) => hostToBeAsked(view) !== null && !someHard(view),
    act: (view) => ({
      kind: 'probe',
      host: hostToBeAsked(view) ?? '',
      reason: `one side says that the other is silent; asking ${hostToBeAsked(view) ?? '?'}`,
    }),
  },
  {
    name: 'well',
    from: ['protected'],
    to: 'same',
    why: 'QEMU itself made progress on one side a moment ago, and nothing says that the pair is broken.',
    when: (view) => someOk(view) && !someHard(view) && !doubtful(view),
    act: (view) => ({ kind: 'none', reason: whyWell(view) }),
  },
  {
    name: 'well-but-doubtful',
    from: ['protected'],
    to: 'same',
    why: 'One side made progress and the other has a doubt: a forced checkpoint tells, and there is no verdict on `ok`.',
    when: (view) => someOk(view) && !someHard(view),
    act: (view) => ({ kind: 'checkpoint', reason: `pair in doubt: ${view.a?.pair ?? '?'} / ${view.b?.pair ?? '?'}` }),
  },
  {
    name: 'primary-hung',
    from: ['protected'],
    to: 'verdict',
    why: 'The main loop of the primary does not answer and the pair makes no progress.',
    when: (view) => is(view.a, 'hung') && is(view.b, 'alive'),
    act: promote('primary-hung', (view) => `the primary on ${view.a?.side.host ?? '?'} hangs`),
  },
  {
    name: 'secondary-hung',
    from: ['protected'],
    to: 'verdict',
    why: 'The main loop of the secondary does not answer and the pair makes no progress.',
    when: (view) => is(view.a, 'alive') && is(view.b, 'hung'),
    act: solo('secondary-hung', (view) => `the secondary on ${view.b?.side.host ?? '?'} hangs`),
  },
  {
    name: 'primary-to-be-asked',
    from: ['protected'],
    to: 'same',
    why: 'The secondary says that the pair is broken, and the last word of the primary is older than that: is it alive at all?',
    when: (view) =>
      is(view.a, 'alive') && is(view.b, 'alive', 'unknown') && someHard(view) && !pairIs(view.a, 'hard') && view.a?.fresh === false,
    act: (view) => ({ kind: 'probe', host: view.a?.side.host ?? '', reason: `pair broken; asking ${view.a?.side.host ?? '?'}` }),
  },
  {
    name: 'pair-broken',
    from: ['protected'],
    to: 'verdict',
    why: 'QEMU or the kernel says that the pair is broken for good while both sides live: the primary goes on.',
    when: (view) => is(view.a, 'alive') && is(view.b, 'alive', 'unknown') && someHard(view),
    act: solo('pair-broken', breakOf),
  },
  {
    name: 'link-cut',
    from: ['protected'],
    to: 'verdict',
    why: 'Both sides live and neither hears the other on the replication network: the primary goes on.',
    when: (view) => is(view.a, 'alive') && is(view.b, 'alive') && pairIs(view.a, 'silent') && pairIs(view.b, 'silent'),
    act: solo('link-cut', () => 'the replication link is cut'),
  },
  {
    name: 'pair-disputed',
    from: ['protected'],
    to: 'verdict',
    why: 'The sides see the pair differently, and the checkpoint that was forced did not come.',
    when: (view) => is(view.a, 'alive') && is(view.b, 'alive') && view.doubtMs >= DOUBT_MS && broken(view.a),
    act: solo('pair-disputed', breakOf),
  },
  {
    name: 'pair-in-doubt',
    from: ['protected'],
    to: 'same',
    why: 'The sides see the pair differently: a forced checkpoint tells.',
    when: (view) => is(view.a, 'alive') && is(view.b, 'alive'),
    act: (view) => ({ kind: 'checkpoint', reason: `pair in doubt: ${view.a?.pair ?? '?'} / ${view.b?.pair ?? '?'}` }),
  },
  {
    name: 'secondary-host-lost',
    from: ['protected'],
    to: 'verdict',
    why: "Nobody hears the secondary's agent, and the primary's kernel or QEMU says that its streams are broken.",
    when: (view) => is(view.a, 'alive') && is(view.b, 'unheard') && broken(view.a),
    act: solo('secondary-host-lost', breakOf),
  },
  {
    name: 'secondary-host-silent',
    from: ['protected'],
    to: 'same',
    why: "Nobody hears the secondary's agent, but nothing says that the pair is broken: an agent's silence is no evidence.",
    when: (view) => is(view.a, 'alive') && is(view.b, 'unheard'),
    act: (view) => ({ kind: 'checkpoint', reason: `the agent of ${view.b?.side.host ?? '?'} is silent` }),
  },
  {
    name: 'primary-host-lost',
    from: ['protected'],
    to: 'verdict',
    why: "Nobody hears the primary's agent, and the secondary's kernel or QEMU says that its streams are broken.",
    when: (view) => is(view.a, 'unheard') && is(view.b, 'alive') && broken(view.b),
    act: promote('primary-host-lost', breakOf),
  },
  {
    name: 'primary-host-silent',
    from: ['protected'],
    to: 'same',
    why: "Nobody hears the primary's agent, but nothing says that the pair is broken.",
    when: (view) => is(view.a, 'unheard') && is(view.b, 'alive'),
    act: (view) => ({ kind: 'none', reason: `the agent of ${view.a?.side.host ?? '?'} is silent; the pair is not known to be broken` }),
  },
  {
    name: 'adopting',
    from: ['protected'],
    to: 'same',
    why: 'An agent has just started and has not looked at its QEMU yet; after two seconds that counts as hung.',
    when: (view) => is(view.a, 'unknown') || is(view.b, 'unknown'),
    act: (view) => ({ kind: 'none', reason: `an agent is looking at its QEMU (${view.a?.qemu ?? '?'} / ${view.b?.qemu ?? '?'})` }),
  },
  {
    name: 'undecidable',
    from: ['protected'],
    to: 'same',
    why: 'What is left: hung beside hung or beside unheard. Any choice could lose data; an operator decides.',
    when: () => true,
    act: (view) => ({
      kind: 'hold',
      reason: `the primary is ${view.a?.qemu ?? '?'} and the secondary is ${view.b?.qemu ?? '?'}: no choice is safe`,
    }),
  },
];

/** A side that was heard before its peer called it silent, and not since. */
function hostToBeAsked({ a, b }: VmView): string | null {
  if (a === null || b === null) return null;
  const stale = (side: SideView): boolean => is(side, 'alive') && !side.fresh && !broken(side);
  if (broken(a) && stale(b)) return b.side.host;
  return broken(b) && stale(a) ? a.side.host : null;
}

function doubtful(view: VmView): boolean {
  return pairIs(view.a, 'silent') || pairIs(view.b, 'silent') || is(view.a, 'hung') || is(view.b, 'hung');
}

function unfitness(view: VmView): string {
  return is(view.b, 'dead')
    ? (deathOf(view.b) ?? 'the secondary is dead')
    : (notPromotable(view) ?? 'the secondary is not known to be whole');
}

function whyWell(view: VmView): string {
  const silent = [view.a, view.b].filter((each) => each !== null && each.qemu === 'unheard').map((each) => each?.side.host ?? '');
  const home = view.hosts.find((each) => each.key.host === view.b?.side.host);
  const isShort = home !== undefined && home.heard && home.freeDiskBytes < overlayBytes(view);
  return [
    'protected',
    ...(silent.length === 0 ? [] : [`agent of ${silent.join(', ')} is silent, pair ok`]),
    ...(isShort ? [`little disk space is left on ${home.key.host}`] : []),
  ].join('; ');
}
