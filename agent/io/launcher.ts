// Starts QEMU so that it outlives the agent: as a transient systemd unit with a cgroup of its own, or, on machines without systemd, as
// a process of its own session. Either way QEMU's output goes to a file by the kernel, not through us.

import { spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { fail, ok, type Result } from '../../shared/core/result.js';
import type { LaunchRequest, ProcessId } from '../ports.js';
import { messageOf } from './files.js';
import { identify } from './processes.js';
import { run } from './run.js';

export type StartProcess = (request: LaunchRequest) => Promise<Result<ProcessId, string>>;

const SYSTEMD_MS = 10_000;

export const unitName = (vm: string, born: number): string => `colo-vm-${vm}-${born}`;

/** `systemd-run` answers when QEMU was executed. The unit stays after a failure until it is collected, so that `systemctl status` can tell. */
export const startAsUnit: StartProcess = async (request) => {
  const unit = unitName(request.vm, request.born);
  const started = await run(
    'systemd-run',
    [
      `--unit=${unit}`,
      '--collect',
      '--service-type=exec',
      `--description=QEMU of VM ${request.vm}, born in epoch ${request.born}`,
      '--property=KillMode=mixed',
      '--property=OOMScoreAdjust=-500',
      '--property=LimitMEMLOCK=infinity',
      `--property=StandardOutput=append:${request.logFile}`,
      `--property=StandardError=append:${request.logFile}`,
      '--',
      ...request.argv,
    ],
    SYSTEMD_MS,
  );
  if (!started.ok) return started;
  const shown = await run('systemctl', ['show', '--property=MainPID', '--value', `${unit}.service`], SYSTEMD_MS);
  if (!shown.ok) return shown;
  return identified(Number(shown.value.trim()), request);
};

/** Its own session, so that no signal of our terminal or group reaches it. */
export const startDetached: StartProcess = (request) =>
  new Promise((resolve) => {
    const [program, ...args] = request.argv;
    if (program === undefined) return resolve(fail('an empty command line'));
    let log: number;
    try {
      log = openSync(request.logFile, 'a', 0o600);
    } catch (error) {
      return resolve(fail(messageOf(error)));
    }
    const child = spawn(program, args, { detached: true, stdio: ['ignore', log, log], cwd: '/' });
    closeSync(log);
    child.once('error', (error) => resolve(fail(`${program} cannot be started: ${error.message}`)));
    child.once('spawn', () => {
      child.unref();
      resolve(identified(child.pid ?? 0, request));
    });
  });

function identified(pid: number, request: LaunchRequest): Result<ProcessId, string> {
  const process = pid > 0 ? identify(pid) : null;
  return process === null ? fail(`QEMU ended at once; see ${request.logFile}`) : ok(process);
}
