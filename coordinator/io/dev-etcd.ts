// A one-member etcd as a child process, so that a first try needs no etcd. Its data stays in a folder; production gives endpoints instead.

import { spawn } from 'node:child_process';
import { mkdirSync, openSync } from 'node:fs';
import { createServer } from 'node:net';
import { join, resolve } from 'node:path';
import { fail, ok, type Result } from '../../shared/core/result.js';
import { openStore } from '../../shared/io/etcd/store.js';
import type { Clock } from '../../shared/ports.js';

export interface DevEtcd {
  /** `http://127.0.0.1:PORT`. */
  readonly endpoint: string;
  stop(): Promise<void>;
}

const START_MS = 15_000;
const STOP_MS = 2_000;

/** Errors are sentences for the operator: etcd is not installed, or what its log said. COLO_ETCD names another program than `etcd`. */
export async function startDevEtcd(clock: Clock, folder: string): Promise<Result<DevEtcd, string>> {
  const data = resolve(folder, 'etcd');
  mkdirSync(data, { recursive: true, mode: 0o700 });
  const [client, peer] = [await freePort(), await freePort()];
  const endpoint = `http://127.0.0.1:${client}`;
  const log = join(resolve(folder), 'etcd.log');
  const file = openSync(log, 'a', 0o600);
  const child = spawn(
    process.env['COLO_ETCD'] ?? 'etcd',
    [
      ['--name', 'dev'],
      ['--data-dir', data],
      ['--listen-client-urls', endpoint],
      ['--advertise-client-urls', endpoint],
      ['--listen-peer-urls', `http://127.0.0.1:${peer}`],
      ['--initial-advertise-peer-urls', `http://127.0.0.1:${peer}`],
      ['--initial-cluster', `dev=http://127.0.0.1:${peer}`],
      // The address of a peer changes with each start; a single member has nobody to tell.
      ['--force-new-cluster'],
    ].flat(),
    { stdio: ['ignore', file, file] },
  );
  const failed = new Promise<string>((tell) => {
    child.on('error', (error: NodeJS.ErrnoException) =>
      tell(error.code === 'ENOENT' ? 'etcd is not installed: apt-get install etcd-server, or name one in COLO_ETCD' : error.message),
    );
    child.on('exit', (code, signal) => tell(`etcd ended with ${signal ?? `code ${code}`}, see ${log}`));
  });
  const stop = (): Promise<void> =>
    new Promise((done) => {
      if (child.exitCode !== null || child.signalCode !== null) return done();
      const cancel = clock.after(STOP_MS, () => child.kill('SIGKILL'));
      child.on('exit', () => (cancel(), done()));
      child.kill('SIGTERM');
    });
  const problem = await Promise.race([failed, answers(clock, endpoint)]);
  if (problem === null) return ok({ endpoint, stop });
  await stop();
  return fail(problem);
}

/** Null once it answers a linearizable read. */
async function answers(clock: Clock, endpoint: string): Promise<string | null> {
  const quiet = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };
  const store = openStore([endpoint], clock, quiet);
  const began = clock.now();
  try {
    for (;;) {
      const read = await store.get('/');
      if (read.ok) return null;
      if (clock.now() - began > START_MS) return `etcd did not answer within ${START_MS} ms: ${read.error.detail}`;
      await new Promise<void>((resolve) => clock.after(100, resolve));
    }
  } finally {
    store.close();
  }
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0));
    });
  });
}
