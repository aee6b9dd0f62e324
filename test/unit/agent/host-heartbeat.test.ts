// Heartbeats over real sockets of the loopback interface: seals, refusals and the kernel's own answers.

import { createSocket } from 'node:dgram';
import { createServer, type AddressInfo } from 'node:net';
import { describe, expect, it } from 'vitest';
import { canonicalAddress, udpHeartbeats } from '../../../agent/io/host-heartbeat.js';
import { procSockets, tcpProbe } from '../../../agent/io/kernel-evidence.js';
import type { HeartbeatHandlers, HeartbeatWire } from '../../../agent/peer-ports.js';
import { waitFor } from '../../support/wait.js';

/** Two addresses of the loopback network stand for two hosts. */
const [HERE, THERE] = ['127.0.0.1', '127.0.0.2'];

/** A port that nobody listens on a moment before. */
function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const socket = createSocket('udp4').bind(0, HERE, () => {
      const { port } = socket.address();
      socket.close(() => resolve(port));
    });
  });
}

class End {
  readonly heard: string[] = [];
  refusals = 0;
  readonly wire: HeartbeatWire;

  keys: readonly string[];

  constructor(address: string, port: number, key: string | null) {
    this.keys = key === null ? [] : [key];
    const handlers: HeartbeatHandlers = {
      heard: (from, text) => this.heard.push(`${from} ${text}`),
      refused: () => (this.refusals += 1),
    };
    this.wire = udpHeartbeats({ address, port, keys: () => this.keys.map((each) => Buffer.from(each)) }, handlers);
  }
}

async function ends(hereKey: string | null, thereKey: string | null, use: (here: End, there: End) => Promise<void>): Promise<void> {
  const port = await freePort();
  const [here, there] = [new End(HERE, port, hereKey), new End(THERE, port, thereKey)];
  await use(here, there).finally(() => [here, there].forEach(({ wire }) => wire.close()));
}

/** The first of them only opens the socket. */
async function sendUntil(end: End, to: string, done: () => boolean): Promise<void> {
  await waitFor(() => (end.wire.send(to, 'beat'), done()), { what: 'a heartbeat', boundMs: 5_000, everyMs: 10 });
}

describe('heartbeats on real sockets', () => {
  it.each<[what: string, key: string | null]>([
    ['without a key', null],
    ['with the same key', 'secret'],
  ])('%s -> heard, with the address they came from', async (_what, key) => {
    await ends(key, key, async (here, there) => {
      await sendUntil(here, THERE, () => there.heard.length > 0);
      expect(there.heard[0]).toBe(`${HERE} beat`);
    });
  });

  it('whose key is replaced on one host after the other, the new one beside the old one first -> each one is heard', async () => {
    await ends('old', 'old', async (here, there) => {
      let sent = 0;
      const beat = async (): Promise<void> => {
        sent += 1;
        const text = `beat ${sent}`;
        here.wire.send(THERE, text);
        there.wire.send(HERE, text);
        const heard = (end: End): boolean => end.heard.some((each) => each.endsWith(` ${text}`));
        await waitFor(() => heard(there) && heard(here), { what: `${text} at both ends`, boundMs: 5_000, everyMs: 2 });
      };
      await sendUntil(here, THERE, () => there.heard.length > 0);
      await sendUntil(there, HERE, () => here.heard.length > 0);
      for (const [hereKeys, thereKeys] of [
        [['new', 'old'], ['old']],
        [
          ['new', 'old'],
          ['new', 'old'],
        ],
        [['new'], ['new', 'old']],
        [['new'], ['new']],
      ] as const) {
        here.keys = hereKeys;
        there.keys = thereKeys;
        for (let k = 0; k < 5; k += 1) await beat();
      }
    });
  });

  it.each<[what: string, from: string | null, to: string]>([
    ['another key', 'wrong', 'secret'],
    ['no key', null, 'secret'],
  ])('sealed with %s -> not heard', async (_what, from, to) => {
    await ends(from, to, async (here, there) => {
      await waitFor(() => there.wire.problem() === null, { what: 'a socket', boundMs: 5_000 });
      // What the other end sends to itself comes through the same socket, so that all is read in its turn.
      await sendUntil(there, THERE, () => (here.wire.send(THERE, 'beat'), there.heard.length >= 20));
      expect(there.heard.every((each) => each.startsWith(THERE))).toBe(true);
    });
  });

  it('nobody listens there any more -> refused by the kernel', async () => {
    await ends(null, null, async (here, there) => {
      there.wire.close();
      await sendUntil(here, THERE, () => here.refusals > 0);
    });
  });

  it('the port is taken -> a problem, and it goes away by itself', async () => {
    const port = await freePort();
    const first = new End(HERE, port, null);
    await sendUntil(first, HERE, () => first.heard.length > 0);
    const second = new End(HERE, port, null);
    await waitFor(() => second.wire.problem() !== null, { what: 'the problem', boundMs: 5_000, everyMs: 5 });
    first.wire.close();
    await sendUntil(second, HERE, () => second.wire.problem() === null && second.heard.length > 0);
    second.wire.close();
  });

  it('addresses -> one form each', () => {
    expect([canonicalAddress('10.0.0.1'), canonicalAddress('2001:DB8:0:0:0:0:0:1')]).toEqual(['10.0.0.1', '2001:db8::1']);
  });
});

describe("a probe of the peer's kernel", () => {
  it('closed port and open port -> answered', async () => {
    let answers = 0;
    const closed = tcpProbe(HERE, await freePort());
    closed.ask(THERE, () => (answers += 1));
    await waitFor(() => answers === 1, { what: 'the refusal', boundMs: 5_000, everyMs: 5 });
    const server = createServer((socket) => socket.on('error', () => undefined)).listen(0, THERE);
    const port = await waitFor(() => (server.address() as AddressInfo | null)?.port, { what: 'a port', boundMs: 5_000, everyMs: 5 });
    tcpProbe(HERE, port).ask(THERE, () => (answers += 1));
    await waitFor(() => answers === 2, { what: 'the connection', boundMs: 5_000, everyMs: 5 });
    const table = procSockets().read(null);
    expect(table.ok && table.value.some((each) => each.localPort === port && each.localAddress === THERE)).toBe(true);
    server.close();
  });
});
