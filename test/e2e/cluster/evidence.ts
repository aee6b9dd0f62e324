// What is left for whoever reads of a red test: the cluster's own words, the ends of all logs, and what each QEMU was doing, down to the
// stacks of its threads, so that a QEMU that hangs is told from a program of ours that waits. Kept in a folder whose path is printed.

import { mkdirSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { messageOf, tryRun } from '../../../deploy/lab/command.js';
import { coloctlEnvironment, type HostPlan, type LabPlan } from '../../../deploy/lab/plan.js';
import { livingQemus } from '../../../deploy/lab/qemus.js';
import { programs } from '../../../deploy/lab/tree.js';

const TAIL_BYTES = 256 * 1024;
const STACKS_MS = 30_000;
const CALL_MS = 15_000;

/** Never throws: a test that is red stays red for its own reason. */
export async function collectEvidence(plan: LabPlan, what: string): Promise<string> {
  const folder = mkdtempSync(`/tmp/colo-failure-${what.replace(/[^a-zA-Z0-9]+/g, '-').slice(0, 40)}-`);
  const keep = (name: string, text: string): void => writeFileSync(join(folder, name), text);
  for (const args of [
    ['status', '-o', 'wide'],
    ['status', '-o', 'json'],
    ['history', '-o', 'json'],
  ])
    keep(`coloctl-${args.join('-')}.txt`, await said(process.execPath, [programs.coloctl, ...args], coloctlEnvironment(plan)));
  for (const host of plan.hosts) keepLogs(host, join(folder, host.name));
  for (const file of filesIn(plan.runFolder, /\.jsonl$/)) keep(basename(file), tail(file));
  for (const qemu of livingQemus(plan)) {
    const name = `qemu-${qemu.host}-${qemu.pid}`;
    keep(`${name}-proc.txt`, threadsOf(qemu.pid));
    keep(`${name}-stacks.txt`, await said('gdb', ['-p', String(qemu.pid), '-batch', '-nx', '-ex', 'thread apply all backtrace']));
  }
  console.error(`\n"${what}" failed; what was found is in ${folder}${await hung(plan)}`);
  return folder;
}

/** A hang of QEMU itself is said in as many words. */
async function hung(plan: LabPlan): Promise<string> {
  const text = await said(process.execPath, [programs.coloctl, 'status', '-o', 'wide'], coloctlEnvironment(plan));
  const lines = text.split('\n').filter((line) => /qemu hung/.test(line));
  return lines.length === 0 ? '' : `\nQEMU ITSELF HANGS (its stacks are there):\n${lines.join('\n')}`;
}

function keepLogs(host: HostPlan, folder: string): void {
  mkdirSync(folder, { recursive: true });
  const vms = join(host.agentStateDir, 'vms');
  const files = [
    ...filesIn(host.runFolder, /\.(log|yaml)$/),
    ...namesIn(vms).flatMap((vm) => filesIn(join(vms, vm), /\.(log|json|colo-stamp)$/).map((file) => file)),
  ];
  for (const file of files)
    writeFileSync(join(folder, file.startsWith(vms) ? file.slice(vms.length + 1).replaceAll('/', '-') : basename(file)), tail(file));
}

/** What the kernel knows of a process and of each of its threads. */
function threadsOf(pid: number): string {
  const parts = [
    `/proc/${pid}/status`,
    ...namesIn(`/proc/${pid}/task`).flatMap((task) =>
      ['comm', 'wchan', 'syscall', 'stack', 'status'].map((each) => `/proc/${pid}/task/${task}/${each}`),
    ),
  ];
  return parts.map((part) => `--- ${part}\n${tail(part)}\n`).join('');
}

async function said(program: string, args: readonly string[], environment: Readonly<Record<string, string>> = {}): Promise<string> {
  try {
    const ran = await tryRun(program, args, {
      deadlineMs: program === 'gdb' ? STACKS_MS : CALL_MS,
      environment,
    });
    return `${ran.stdout}${ran.stderr}(exit status ${ran.status})\n`;
  } catch (error) {
    return `${messageOf(error)}\n`;
  }
}

function tail(file: string): string {
  try {
    return readFileSync(file, 'utf8').slice(-TAIL_BYTES);
  } catch (error) {
    return messageOf(error);
  }
}

function filesIn(folder: string, pattern: RegExp): readonly string[] {
  return namesIn(folder)
    .filter((name) => pattern.test(name))
    .map((name) => join(folder, name));
}

function namesIn(folder: string): readonly string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
