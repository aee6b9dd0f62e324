#!/usr/bin/env node
// coloctl: gives the command line the real terminal, files, clock and network.

import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { systemClock } from '../../shared/io/clock.js';
import { systemRandom } from '../../shared/io/random.js';
import { dial } from '../../shared/io/rpc/client.js';
import { fixedTls, linkTo } from '../../shared/io/rpc/security.js';
import { lookAtHost } from './doctor/look.js';
import { run } from './program.js';

const clock = systemClock();
const random = systemRandom();
const isTerminal = process.stdout.isTTY;

// A reader that has seen enough, for example `coloctl history | head`, is no error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));

const exit = await run(
  {
    clock,
    environment: process.env,
    isTerminal,
    colour: isTerminal && (process.env['NO_COLOR'] ?? '') === '' && process.env['TERM'] !== 'dumb',
    version: versionOf(dirname(fileURLToPath(import.meta.url))),
    out: (text) => void process.stdout.write(text),
    err: (text) => void process.stderr.write(text),
    readFile: (path) => readFileSync(path === '-' ? 0 : path, 'utf8'),
    lookAtHost,
    secure: fixedTls,
    dial: (address, security) => dial({ clock, random }, address, { link: linkTo(security, { role: 'coordinator', name: null }) }),
    id: () => random.id(),
  },
  process.argv.slice(2),
);
// A connection that is still being tried to a dark host would keep the process for minutes; all that was said goes out first.
process.stdout.write('', () => process.stderr.write('', () => process.exit(exit)));

/** From the package.json above this file, which is at another depth in a build. */
function versionOf(folder: string): string {
  const file = join(folder, 'package.json');
  if (existsSync(file)) return String((JSON.parse(readFileSync(file, 'utf8')) as { version?: unknown }).version);
  return dirname(folder) === folder ? 'unknown' : versionOf(dirname(folder));
}
