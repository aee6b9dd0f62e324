// Looks at the cluster all the time, as any operator could: what the coordinators say, the history as it grows, and what the agents have
// journalled. What it saw last may be old while the control plane is struck, and says when it was seen.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { monoMs } from '../../deploy/lab/probes.js';
import { members, type HostPlan, type LabPlan } from '../../deploy/lab/plan.js';
import { CoordinatorServiceService as coordinatorService, type HistoryEntry, type Status } from '../../shared/gen/colo/v1/coordinator.js';
import { systemClock } from '../../shared/io/clock.js';
import { systemRandom } from '../../shared/io/random.js';
import { dial } from '../../shared/io/rpc/client.js';
import { waitFor } from '../support/wait.js';
import { isEdge, type Release } from './verdicts.js';

const CALL_MS = 600;
const LOOK_EVERY_MS = 150;

export interface Picture {
  readonly seenMs: number;
  readonly status: Status;
}

export interface Eye {
  /** The newest answer of any coordinator; null before the first one. */
  last(): Picture | null;
  /** All edges that were ever seen, by epoch, oldest first. */
  history(): readonly HistoryEntry[];
  /** Every time that a journal said that a QEMU runs the guest alone. */
  releases(): readonly Release[];
  /** What a coordinator said when it suspected that two hosts run the guest. */
  splits(): readonly string[];
  /** Asks for the history now, for what a full look has not fetched yet. */
  refresh(): Promise<void>;
  close(): Promise<void>;
}

export function openEye(plan: LabPlan, vm: string): Eye {
  const ports = { clock: systemClock(), random: systemRandom() };
  const lines = members(plan).map((host) => dial(ports, host.coordinatorAddress));
  const entries = new Map<number, HistoryEntry>();
  const releases = new Map<string, Release>();
  const splits = new Set<string>();
  let picture: Picture | null = null;
  let turn = 0;
  let closed = false;

  async function look(): Promise<void> {
    const answers = await Promise.all(lines.map((line) => line.call(coordinatorService.getStatus, {}, CALL_MS)));
    const told = answers.flatMap((each) => (each.ok ? [each.value] : []));
    // A coordinator that is cut off answers as well, with what it knew: the one that knows most is the newest.
    const newest = told.sort(
      (one, other) => epochIn(other, vm) - epochIn(one, vm) || Number(other.leader !== '') - Number(one.leader !== ''),
    )[0];
    for (const each of told.flatMap((status) => status.vms)) if (each.splitSuspected) splits.add(`epoch ${each.epoch}: ${each.reason}`);
    if (newest !== undefined) picture = { seenMs: monoMs(), status: newest };
    for (const release of plan.hosts.flatMap((host) => releaseOf(host, vm))) releases.set(JSON.stringify(release), release);
  }

  async function refresh(): Promise<void> {
    for (const line of lines) {
      const answer = await line.call(coordinatorService.listHistory, { vm, limit: 200, sinceMs: 0 }, CALL_MS);
      if (answer.ok) for (const entry of answer.value.entries.filter(isEdge)) entries.set(entry.epoch, entry);
    }
  }

  async function lookOn(): Promise<void> {
    while (!closed) {
      const dueMs = monoMs() + LOOK_EVERY_MS;
      await look();
      turn += 1;
      if (turn % 20 === 0) await refresh();
      await untilMono(dueMs);
    }
  }
  const looking = lookOn();

  return {
    last: () => picture,
    history: () => [...entries.values()].sort((one, other) => one.epoch - other.epoch),
    releases: () => [...releases.values()],
    splits: () => [...splits],
    refresh,
    close: async () => {
      closed = true;
      await looking;
      for (const line of lines) line.close();
    },
  };
}

const epochIn = (status: Status, vm: string): number => status.vms.find((each) => each.name === vm)?.epoch ?? -1;

/** Until that instant of the monotonic clock. */
export async function untilMono(atMs: number): Promise<void> {
  await waitFor(() => monoMs() >= atMs, { what: `the instant ${atMs} ms`, boundMs: Math.max(0, atMs - monoMs()) + 60_000, everyMs: 5 });
}

/** Only looks: a file that is just being written is passed over, and seen the next time. */
function releaseOf(host: HostPlan, vm: string): readonly Release[] {
  return ['a', 'b'].flatMap((each) => {
    try {
      const text = readFileSync(join(host.agentStateDir, 'vms', vm, `journal.${each}.json`), 'utf8');
      const { value } = JSON.parse(text) as {
        readonly value: { readonly qemu: { readonly born: number; readonly aloneSince: number | null } | null };
      };
      const { qemu } = value;
      return qemu === null || qemu.aloneSince === null ? [] : [{ host: host.name, born: qemu.born, epoch: qemu.aloneSince }];
    } catch {
      return [];
    }
  });
}
