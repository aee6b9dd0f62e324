// Runs a program to its end with a deadline, and says in one line what went wrong.

import { execFile } from 'node:child_process';
import { fail, ok, type Result } from '../../shared/core/result.js';

/** Standard output on success; on failure the program's own words. Past the deadline it is killed. `environment` is added to our own. */
export function run(
  program: string,
  args: readonly string[],
  deadlineMs: number,
  environment: Readonly<Record<string, string>> = {},
): Promise<Result<string, string>> {
  const env = { ...process.env, ...environment };
  return new Promise((resolve) => {
    execFile(program, [...args], { timeout: deadlineMs, killSignal: 'SIGKILL', maxBuffer: 1024 * 1024, env }, (error, stdout, stderr) => {
      if (error === null) return resolve(ok(stdout));
      const said = stderr.trim().split('\n').slice(-3).join('; ');
      const late = error.killed === true ? `no end within ${deadlineMs} ms` : '';
      resolve(fail(`${[program, ...args].join(' ')}: ${[late, said].filter((each) => each !== '').join(': ') || error.message}`));
    });
  });
}
