// A lab for one bench: brought up for it, and taken away whatever comes of it, also when somebody interrupts. Interrupted once, a bench ends
// after what it is at and prints what it has; a second time, at once.

import { bringUp, takeDown, type UpOptions } from '../../deploy/lab/lab.js';
import { LabError } from '../../deploy/lab/command.js';
import type { LabPlan } from '../../deploy/lab/plan.js';
import { collectEvidence } from '../e2e/cluster/evidence.js';

export interface BenchResult {
  readonly text: string;
  readonly held: boolean;
}

export interface Interruption {
  /** After the first. */
  readonly signal: AbortSignal;
  /** After the second. */
  readonly hurry: AbortSignal;
}

export async function onOwnLab(options: UpOptions & Interruption, measure: (plan: LabPlan) => Promise<BenchResult>): Promise<BenchResult> {
  const plan = await bringUp(options);
  const interrupted = new Promise<never>((_, reject) =>
    options.hurry.addEventListener('abort', () => reject(new LabError('interrupted')), { once: true }),
  );
  try {
    return await Promise.race([measure(plan), interrupted]);
  } catch (error) {
    if (!options.hurry.aborted) await collectEvidence(plan, options.name);
    throw error;
  } finally {
    await takeDown(options.name);
  }
}
