// The QEMU processes that the agents of a lab have started, as the agents themselves noted them in
// `<stateDir>/vms/<vm>/qemu.json`. Only read here; who runs in which role is known by the coordinators alone.

import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { HostPlan, LabPlan } from './plan.js';
import { isAlive, type ProcessIdentity } from './process-identity.js';

export interface QemuNote extends ProcessIdentity {
  readonly vm: string;
  readonly host: string;
  readonly sockets: readonly string[];
  readonly logFile: string | null;
  /** Raw image of the first disk. */
  readonly disk: string;
}

export function livingQemus(plan: LabPlan): readonly QemuNote[] {
  return plan.hosts.flatMap((host) => qemusOf(host)).filter(isAlive);
}

function qemusOf(host: HostPlan): readonly QemuNote[] {
  const folder = join(host.agentStateDir, 'vms');
  return list(folder).flatMap((vm) => {
    const note = readNote(join(folder, vm, 'qemu.json'));
    return note === null ? [] : [{ ...note, vm, host: host.name, disk: join(folder, vm, 'disk0.raw') }];
  });
}

function readNote(file: string): Pick<QemuNote, 'pid' | 'startTime' | 'sockets' | 'logFile'> | null {
  let note: unknown;
  try {
    note = JSON.parse(readFileSync(file, 'utf8'));
  } catch {
    // The agent is about to write it, or has just removed it.
    return null;
  }
  if (typeof note !== 'object' || note === null || !('pid' in note) || !('startTime' in note)) return null;
  const sockets = 'sockets' in note && Array.isArray(note.sockets) ? note.sockets.filter((each) => typeof each === 'string') : [];
  const logFile = 'logFile' in note && typeof note.logFile === 'string' ? note.logFile : null;
  return { pid: Number(note.pid), startTime: String(note.startTime), sockets, logFile };
}

function list(folder: string): readonly string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
