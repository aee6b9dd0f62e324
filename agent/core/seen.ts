// What QEMU told by events since this agent connected to it. Events cannot be asked for again, so they are folded into this small state
// as they come; what can be asked is in the facts. Pure: the loop hands in each event with the instant at which it was read.

import type { Instant } from '../../shared/core/ids.js';
import { MISSED_WRITE } from './facts.js';
import { at } from './procedures/condition.js';
import type { QmpEvent } from './procedures/port.js';
import type { VmNames } from './names.js';

/** What is still bad says so once more. */
export const OWN_DISK_WELL = { localDiskError: false, ownWriteFailed: false } as const;
/** More different lines of evidence than this are not kept. */
const MAX_BREAKS = 8;

export interface Break {
  readonly at: Instant;
  /** For people, for example `COLO_EXIT secondary error`. */
  readonly what: string;
}

export interface Seen {
  readonly connectedAt: Instant;
  /** MIGRATION reported `colo`, or the facts did, and no COLO_EXIT came since. */
  readonly coloSince: Instant | null;
  /** This connection was there when COLO began: an event of the pair that did not come was not sent. */
  readonly sawBegin: boolean;
  readonly coloExit: { readonly at: Instant; readonly mode: string; readonly reason: string } | null;
  readonly lastStopAt: Instant | null;
  readonly lastResumeAt: Instant | null;
  /** Begin of the last checkpoint that has ended. A primary's ends with the word of its secondary that it has loaded it. */
  readonly endedBeganAt: Instant | null;
  /** End of the checkpoint before the last one that has begun. A secondary is asked for the next one when its primary has heard of this end. */
  readonly answeredEndAt: Instant | null;
  /** RESUME events since COLO began, that is whole transfers of state. */
  readonly checkpoints: number;
  /** The guest powered off by itself. */
  readonly guestShutdown: boolean;
  /** Each says that this pair is broken for good. */
  readonly breaks: readonly Break[];
  /** QUORUM_REPORT_BAD about the peer's copy of the disk, or the replication driver's word at a checkpoint. */
  readonly peerDiskError: boolean;
  /** QUORUM_REPORT_BAD about the local image, or an I/O error that stopped the guest. */
  readonly localDiskError: boolean;
  /** A write of the guest failed on the local image. With a peer's copy beside it the guest was told that it is written. */
  readonly ownWriteFailed: boolean;
}

const NO_CHECKPOINTS = { checkpoints: 0, endedBeganAt: null, answeredEndAt: null };

export function nothingSeen(connectedAt: Instant): Seen {
  return {
    connectedAt,
    coloSince: null,
    sawBegin: false,
    coloExit: null,
    lastStopAt: null,
    lastResumeAt: null,
    ...NO_CHECKPOINTS,
    guestShutdown: false,
    breaks: [],
    peerDiskError: false,
    localDiskError: false,
    ownWriteFailed: false,
  };
}

/**
 * A new attempt begins: what the last pair left behind is no evidence about this one. `guestRuns`: nor is an error of the own disk, because
 * it stopped the guest, and somebody has mended the disk and let the guest go on; if it is not mended, the next write says so again.
 */
export function forgetPair(seen: Seen, guestRuns: boolean): Seen {
  const ownDisk = guestRuns ? OWN_DISK_WELL : {};
  return { ...seen, ...NO_CHECKPOINTS, coloSince: null, sawBegin: false, coloExit: null, breaks: [], peerDiskError: false, ...ownDisk };
}

export function seeEvent(seen: Seen, event: QmpEvent, names: VmNames): Seen {
  switch (event.name) {
    case 'STOP':
      return { ...seen, lastStopAt: event.at, answeredEndAt: seen.checkpoints > 0 ? seen.lastResumeAt : null };
    case 'RESUME':
      if (seen.coloSince === null) return { ...seen, lastResumeAt: event.at };
      return { ...seen, lastResumeAt: event.at, checkpoints: seen.checkpoints + 1, endedBeganAt: seen.lastStopAt ?? event.at };
    case 'MIGRATION':
      return event.data['status'] === 'colo' && seen.coloSince === null
        ? { ...seen, ...NO_CHECKPOINTS, coloSince: event.at, sawBegin: true }
        : seen;
    case 'COLO_EXIT': {
      const [mode, reason] = [text(event, 'mode'), text(event, 'reason')];
      const left = { ...seen, coloSince: null, coloExit: { at: event.at, mode, reason } };
      // Our own failover makes it too, with the reason `request`.
      return reason === 'error' ? seeBreak(left, event.at, `COLO_EXIT ${mode} ${reason}`) : left;
    }
    case 'SHUTDOWN':
      return event.data['guest'] === true && text(event, 'reason') === 'guest-shutdown' ? { ...seen, guestShutdown: true } : seen;
    case 'QUORUM_REPORT_BAD': {
      const node = text(event, 'node-name');
      const ofPeer = names.disks.some((disk) => node === disk.replication || node === disk.nbd);
      const what = `QUORUM_REPORT_BAD ${node} ${text(event, 'type')}: ${text(event, 'error')}`;
      if (ofPeer) return { ...seeBreak(seen, event.at, what), peerDiskError: true };
      return { ...seen, localDiskError: true, ownWriteFailed: seen.ownWriteFailed || text(event, 'type') !== 'read' };
    }
    case 'BLOCK_IO_ERROR':
      return seeBlockError(seen, event, names);
    default:
      return seen;
  }
}

/** No later than the newest proof by a checkpoint that packets went both ways; null = there was none. */
export function contactProvenAt(seen: Seen, role: 'primary' | 'secondary' | 'none'): Instant | null {
  return role === 'secondary' ? seen.answeredEndAt : seen.endedBeganAt;
}

/** The replication driver says that the peer has refused a write of which the guest was told that all is well. */
export function seeMissedWrite(seen: Seen, at: Instant): Seen {
  return { ...seeBreak(seen, at, MISSED_WRITE), peerDiskError: true };
}

/** The same line again keeps its first instant. */
export function seeBreak(seen: Seen, at: Instant, what: string): Seen {
  if (seen.breaks.some((each) => each.what === what) || seen.breaks.length >= MAX_BREAKS) return seen;
  return { ...seen, breaks: [...seen.breaks, { at, what }] };
}

/** An error of the node that leads to the peer is a broken pair; any other one is this host's disk. */
function seeBlockError(seen: Seen, event: QmpEvent, names: VmNames): Seen {
  const node = text(event, 'node-name');
  const ofPeer = names.disks.some((disk) => node === disk.replication || node === disk.nbd);
  const what = `BLOCK_IO_ERROR ${node} ${text(event, 'operation')}: ${text(event, 'reason')}`;
  if (ofPeer) return { ...seeBreak(seen, event.at, what), peerDiskError: true };
  return text(event, 'action') === 'ignore' ? seen : { ...seen, localDiskError: true };
}

function text(event: QmpEvent, key: string): string {
  const value = at(event.data, [key]);
  return typeof value === 'string' ? value : '';
}
