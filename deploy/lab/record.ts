// What is known of a running lab, in `/run/colo-lab/<name>/lab.json`: enough for another process to look at it and to take it away, also
// when the one that made it was killed. Written whole or not at all. The numbers of labs are handed out here too.

import { closeSync, mkdirSync, openSync, readFileSync, readdirSync, renameSync, rmdirSync, unlinkSync, writeFileSync } from 'node:fs';
import { LabError } from './command.js';
import { DATA_BASE, MOST_LABS, RUN_BASE, planLab, type LabPlan } from './plan.js';
import type { ProcessIdentity } from './process-identity.js';

export const DAEMONS = ['etcd', 'coordinator', 'agent'] as const;
export type Daemon = (typeof DAEMONS)[number];

export interface DaemonRecord extends ProcessIdentity {
  readonly host: string;
  readonly daemon: Daemon;
}

export interface LabRecord {
  readonly version: 1;
  readonly name: string;
  readonly index: number;
  readonly hostCount: number;
  readonly qemu: string;
  /** Absent = without certificates. */
  readonly tls?: boolean;
  /** `up` only once everything was there. */
  readonly state: 'starting' | 'up';
  /** Who brings it up, so that an abandoned attempt is told from one under way. */
  readonly builder: ProcessIdentity | null;
  readonly processes: readonly DaemonRecord[];
}

const INDEX_FOLDER = `${RUN_BASE}/.numbers`;

const fileOf = (name: string): string => `${RUN_BASE}/${name}/lab.json`;

export function readRecord(name: string): LabRecord | null {
  let text: string;
  try {
    text = readFileSync(fileOf(name), 'utf8');
  } catch {
    return null;
  }
  return JSON.parse(text) as LabRecord;
}

export function writeRecord(record: LabRecord): void {
  const file = fileOf(record.name);
  mkdirSync(`${RUN_BASE}/${record.name}`, { recursive: true });
  writeFileSync(`${file}.new`, `${JSON.stringify(record, null, 2)}\n`);
  renameSync(`${file}.new`, file);
}

export function planOf(record: LabRecord): LabPlan {
  return planLab(record.name, record.index, record.hostCount, record.tls === true);
}

export function withProcess(record: LabRecord, added: DaemonRecord): LabRecord {
  const others = record.processes.filter((each) => each.host !== added.host || each.daemon !== added.daemon);
  return { ...record, processes: [...others, added] };
}

export function labNames(): readonly string[] {
  try {
    return readdirSync(RUN_BASE).filter((name) => !name.startsWith('.') && readRecord(name) !== null);
  } catch {
    return [];
  }
}

/** The lowest number, `from` or above, that no lab has. Creating its file is the claim: of two labs at once only one succeeds. */
export function claimIndex(name: string, from = 0): number {
  mkdirSync(INDEX_FOLDER, { recursive: true });
  for (let index = from; index < MOST_LABS; index += 1) {
    try {
      const file = openSync(`${INDEX_FOLDER}/${index}`, 'wx');
      writeFileSync(file, name);
      closeSync(file);
      return index;
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error;
    }
  }
  throw new LabError(`all ${MOST_LABS} numbers of labs are taken: take one down first`);
}

/** Gives every number back that this lab holds. */
export function releaseIndex(name: string): void {
  let claimed: readonly string[];
  try {
    claimed = readdirSync(INDEX_FOLDER);
  } catch {
    return;
  }
  for (const index of claimed) {
    const file = `${INDEX_FOLDER}/${index}`;
    if (readFileSync(file, 'utf8') === name) unlinkSync(file);
  }
}

/** The last lab also takes the common folders with it. A folder that is not empty, or that somebody else has just removed, is left. */
export function removeEmptyBases(): void {
  for (const folder of [INDEX_FOLDER, RUN_BASE, DATA_BASE]) {
    try {
      rmdirSync(folder);
    } catch {
      // Another lab is using it.
    }
  }
}
