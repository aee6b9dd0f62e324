// Starts QEMU so that it outlives the agent: as a transient systemd unit with a cgroup of its own, or, on machines without systemd, as
// a process of its own session. Either way QEMU runs as its own user, and its output goes to a file by the
// kernel, not through us.

import { spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { fail, ok, type Result } from '../../shared/core/result.js';
import type { LaunchRequest, ProcessId } from '../ports.js';
import { messageOf } from './files.js';
import { identify } from './processes.js';
import type { QemuUser } from './qemu-user.js';
import { run } from './run.js';

export type StartProcess = (request: LaunchRequest, user: QemuUser) => Promise<Result<ProcessId, string>>;

const SYSTEMD_MS = 10_000;

export const unitName = (vm: string, born: number): string => `colo-vm-${vm}-${born}`;

/**
 * What QEMU's unit may not do. It needs memory, its images, its tap and sockets; what it must not lack is left out here on purpose: devices
 * (KVM, disks) and memory limits. `KillMode=mixed`: a stop of the unit asks QEMU itself first.
 */
const CONFINEMENT: readonly string[] = [
  'KillMode=mixed',
  'OOMScoreAdjust=-500',
  'LimitMEMLOCK=infinity',
  // A core file would hold the guest's memory.
  'LimitCORE=0',
  'UMask=0077',
  'NoNewPrivileges=yes',
  'CapabilityBoundingSet=',
  'ProtectSystem=full',
  'PrivateTmp=yes',
  'ProtectKernelTunables=yes',
  'ProtectKernelModules=yes',
  'ProtectKernelLogs=yes',
  'ProtectControlGroups=yes',
  'RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6',
  'RestrictNamespaces=yes',
  'RestrictSUIDSGID=yes',
  'LockPersonality=yes',
  'SystemCallArchitectures=native',
];

/** `systemd-run` answers when QEMU was executed. The unit stays after a failure until it is collected, so that `systemctl status` can tell. */
export const startAsUnit: StartProcess = async (request, user) => {
  const unit = unitName(request.vm, request.born);
  const properties = [
    ...CONFINEMENT,
    `User=${user.name}`,
    `StandardOutput=append:${request.logFile}`,
    `StandardError=append:${request.logFile}`,
  ];
  const started = await run(
    'systemd-run',
    [
      `--unit=${unit}`,
      '--collect',
      '--service-type=exec',
      `--description=QEMU of VM ${request.vm}, born in epoch ${request.born}`,
      ...properties.map((each) => `--property=${each}`),
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
export const startDetached: StartProcess = (request, user) =>
  new Promise((resolve) => {
    const [program, ...args] = request.argv;
    if (program === undefined) return resolve(fail('an empty command line'));
    let log: number;
    try {
      log = openSync(request.logFile, 'a', 0o600);
    } catch (error) {
      return resolve(fail(messageOf(error)));
    }
    const child = spawn(program, args, { detached: true, stdio: ['ignore', log, log], cwd: '/', ...identityOf(user) });
    closeSync(log);
    child.once('error', (error) => resolve(fail(`${program} cannot be started: ${error.message}`)));
    child.once('spawn', () => {
      child.unref();
      resolve(identified(child.pid ?? 0, request));
    });
  });

/** Whoever is not root can only start processes of his own. */
function identityOf(user: QemuUser): { readonly uid?: number; readonly gid?: number } {
  return user.uid === process.getuid?.() ? {} : { uid: user.uid, gid: user.gid };
}

function identified(pid: number, request: LaunchRequest): Result<ProcessId, string> {
  const found = pid > 0 ? identify(pid) : null;
  return found === null ? fail(`QEMU ended at once; see ${request.logFile}`) : ok(found);
}
