// `npm run demo`: a guest outlives its host, before one's eyes. Brings a cluster up, protects a VM, opens one TCP connection to the guest,
// kills the primary and then the new secondary, each time waits until the VM is protected again, and tells what the client noticed.
// With `--packaged` it does so on installed services, see packaged.ts. Ends with 0 only if everything held. Cleans up after itself, also when it fails or is interrupted.

import { mkdirSync } from 'node:fs';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { rehearsePackaged } from './packaged.js';
import { rehearse, type Rehearsal } from './rehearsal.js';
import { messageOf } from '../lab/command.js';
import { takeDown } from '../lab/lab.js';
import { tree } from '../lab/tree.js';

const EXIT_NOT_HELD = 1;
const EXIT_INTERRUPTED = 130;

const beganMs = performance.now();

function say(line: string): void {
  const seconds = ((performance.now() - beganMs) / 1000).toFixed(1);
  process.stdout.write(`[${seconds.padStart(6)} s] ${line}\n`);
}

function show(title: string, text: string): void {
  const indented = text.trimEnd().replace(/^/gm, '    ');
  process.stdout.write(`\n    $ ${title}\n${indented}\n\n`);
}

if (process.getuid?.() !== 0) {
  process.stderr.write('The demo makes network namespaces and taps, so it must be run as root.\n');
  process.exit(2);
}

const packaged = process.argv.includes('--packaged');
// What boots a systemd is wanted for this one only.
if (packaged) execFileSync('sh', [join(tree, 'deploy/setup.sh'), 'tests'], { stdio: 'inherit' });
const name = `demo-${process.pid}`;
mkdirSync('/run/colo-lab', { recursive: true });
const interruption = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.once(signal, () => {
    say(`${signal}: cleaning up`);
    interruption.abort();
  });
}

let outcome: Rehearsal | null = null;
let failure: string | null = null;
try {
  outcome = packaged
    ? await rehearsePackaged({ name, suite: 'trixie', say, show, signal: interruption.signal })
    : await rehearse({ name, say, show, signal: interruption.signal });
} catch (error) {
  failure = interruption.signal.aborted ? 'interrupted' : messageOf(error);
}
say('taking the cluster away');
await takeDown(name);

if (outcome === null) {
  process.stdout.write(`\nThe demo did not come to its end: ${failure ?? 'unknown'}\n`);
  process.exit(interruption.signal.aborted ? EXIT_INTERRUPTED : EXIT_NOT_HELD);
}
process.stdout.write(`\n${outcome.summary}\n`);
process.exit(outcome.held ? 0 : EXIT_NOT_HELD);
