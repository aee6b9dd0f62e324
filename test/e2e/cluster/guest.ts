// Single lines to the tiny guest, for what probers do not do: reboot, power off, read a record back. See `deploy/lab/guest/lines.c`.

import { tryRun } from '../../../deploy/lab/command.js';
import { LINE_PORT } from '../../../deploy/lab/guest-protocol.js';
import { guestAddress, type LabPlan } from '../../../deploy/lab/plan.js';
import { waitFor } from '../../support/wait.js';

const SAY_MS = 10_000;

/** $0 = address, $1 = port, $2 = line. */
const ASK = 'exec 3<>"/dev/tcp/$0/$1" && printf "%s\\n" "$2" >&3 && head -n 1 <&3';
const TELL = 'exec 3<>"/dev/tcp/$0/$1" && printf "%s\\n" "$2" >&3';

async function speak(plan: LabPlan, script: string, line: string, number: number): Promise<string | null> {
  const command = ['timeout', '4', 'bash', '-c', script, guestAddress(plan, number), String(LINE_PORT), line];
  const ran = await tryRun('ip', ['netns', 'exec', plan.client.namespace, ...command], { deadlineMs: SAY_MS });
  return ran.status === 0 ? ran.stdout.trim() : null;
}

/** The guest's answer to one line on a connection of its own, asked again until it gives one. `number`: which guest of the lab. */
export async function ask(plan: LabPlan, line: string, boundMs: number, number = 0): Promise<string> {
  const answer = async (): Promise<string | null> => {
    const said = await speak(plan, ASK, line, number);
    return said === '' ? null : said;
  };
  return waitFor(answer, { what: `the guest's answer to "${line}"`, boundMs });
}

/** Says a line to which there is no answer, because the guest ends or begins anew. */
export async function tell(plan: LabPlan, line: 'reboot' | 'poweroff', number = 0): Promise<void> {
  if ((await speak(plan, TELL, line, number)) === null) throw new Error(`the guest did not take "${line}"`);
}

/** Identity of the guest's present boot. */
export async function bootOf(plan: LabPlan, boundMs: number, number = 0): Promise<string> {
  const boot = /^stat \d+ ([0-9a-f]{8}) /.exec(await ask(plan, 'stat', boundMs, number))?.[1];
  if (boot === undefined) throw new Error('the guest told no boot id');
  return boot;
}
