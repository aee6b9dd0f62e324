// Silencing a tap, seen from outside: a real QEMU sends frames of every kind through a real tap, and counters stand beyond the bridge.

import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { run, tryRun } from '../../../deploy/lab/command.js';
import { qemuProgram } from '../../../deploy/lab/tree.js';
import { waitFor } from '../../support/wait.js';

const program = fileURLToPath(new URL('../../../dist/test/bench/detection/silencer.js', import.meta.url));
const prefix = `sil${process.pid}`;
const [host, outside] = [`${prefix}-host`, `${prefix}-out`];
/** As nft lists them; 8021q and 8021ad are tagged frames. */
const KINDS = ['arp', 'ip6', '8021q', '8021ad', 'ip'] as const;
/** With their headers in order: a bridge drops others. Each begins where the type of Ethernet ends, or with it. */
const IPV4 = '08004500001c00000000401165160a5e00010a5e00ff0009000900080000';
const IPV6 = '6000000000081140fd000094000000000000000000000001ff0200000000000000000000000000010009000900080000';
type Counts = Record<(typeof KINDS)[number], number>;

const inside = (namespace: string, ...command: readonly string[]): Promise<string> => run('ip', ['netns', 'exec', namespace, ...command]);
const ip = (namespace: string, lines: readonly string[]): Promise<string> =>
  run('ip', ['-netns', namespace, '-batch', '-'], { input: `${lines.join('\n')}\n` });

/** A QEMU that is nothing but a tap: what comes over a unix socket, each frame after its length, leaves through the tap as a guest's would. */
class Guest {
  #qemu: ChildProcess | null = null;
  readonly #path: string;
  #socket: Socket | null = null;
  #said = '';

  constructor(folder: string) {
    this.#path = join(folder, 'frames.sock');
  }

  async start(): Promise<void> {
    const netdevs = [
      ['-netdev', `stream,id=in,server=on,addr.type=unix,addr.path=${this.#path}`],
      ['-netdev', 'tap,id=out,ifname=tap0,script=no,downscript=no,vhost=off'],
      ...['in', 'out'].map((each) => ['-netdev', `hubport,hubid=0,id=hub-${each},netdev=${each}`]),
    ];
    const argv = ['-M', 'none', '-nodefaults', '-display', 'none', ...netdevs.flat()];
    this.#qemu = spawn('ip', ['netns', 'exec', host, qemuProgram('11.1', 'qemu-system-x86_64'), ...argv], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    this.#qemu.stderr?.setEncoding('utf8').on('data', (text: string) => (this.#said += text));
    const open = (): Promise<Socket> =>
      new Promise((resolve, reject) => {
        const socket = connect(this.#path, () => resolve(socket)).once('error', reject);
      });
    this.#socket = await waitFor(open, { what: "the guest's socket", boundMs: 10_000, context: () => this.#said });
  }

  send(...types: readonly string[]): void {
    for (const type of types) {
      const frame = Buffer.concat([Buffer.from(`ffffffffffff525400770002${type}`, 'hex'), Buffer.alloc(46)]);
      const length = Buffer.alloc(4);
      length.writeUInt32BE(frame.length);
      this.#socket?.write(Buffer.concat([length, frame]));
    }
  }

  kill(): void {
    this.#socket?.destroy();
    this.#qemu?.kill('SIGKILL');
  }
}

async function counts(): Promise<Counts> {
  const listed = await inside(outside, 'nft', 'list', 'table', 'netdev', 'seen');
  const of = (kind: string): number => Number(new RegExp(`ether type ${kind} counter packets (\\d+)`).exec(listed)?.[1] ?? NaN);
  return Object.fromEntries(KINDS.map((kind) => [kind, of(kind)])) as Counts;
}

/** What came through of one round of frames. */
async function heard(guest: Guest): Promise<readonly string[]> {
  const before = await counts();
  // From the type of Ethernet on; the tags carry plain IPv4.
  guest.send('0806', `86dd${IPV6}`, `81000005${IPV4}`, `88a80005${IPV4}`, IPV4);
  let after = before;
  // Plain IPv4 passes always and is sent last; so when it is there, the others would be.
  await waitFor(
    async () => {
      after = await counts();
      return after.ip > before.ip;
    },
    { what: 'the plain IPv4 frame', boundMs: 5_000, everyMs: 20 },
  );
  return KINDS.filter((kind) => after[kind] > before[kind]);
}

class Silencer {
  readonly #child: ChildProcess;
  readonly lines: string[] = [];

  constructor() {
    this.#child = spawn('ip', ['netns', 'exec', host, process.execPath, program], { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#child.stdout?.setEncoding('utf8').on('data', (text: string) => this.lines.push(...text.trim().split('\n')));
  }

  /** Until the filter is as wanted; in milliseconds, as the program itself measured it. */
  async want(...taps: readonly string[]): Promise<number> {
    const from = this.lines.length;
    this.#child.stdin?.write(`${JSON.stringify(taps)}\n`);
    const line = await waitFor(() => this.lines.slice(from).find((each) => each.startsWith('done')), {
      what: 'the filter',
      boundMs: 5_000,
      everyMs: 5,
    });
    return Number(line.split(' ')[1]);
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }
}

describe('a silenced tap', () => {
  const folder = mkdtempSync(join(tmpdir(), 'silence-'));
  const guest = new Guest(folder);
  const silencers: Silencer[] = [];
  const silencer = (): Silencer => {
    const made = new Silencer();
    silencers.push(made);
    return made;
  };

  beforeAll(async () => {
    for (const each of [host, outside]) await run('ip', ['netns', 'add', each]);
    // The bridge's own IPv6 would be counted as the guest's.
    await inside(host, 'sysctl', '-qw', 'net.ipv6.conf.all.disable_ipv6=1', 'net.ipv6.conf.default.disable_ipv6=1');
    await ip(host, [
      'link add br0 type bridge forward_delay 0 stp_state 0 mcast_snooping 0',
      'link set br0 up',
      'tuntap add dev tap0 mode tap vnet_hdr',
      `link add up0 type veth peer name wire0 netns ${outside}`,
      ...['tap0', 'up0'].flatMap((each) => [`link set ${each} master br0`, `link set ${each} up`]),
    ]);
    await ip(outside, ['link set wire0 up']);
    const rules = join(folder, 'seen.nft');
    const counters = KINDS.map((kind) => `    ether type ${kind} counter`).join('\n');
    writeFileSync(rules, `table netdev seen {\n  chain in {\n    type filter hook ingress device wire0 priority 0;\n${counters}\n  }\n}\n`);
    await inside(outside, 'nft', '-f', rules);
    await guest.start();
  });

  afterAll(async () => {
    for (const each of [guest, ...silencers]) each.kill();
    for (const each of [host, outside]) await tryRun('ip', ['netns', 'delete', each]);
    rmSync(folder, { recursive: true, force: true });
  });

  it('before -> everything passes', async () => {
    expect(await heard(guest)).toEqual([...KINDS]);
  });

  it('silenced, lifted, silenced by an agent that then dies -> only plain IPv4 passes while it is silenced', async () => {
    const first = silencer();
    const tookMs = await first.want('tap0');
    expect(tookMs).toBeLessThan(1_000);
    expect(await heard(guest)).toEqual(['ip']);
    await first.want();
    expect(await heard(guest)).toEqual([...KINDS]);
    await first.want('tap0', 'tap9');
    first.kill();
    expect(await heard(guest)).toEqual(['ip']);
    const second = silencer();
    await waitFor(() => second.lines[0], { what: 'the next agent', boundMs: 5_000 });
    expect(second.lines[0]).toBe('found tap0 tap9');
    expect(await heard(guest)).toEqual(['ip']);
    await second.want();
    expect(await heard(guest)).toEqual([...KINDS]);
  });

  it('the table is taken away by somebody -> it is made again at the next change', async () => {
    const agent = silencer();
    await agent.want('tap0', 'tap8');
    await inside(host, 'nft', 'delete', 'table', 'bridge', 'colo_ha');
    await agent.want('tap0', 'tap9');
    expect(await heard(guest)).toEqual(['ip']);
    await agent.want();
  });

  it('ten times -> how long a change takes is told', async () => {
    const agent = silencer();
    const times: number[] = [];
    for (let k = 0; k < 5; k += 1) times.push(await agent.want('tap0'), await agent.want());
    console.log(`nft change, ms: ${times.map((each) => each.toFixed(1)).join(' ')}`);
    expect(times).toHaveLength(10);
  });
});
