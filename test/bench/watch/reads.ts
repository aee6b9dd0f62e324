// Asks every etcd member for a linearizable read all the time, over etcd's own HTTP: whether there is a quorum is what etcd says, and not
// what any program of ours believes.

import { waitFor } from '../../../deploy/lab/command.js';
import { members, type LabPlan } from '../../../deploy/lab/plan.js';
import { monoMs } from '../../../deploy/lab/probes.js';

const ASK_EVERY_MS = 20;
/** A member without a quorum holds a read back; a new question then finds out sooner than the old one. */
const ANSWER_MS = 500;
const LONGEST_WATCH_MS = 24 * 3_600_000;

export interface QuorumReads {
  /** The instant of the first answer after that one. */
  returned(afterMonoMs: number, boundMs: number, signal?: AbortSignal): Promise<number>;
  /** The longest time without any answer since that instant, milliseconds. */
  longestGap(sinceMonoMs: number): number;
  stop(): Promise<void>;
}

export function openReads(plan: LabPlan): QuorumReads {
  const answers: number[] = [];
  let stopped = false;
  const body = JSON.stringify({ key: Buffer.from('/').toString('base64'), serializable: false });

  async function ask(url: string): Promise<void> {
    try {
      const signal = AbortSignal.timeout(ANSWER_MS);
      const answer = await fetch(`${url}/v3/kv/range`, { method: 'POST', body, signal });
      await answer.text();
      if (answer.ok) answers.push(monoMs());
    } catch {
      // No answer is what is measured.
    }
  }

  const asking = members(plan).map((host) =>
    waitFor({ what: 'end of the reads', boundMs: LONGEST_WATCH_MS, everyMs: ASK_EVERY_MS }, async () => {
      if (stopped) return true;
      await ask(host.etcdClientUrl);
      return null;
    }),
  );

  return {
    returned: (afterMonoMs, boundMs, signal) =>
      waitFor(
        { what: 'linearizable read of etcd', boundMs, everyMs: 2, ...(signal === undefined ? {} : { signal }) },
        () => answers.find((each) => each >= afterMonoMs) ?? null,
      ),
    longestGap: (sinceMonoMs) => {
      const moments = [sinceMonoMs, ...answers.filter((each) => each >= sinceMonoMs), monoMs()];
      return Math.max(...moments.slice(1).map((to, position) => to - (moments[position] ?? to)));
    },
    stop: async () => {
      stopped = true;
      await Promise.all(asking);
    },
  };
}
