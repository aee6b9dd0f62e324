// Listens at the switch's ports during one strike: whether anything left a side that it was not allowed to send. The guest is asked for its
// address all the while, so that a silenced tap is told from an idle one.

import { startCaptures, type Captures } from '../../../deploy/lab/capture/captures.js';
import { startNoise, type Noise } from '../../../deploy/lab/capture/noise.js';
import { messageOf } from '../../../deploy/lab/command.js';
import type { VmState } from '../../../deploy/lab/coloctl.js';
import type { LabPlan } from '../../../deploy/lab/plan.js';
import type { LogEvent } from './logs.js';
import { isEdgeTo } from './timeline.js';

export interface Ear {
  /** What left and was not allowed to; empty = the law was kept. `pairBroken`: as of the fault, the pair agrees on nothing more. */
  judge(
    vm: string,
    faultWallMs: number,
    pair: VmState,
    events: readonly LogEvent[],
    winner: string | null,
    pairBroken: boolean,
  ): Promise<readonly string[]>;
  /** Safe to repeat. */
  close(): Promise<void>;
}

export async function openEar(plan: LabPlan, { primary, secondary }: VmState): Promise<Ear> {
  const captures: Captures = await startCaptures(plan, { primary: primary ?? '', secondary: secondary ?? '' });
  const noise: Noise = startNoise(plan);
  return {
    judge: async (vm, faultWallMs, pair, events, winner, pairBroken) => {
      noise.stop();
      const { primary, secondary } = pair;
      if (primary === null || secondary === null) return ['the pair has no two sides'];
      const [verdict, next] = events.filter(isEdgeTo('verdict'));
      const decidedMs = verdict === undefined ? null : Math.floor(verdict.atMs - Number(verdict.fields['tookMs'] ?? 0));
      const untilWallMs = next?.atMs ?? Infinity;
      const decided = decidedMs === null || winner === null ? null : { winner, atWallMs: decidedMs };
      try {
        const judged = await captures.judge(vm, { primary, secondary, faultWallMs, untilWallMs, pairBroken, verdict: decided });
        return judged.violations.map((each) => `at the switch: ${each}`);
      } catch (error) {
        return [messageOf(error)];
      }
    },
    close: async () => {
      noise.stop();
      await captures.stop();
    },
  };
}
