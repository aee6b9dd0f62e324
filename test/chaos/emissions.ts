// What left the hosts' guest ports during a whole chaos, held against the history: after each change of who runs the guest, the bytes of its
// line protocol leave the new one alone, but for what the old one had on its way or what both had agreed on.

import { Capture } from '../../deploy/lab/capture/captures.js';
import { judgeCapture } from '../../deploy/lab/capture/judgement.js';
import type { Frame } from '../../deploy/lab/capture/pcap.js';
import { messageOf } from '../../deploy/lab/command.js';
import { LINE_PORT } from '../../deploy/lab/guest-protocol.js';
import type { LabPlan } from '../../deploy/lab/plan.js';

export interface Emissions {
  /** By host. */
  readonly frames: ReadonlyMap<string, readonly Frame[]>;
  /** Why the captures are not whole; null = they are. */
  readonly hole: string | null;
}

/** Uploads and downloads are left out: they are most of the traffic, and no other rules hold for them. */
export async function captureEmissions(plan: LabPlan): Promise<{ stop(): Promise<Emissions> }> {
  const captures = plan.hosts.map(
    (host) => new Capture(plan, host, 'guest', 'in', `ether src ${plan.guest.mac} and tcp src port ${LINE_PORT}`),
  );
  await Promise.all(captures.map((each) => each.ready()));
  return {
    stop: async () => {
      let hole: string | null = null;
      for (const each of captures) await each.stop().catch((error: unknown) => (hole = messageOf(error)));
      return { frames: new Map(captures.map((each) => [each.host.name, each.frames()])), hole };
    },
  };
}

interface Entry {
  readonly atMs: number;
  readonly epoch: number;
  readonly primary: string;
}

export function emissionViolations(frames: ReadonlyMap<string, readonly Frame[]>, history: readonly Entry[]): readonly string[] {
  const changes = history.filter((entry, position) => entry.primary !== (history[position - 1]?.primary ?? entry.primary));
  return changes.flatMap((change, position) => {
    const before = history.filter((entry) => entry.epoch < change.epoch).at(-1)?.primary ?? '';
    const fromMs = changes[position - 1]?.atMs ?? -Infinity;
    const untilMs = changes[position + 1]?.atMs ?? Infinity;
    // Of the one that ran it before, what it sent until now is what the new one must go on from.
    const sent = new Map(
      [...frames].map(([host, all]) => [host, all.filter((frame) => frame.wallMs >= (host === before ? fromMs : change.atMs))]),
    );
    const { violations } = judgeCapture(sent, {
      primary: before,
      secondary: change.primary,
      faultWallMs: change.atMs,
      untilWallMs: untilMs,
      pairBroken: true,
      verdict: { winner: change.primary, atWallMs: change.atMs },
      toldByTwin: [],
      statesReceivedWallMs: [],
      suspicions: [],
    });
    return violations.map((each) => `after epoch ${change.epoch} (${before || 'nobody'} -> ${change.primary || 'nobody'}): ${each}`);
  });
}
