// Tells systemd how the daemon is. It runs `systemd-notify`, because Node has no datagram sockets for unix paths; the unit therefore needs
// NotifyAccess=all. Without NOTIFY_SOCKET every call does nothing, so that a daemon started by hand behaves the same.

import { execFile } from 'node:child_process';
import type { Log } from '../ports.js';

export interface Systemd {
  ready(): void;
  /** One line for `systemctl status`. Sent only when it differs from the last one. */
  status(text: string): void;
  /** To be called at least every `watchdogMs / 2`, and only by a loop that really turns. */
  alive(): void;
  stopping(): void;
  /** WatchdogSec of the unit in milliseconds; null = no watchdog. */
  readonly watchdogMs: number | null;
}

export function connectSystemd(log: Log, environment: NodeJS.ProcessEnv = process.env): Systemd {
  const socket = environment['NOTIFY_SOCKET'];
  const watchdogUs = Number(environment['WATCHDOG_USEC'] ?? '');
  let lastStatus = '';
  let complained = false;

  function send(...assignments: string[]): void {
    if (socket === undefined || socket === '') return;
    // A notification that fails must never hurt the daemon; a missing watchdog ping shows by itself.
    execFile('systemd-notify', assignments, { env: { PATH: environment['PATH'], NOTIFY_SOCKET: socket }, timeout: 5_000 }, (error) => {
      if (error === null || complained) return;
      complained = true;
      log.warn({ error: error.message }, 'systemd-notify-failed');
    });
  }

  return {
    ready: () => send('READY=1'),
    status: (text) => {
      if (text === lastStatus) return;
      lastStatus = text;
      send(`STATUS=${text.replaceAll('\n', ' ')}`);
    },
    alive: () => send('WATCHDOG=1'),
    stopping: () => send('STOPPING=1'),
    watchdogMs: socket !== undefined && watchdogUs > 0 ? watchdogUs / 1_000 : null,
  };
}
