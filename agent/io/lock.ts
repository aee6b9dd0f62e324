// One agent per state folder. The lock is the kernel's flock on an open file, taken by util-linux's `flock` on a descriptor that it
// inherits from us: the lock belongs to the open file and not to a process, so it stays when `flock` ends and goes when we die, however
// we die. It holds across network namespaces and containers that share the folder.

import { spawnSync } from 'node:child_process';
import { mkdirSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { fail, ok, type Result } from '../../shared/core/result.js';

/** The descriptor is kept open until the process ends; there is no unlock. */
export function lockStateFolder(stateDir: string): Result<{ readonly descriptor: number }, string> {
  let descriptor: number;
  try {
    mkdirSync(stateDir, { recursive: true, mode: 0o700 });
    descriptor = openSync(join(stateDir, 'lock'), 'a', 0o600);
  } catch (error) {
    return fail(`the state folder ${stateDir} cannot be used: ${error instanceof Error ? error.message : String(error)}`);
  }
  const done = spawnSync('flock', ['--exclusive', '--nonblock', '3'], { stdio: ['ignore', 'ignore', 'pipe', descriptor], timeout: 5_000 });
  if (done.error !== undefined) return fail(`flock cannot be run: ${done.error.message}`);
  if (done.status === 0) return ok({ descriptor });
  if (done.status === 1) return fail(`another colo-agent uses the state folder ${stateDir}`);
  return fail(`flock failed on ${stateDir}: ${done.stderr.toString().trim()}`);
}
