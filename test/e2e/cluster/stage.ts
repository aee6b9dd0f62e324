// The stage of these tests: a whole cluster in namespaces, one for each file of tests, brought up before the first and taken away after the
// last. A test that fails leaves evidence behind while its cluster is still there.

import { existsSync } from 'node:fs';
import { basename } from 'node:path';
import { afterAll, afterEach, beforeAll } from 'vitest';
import { bringUp, bringUpVm, takeDown } from '../../../deploy/lab/lab.js';
import type { LabPlan } from '../../../deploy/lab/plan.js';
import { programs, qemuProgram, type QemuVersion } from '../../../deploy/lab/tree.js';
import { collectEvidence } from './evidence.js';

export const QEMU: QemuVersion = '11.1';
export const VM = 'demo';
const UP_MS = 400_000;
const DOWN_MS = 60_000;

/** Why these tests cannot run here; null = they can. */
export function missing(): string | null {
  if (process.getuid?.() !== 0) return 'needs root for network namespaces';
  const files = [
    qemuProgram(QEMU, 'qemu-system-x86_64'),
    programs.etcd,
    programs.agent,
    programs.coordinator,
    programs.coloctl,
    programs.prober,
  ];
  const absent = files.filter((file) => !existsSync(file));
  return absent.length > 0 ? `needs ${absent.join(', ')} (sh deploy/setup.sh lab)` : null;
}

export interface StageOptions {
  /** False: none. Else further keys of its file, worked out once the cluster is up. */
  readonly vm?: boolean | ((plan: LabPlan) => Readonly<Record<string, unknown>>);
  readonly tls?: boolean;
  readonly hostCount?: number;
}

/**
 * Brings a cluster of three hosts up for the tests of one file, with the VM `demo` running and protected unless `vm` is false. Called within
 * `describe`; the answer gives the plan once the tests run.
 */
export function useCluster(file: string, { vm = true, tls = false, hostCount = 3 }: StageOptions = {}): () => LabPlan {
  const name = `${basename(file).split('.')[0]?.slice(0, 10) ?? ''}-${process.pid}`;
  let plan: LabPlan | null = null;

  beforeAll(async () => {
    const began = performance.now();
    const report = (line: string): void => console.log(`[${((performance.now() - began) / 1000).toFixed(1).padStart(5)} s] ${line}`);
    plan = await bringUp({ name, hostCount, qemu: QEMU, tls, vm: null, report });
    if (vm === false) return;
    const up = plan;
    await bringUpVm(up, VM, { qemu: QEMU, report, ...(vm === true ? {} : { keys: vm(up) }) }).catch(async (error: unknown) => {
      await collectEvidence(up, `${file} beforeAll`);
      throw error;
    });
  }, UP_MS);

  afterEach(async ({ task }) => {
    if (plan !== null && task.result?.state === 'fail') await collectEvidence(plan, task.name);
  });

  afterAll(async () => {
    await takeDown(name);
  }, DOWN_MS);

  return () => {
    if (plan === null) throw new Error('the cluster is not up');
    return plan;
  };
}
