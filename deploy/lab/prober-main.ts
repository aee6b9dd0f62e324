// The prober as a process of its own, to be started inside the client's namespace. It writes one JSON line an event to standard output
// and ends, with a last line, when its standard input is closed: so it never outlives whoever started it.

import { writeSync } from 'node:fs';
import { Command, Option } from 'commander';
import { PROBE_KINDS, type ProbeKind } from './probe-log.js';
import { runProbe } from './probes.js';

interface Options {
  readonly kind: ProbeKind;
  readonly address: string;
  readonly ownAddress: string;
  readonly periodMs: string;
  readonly bytes: string;
  readonly reconnect?: true;
  readonly answerMs?: string;
}

const options = new Command('prober')
  .requiredOption('--address <address>', 'of the guest')
  .addOption(new Option('--kind <kind>', 'of traffic').choices(PROBE_KINDS).default('closed-loop'))
  .option('--own-address <address>', 'where the guest can reach this process', '0.0.0.0')
  .option('--period-ms <ms>', 'from one exchange to the next', '30')
  .option('--bytes <count>', 'of one upload or download', '262144')
  .option('--answer-ms <ms>', 'after which an exchange of a long-lived connection is given up')
  .option('--reconnect', 'connect again when the connection breaks')
  .parse()
  .opts<Options>();

const stop = new AbortController();
process.stdin.resume();
process.stdin.once('end', () => stop.abort());
process.stdin.once('error', () => stop.abort());
for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => stop.abort());

await runProbe({
  probe: options.kind,
  address: options.address,
  ownAddress: options.ownAddress,
  periodMs: Number(options.periodMs),
  bytes: Number(options.bytes),
  reconnect: options.reconnect === true,
  answerBoundMs: options.answerMs === undefined ? null : Number(options.answerMs),
  signal: stop.signal,
  // Written at once and whole: what was measured must be readable even if this process is killed.
  log: (line) => void writeSync(1, `${JSON.stringify(line)}\n`),
});
process.exit(0);
