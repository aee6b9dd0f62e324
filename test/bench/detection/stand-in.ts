// Stands for one QEMU of a pair, as a process that outlives the agent: one TCP stream to its peer, on which checkpoints are asked for and
// acknowledged. Over a unix socket the agent forces one (`C`), and hears of each that ended (`R`), as it would by RESUME.

import { readFileSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { systemClock } from '../../../shared/io/clock.js';

export interface StandInOptions {
  readonly role: 'primary' | 'secondary';
  readonly address: string;
  readonly peerAddress: string;
  readonly port: number;
  readonly monitor: string;
  readonly checkpointDelayMs: number;
}

const AGAIN_MS = 100;

const clock = systemClock();
const options = JSON.parse(readFileSync(0, 'utf8')) as StandInOptions;
const agents = new Set<Socket>();
let stream: Socket | null = null;
let asked = false;

function resumed(): void {
  asked = false;
  for (const agent of agents) agent.write('R');
}

/** One at a time, as in QEMU: who does not get its answer waits for ever. */
function ask(): void {
  if (options.role !== 'primary' || stream === null || asked) return;
  asked = true;
  stream.write('C');
}

function take(socket: Socket): void {
  stream = socket;
  asked = false;
  socket.setNoDelay(true);
  socket.on('error', () => undefined);
  socket.on('data', () => {
    if (options.role === 'secondary') socket.write('A');
    resumed();
  });
}

function dial(): void {
  const socket = connect({ host: options.peerAddress, port: options.port, localAddress: options.address });
  socket.once('connect', () => take(socket));
  socket.once('error', () => clock.after(AGAIN_MS, dial));
}

function checkpointForEver(): void {
  ask();
  clock.after(options.checkpointDelayMs, checkpointForEver);
}

createServer((agent) => {
  agents.add(agent);
  agent.on('data', () => ask());
  agent.on('error', () => undefined);
  agent.once('close', () => agents.delete(agent));
}).listen(options.monitor);
if (options.role === 'secondary') createServer(take).listen(options.port, options.address);
else dial();
checkpointForEver();
