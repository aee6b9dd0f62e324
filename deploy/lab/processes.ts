// Starts the daemons of a lab, each in its host's namespace and in a session of its own, and stops, kills, pauses and restarts single
// ones for tests. A daemon outlives whoever started it; its pid and start time are in the lab's record.

import { spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { LabError } from './command.js';
import { commandOf, logFile } from './daemons.js';
import type { HostPlan, LabPlan } from './plan.js';
import { identify, isAlive, sendSignal, waitForEnd, type ProcessIdentity } from './process-identity.js';
import { readRecord, withProcess, writeRecord, type Daemon, type DaemonRecord, type LabRecord } from './record.js';

const STOP_MS = 10_000;
const KILL_MS = 5_000;

export type Environment = Readonly<Record<string, string>>;

/** Starts it even if an earlier one is recorded; the caller knows that that one has ended. `environment`: beside this process's own. */
export async function startDaemon(plan: LabPlan, host: HostPlan, daemon: Daemon, environment: Environment = {}): Promise<DaemonRecord> {
  const identity = await spawnDetached(host.namespace, commandOf(plan, host, daemon), logFile(host, daemon), environment);
  const record: DaemonRecord = { ...identity, host: host.name, daemon };
  writeRecord(withProcess(recordOf(plan), record));
  return record;
}

/** `ip netns exec` becomes the program itself, so the child's pid is the daemon's. */
function spawnDetached(namespace: string, command: readonly string[], log: string, environment: Environment): Promise<ProcessIdentity> {
  const output = openSync(log, 'a');
  return new Promise((resolve, reject) => {
    const child = spawn('ip', ['netns', 'exec', namespace, ...command], {
      detached: true,
      stdio: ['ignore', output, output],
      cwd: '/',
      env: { ...process.env, ...environment },
    });
    closeSync(output);
    child.once('error', (error) => reject(new LabError(`${command.join(' ')}: ${error.message}`)));
    child.once('spawn', () => {
      child.unref();
      const identity = child.pid === undefined ? null : identify(child.pid);
      if (identity === null) reject(new LabError(`${command.join(' ')} ended at once: ${lastLines(log)}`));
      else resolve(identity);
    });
  });
}

export function daemonOf(record: LabRecord, host: string, daemon: Daemon): DaemonRecord | null {
  return record.processes.find((each) => each.host === host && each.daemon === daemon) ?? null;
}

/** Throws when no such daemon is alive. */
export function livingDaemon(plan: LabPlan, host: HostPlan, daemon: Daemon): DaemonRecord {
  const found = daemonOf(recordOf(plan), host.name, daemon);
  if (found === null || !isAlive(found)) throw new LabError(`${daemon} of ${host.name} does not run: ${lastLines(logFile(host, daemon))}`);
  return found;
}

/** SIGTERM, and its end is waited for. */
export async function stopDaemon(plan: LabPlan, host: HostPlan, daemon: Daemon): Promise<void> {
  const target = livingDaemon(plan, host, daemon);
  sendSignal(target, 'SIGTERM');
  await waitForEnd(target, STOP_MS);
}

/** SIGKILL, and its end is waited for. */
export async function killDaemon(plan: LabPlan, host: HostPlan, daemon: Daemon): Promise<void> {
  await killProcess(livingDaemon(plan, host, daemon));
}

/** SIGSTOP: it is there and says nothing more. */
export function pauseDaemon(plan: LabPlan, host: HostPlan, daemon: Daemon): void {
  sendSignal(livingDaemon(plan, host, daemon), 'SIGSTOP');
}

export function resumeDaemon(plan: LabPlan, host: HostPlan, daemon: Daemon): void {
  sendSignal(livingDaemon(plan, host, daemon), 'SIGCONT');
}

/** Kills it if it runs, then starts it anew. */
export async function restartDaemon(plan: LabPlan, host: HostPlan, daemon: Daemon, environment: Environment = {}): Promise<DaemonRecord> {
  const running = daemonOf(recordOf(plan), host.name, daemon);
  if (running !== null) await killProcess(running);
  return startDaemon(plan, host, daemon, environment);
}

/** SIGKILL also ends a stopped process. Nothing happens if it has gone already. */
export async function killProcess(target: ProcessIdentity): Promise<void> {
  if (sendSignal(target, 'SIGKILL')) await waitForEnd(target, KILL_MS);
}

export function lastLines(file: string, count = 5): string {
  try {
    const lines = readFileSync(file, 'utf8').trimEnd().split('\n').slice(-count).join('\n');
    return lines === '' ? `(${file} is empty)` : `${file} ends with\n${lines}`;
  } catch {
    return `(there is no ${file})`;
  }
}

function recordOf(plan: LabPlan): LabRecord {
  const record = readRecord(plan.name);
  if (record === null) throw new LabError(`there is no lab "${plan.name}"`);
  return record;
}
