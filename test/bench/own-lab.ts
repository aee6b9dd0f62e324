// A lab for one bench: brought up for it, and taken away whatever comes of it, also when somebody interrupts.

import { bringUp, takeDown, type UpOptions } from '../../deploy/lab/lab.js';
import { LabError } from '../../deploy/lab/command.js';
import type { LabPlan } from '../../deploy/lab/plan.js';
import { collectEvidence } from '../e2e/cluster/evidence.js';

export interface BenchResult {
  readonly text: string;
  readonly held: boolean;
}

export async function onOwnLab(options: UpOptions & { readonly signal: AbortSignal }, measure: (plan: LabPlan) => Promise<BenchResult>) {
  const plan = await bringUp(options);
  const interrupted = new Promise<never>((_, reject) =>
    options.signal.addEventListener('abort', () => reject(new LabError('interrupted')), { once: true }),
  );
  try {
    return await Promise.race([measure(plan), interrupted]);
  } catch (error) {
    if (!options.signal.aborted) await collectEvidence(plan, options.name);
    throw error;
  } finally {
    await takeDown(options.name);
  }
}
