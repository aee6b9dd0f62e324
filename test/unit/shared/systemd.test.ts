// What systemd is told, with a stand-in for systemd-notify that writes down its arguments.

import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, expect, it } from 'vitest';
import { connectSystemd } from '../../../shared/io/systemd.js';
import { fakeLog } from '../../fakes/clock.js';
import { eventually } from '../../support/wait.js';

const folder = mkdtempSync(join(tmpdir(), 'colo-notify-'));
const told = join(folder, 'told');
afterEach(() => rmSync(told, { force: true }));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function environment(script: string): NodeJS.ProcessEnv {
  const program = join(folder, 'systemd-notify');
  writeFileSync(program, `#!/bin/sh\n${script}\n`);
  chmodSync(program, 0o755);
  return { PATH: `${folder}:${process.env['PATH'] ?? ''}`, NOTIFY_SOCKET: '/run/x', WATCHDOG_USEC: '10000000' };
}

const lines = (): string[] => (existsSync(told) ? readFileSync(told, 'utf8').trim().split('\n').sort() : []);

it('under systemd -> each state is notified, a status only when it differs', async () => {
  const systemd = connectSystemd(fakeLog(), environment(`for each in "$@"; do last=$each; done; echo "$last" >> ${told}`));
  expect(systemd.watchdogMs).toBe(10_000);
  systemd.ready();
  systemd.status('leads\nterm 7');
  systemd.status('leads\nterm 7');
  systemd.alive();
  systemd.stopping();
  await eventually('four notifications', 5_000, () => lines().length === 4);
  expect(lines()).toEqual(['READY=1', 'STATUS=leads term 7', 'STOPPING=1', 'WATCHDOG=1']);
});

it('systemd-notify fails -> said once in the log, and the daemon goes on', async () => {
  const log = fakeLog();
  const systemd = connectSystemd(log, environment('exit 1'));
  systemd.ready();
  await eventually('the warning', 5_000, () => log.lines.length === 1);
  systemd.alive();
  systemd.stopping();
  expect(log.lines).toHaveLength(1);
});

it('started by hand -> nothing is run', () => {
  const systemd = connectSystemd(fakeLog(), { PATH: '/nonexistent' });
  systemd.ready();
  expect(systemd.watchdogMs).toBeNull();
});
