// QEMUs that crashed by themselves, told by their own last words: a crash of QEMU is a fault that nobody drew, and counts like one.

import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { LabPlan } from '../../deploy/lab/plan.js';

const CRASH = /Assertion .* failed|assertion failed|Segmentation fault|core dumped|SIGSEGV|SIGABRT/;

/** One line for each crash: host, log file, and what it says. */
export function ownDeathsIn(plan: LabPlan, vm: string): readonly string[] {
  return plan.hosts.flatMap((host) => {
    const folder = join(host.agentStateDir, 'vms', vm);
    return logsIn(folder).flatMap((name) =>
      crashesIn(readFileSync(join(folder, name), 'utf8')).map((line) => `${host.name} ${name}: ${line}`),
    );
  });
}

export function crashesIn(log: string): readonly string[] {
  return log.split('\n').filter((line) => CRASH.test(line));
}

function logsIn(folder: string): readonly string[] {
  try {
    return readdirSync(folder).filter((name) => name.endsWith('.log'));
  } catch {
    return [];
  }
}
