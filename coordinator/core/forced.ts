// What an operator may decide where the table holds: he knows that a host is powered off, and says so. Nothing else gives him the power to
// choose a side, and a host that is heard is not powered off. The choice is an edge like any other, in a new epoch, with his words in the
// history; whatever comes back with the host afterwards is older, and is let go by the rule that every loser is let go by.

import { fail, ok, type Result } from '../../shared/core/result.js';
import type { Side, ValidDisk, Verdict } from '../../shared/core/model.js';
import { diskOf, promotedDisk } from './aftermath.js';
import { bootableDisks, describeDisk } from './disks.js';
import { evidenceOf, FORCED, type Change } from './rows.js';
import { storeBehind } from './transitions-store.js';
import { notPromotable } from './transitions-verdict.js';
import type { SideView, VmView } from './view.js';

export type Edge = Extract<Change, { kind: 'edge' }>;

/** Hosts that the operator declares powered off, by name. */
export type DeclaredOff = ReadonlySet<string>;

/** Why this declaration cannot be true of this cluster; null = it can. */
export function declarationProblem(view: Pick<VmView, 'hosts'>, off: DeclaredOff): string | null {
  for (const name of off) {
    const host = view.hosts.find((each) => each.key.host === name);
    if (host === undefined) return `there is no host "${name}" in this cluster`;
    if (host.heard) return `host ${name} is not powered off: its agent is heard`;
  }
  return null;
}

export function forceFailover(view: VmView, off: DeclaredOff): Result<Edge, string> {
  const { record, a, b } = view;
  const name = view.wanted.spec.name;
  const wrong = declarationProblem(view, off);
  if (wrong !== null) return fail(wrong);
  const behind = storeBehind(view);
  if (behind !== null) return fail(`store behind agents: ${behind}; coloctl recover first`);
  const gone = (side: SideView | null): boolean => side !== null && off.has(side.side.host);
  const diskGone = record.disk !== null && off.has(record.disk.host);
  if (!gone(a) && !gone(b) && !diskGone) return fail(`no declared host has a side or the valid disk of VM "${name}"`);
  switch (record.phase) {
    case 'protected':
      if (gone(a) && gone(b)) return fromDisk(view, off);
      return gone(a) ? withoutPrimary(view, off) : withoutSecondary(view);
    case 'verdict':
      return gone(a) ? withoutWinner(view, off) : fail(`the verdict is for ${a?.side.host ?? '?'}, and needs nothing of the declared host`);
    case 'stopping':
      return fail(`VM "${name}" is being stopped`);
    case 'failed':
      if (gone(b) && a?.qemu === 'alive') return ok(releaseOf(view, 'solo-primary', a, b));
      if (gone(a) && b?.qemu === 'alive' && b.report?.aloneSince !== null) return ok(releaseOf(view, 'solo-primary', b, a));
      return fromDisk(view, off);
    case 'starting':
    case 'solo':
    case 'held':
    case 'executed':
    case 'syncing':
    case 'stopped':
      if (!gone(a) && !diskGone)
        return fail(`VM "${name}" is ${record.phase} on ${a?.side.host ?? '?'}: the table deals with this by itself`);
      return fromDisk(view, off);
  }
}

function withoutPrimary(view: VmView, off: DeclaredOff): Result<Edge, string> {
  const { a, b } = view;
  if (b?.qemu === 'alive') {
    const unfit = notPromotable(view);
    return unfit === null ? ok(releaseOf(view, 'promote-secondary', b, a)) : fail(unfit);
  }
  if (b?.qemu === 'dead') return fromDisk(view, off);
  return fail(`the secondary on ${b?.side.host ?? '?'} is ${b?.qemu ?? 'unheard'}, so it can neither be released nor be called dead`);
}

function withoutSecondary(view: VmView): Result<Edge, string> {
  const { a, b, record } = view;
  if (a?.qemu === 'alive' || a?.qemu === 'hung') return ok(releaseOf(view, 'solo-primary', a, b));
  if (a?.qemu === 'dead' && record.disk !== null) return ok(boot(view, record.disk, ''));
  return fail(`the primary on ${a?.side.host ?? '?'} is ${a?.qemu ?? 'unheard'}, so it can neither be released nor be called dead`);
}

/** The winner of a verdict is gone and nobody knows whether it ever went on: the loser's copy is older by whatever it answered. */
function withoutWinner(view: VmView, off: DeclaredOff): Result<Edge, string> {
  const { a, b, record } = view;
  const { verdict } = record;
  if (b === null || b.qemu === 'dead') return fromDisk(view, off);
  if (b.qemu !== 'alive') return fail(`the other side on ${b.side.host} is ${b.qemu}: bring its agent back first`);
  const kind = verdict?.kind === 'solo-primary' ? 'promote-secondary' : 'solo-primary';
  const unfit = kind === 'promote-secondary' ? notPromotable(view) : null;
  return unfit === null ? ok(releaseOf(view, kind, b, a)) : fail(unfit);
}

function releaseOf(view: VmView, kind: Verdict['kind'], winner: SideView, loser: SideView | null): Edge {
  const gone = loser?.side.host ?? 'the other host';
  const reason = `an operator declared ${gone} powered off: ${winner.side.host} goes on, and what only ${gone} answered is lost`;
  return {
    kind: 'edge',
    evidence: evidenceOf(view),
    patch: {
      phase: 'verdict',
      reason,
      primary: winner.side,
      secondary: loser?.side ?? null,
      verdict: verdictOf(view, kind, winner.side, loser?.side ?? null),
      disk: kind === 'promote-secondary' ? promotedDisk(winner, view.record) : diskOf(winner, view.record),
    },
  };
}

function verdictOf(view: VmView, kind: Verdict['kind'], winner: Side, loser: Side | null): Verdict {
  return { row: FORCED, kind, winner, loser, evidence: evidenceOf(view), atMs: view.wallMs };
}

function fromDisk(view: VmView, off: DeclaredOff): Result<Edge, string> {
  const others = view.hosts.filter((each) => each.heard && !off.has(each.key.host));
  const [newest] = bootableDisks(others);
  if (newest === undefined)
    return fail(`no heard host has a disk of VM "${view.wanted.spec.name}" that could be booted: the others are stale, torn or missing`);
  const lost = view.record.disk?.host;
  return ok(boot(view, newest, lost === undefined || lost === newest.host ? '' : `; what was written on ${lost} since is lost`));
}

function boot(view: VmView, disk: ValidDisk, loss: string): Edge {
  return {
    kind: 'edge',
    evidence: evidenceOf(view),
    patch: {
      phase: 'stopped',
      reason: `an operator declared the other host powered off and chose ${describeDisk(disk)}${loss}`,
      primary: null,
      secondary: null,
      verdict: null,
      disk,
      failedAttempts: 0,
    },
  };
}
