// What the kernel shows of QEMU's own replication sockets, read from /proc/PID/net/tcp and tcp6: data that the peer does not acknowledge,
// and repetitions of it. A host that is dark acknowledges nothing; a QEMU that hangs still has a kernel that does. Pure.

import type { Instant } from '../../shared/core/ids.js';
import type { Ports } from '../../shared/core/model.js';

export type TcpTimer = 'none' | 'retransmit' | 'keepalive' | 'time-wait' | 'zero-window';

export interface TcpSocket {
  readonly localAddress: string;
  readonly localPort: number;
  readonly remoteAddress: string;
  readonly remotePort: number;
  /** The kernel's number; 1 = established. */
  readonly state: number;
  /** Bytes sent or waiting to be sent that the peer has not acknowledged. */
  readonly unackedBytes: number;
  readonly timer: TcpTimer;
  /** Times in a row that the oldest of them was sent again without an answer. */
  readonly retransmits: number;
}

const LISTEN = 10;
const TIMERS: readonly TcpTimer[] = ['none', 'retransmit', 'keepalive', 'time-wait', 'zero-window'];

/** Lines that are not understood are left out: a kernel that adds columns at the end changes nothing here. */
export function parseTcpTable(text: string): readonly TcpSocket[] {
  return text.split('\n').flatMap((line) => {
    const fields = line.trim().split(/\s+/);
    const [, local = '', remote = '', state = '', queues = '', timer = '', retransmits = ''] = fields;
    if (!/^\d+:$/.test(fields[0] ?? '')) return [];
    const [localAddress, localPort] = parseEndpoint(local);
    const [remoteAddress, remotePort] = parseEndpoint(remote);
    if (localAddress === null || remoteAddress === null) return [];
    return [
      {
        localAddress,
        localPort,
        remoteAddress,
        remotePort,
        state: parseInt(state, 16),
        unackedBytes: parseInt(queues.split(':')[0] ?? '0', 16),
        timer: TIMERS[parseInt(timer.split(':')[0] ?? '0', 16)] ?? 'none',
        retransmits: parseInt(retransmits, 16),
      },
    ];
  });
}

/** The kernel prints each 32-bit word of an address as the processor holds it, lowest byte first on every machine that QEMU COLO runs on. */
function parseEndpoint(text: string): readonly [string | null, number] {
  const [address = '', port = ''] = text.split(':');
  const words = address.match(/.{8}/g) ?? [];
  const bytes = words.flatMap((word) => (word.match(/../g) ?? []).reverse().map((each) => parseInt(each, 16)));
  if (bytes.some(Number.isNaN)) return [null, 0];
  const number = parseInt(port, 16);
  if (bytes.length === 4) return [bytes.join('.'), number];
  if (bytes.length !== 16) return [null, 0];
  const mapped = bytes.slice(0, 10).every((each) => each === 0) && bytes[10] === 0xff && bytes[11] === 0xff;
  return [mapped ? bytes.slice(12).join('.') : ipv6(bytes), number];
}

/** The form of RFC 5952, which is also how Node and the kernel print addresses. */
function ipv6(bytes: readonly number[]): string {
  const groups = Array.from({ length: 8 }, (_, k) => (((bytes[2 * k] ?? 0) << 8) | (bytes[2 * k + 1] ?? 0)).toString(16));
  const runs = [...groups.join(':').matchAll(/(?:^|:)(0(?::0)+)(?=:|$)/g)].sort(
    (one, other) => (other[1]?.length ?? 0) - (one[1]?.length ?? 0),
  );
  const longest = runs[0];
  if (longest === undefined) return groups.join(':');
  const text = groups.join(':');
  const before = text.slice(0, longest.index).replace(/:$/, '');
  const after = text.slice(longest.index + longest[0].length).replace(/^:/, '');
  return `${before}::${after}`;
}

/** Sockets between this host and the peer on the ports of one pair. */
export function replicationSockets(sockets: readonly TcpSocket[], peerAddress: string, ports: Ports): readonly TcpSocket[] {
  const wanted = new Set([ports.migration, ports.nbd, ...ports.mirror, ...ports.compare]);
  return sockets.filter(
    (each) => each.state !== LISTEN && each.remoteAddress === peerAddress && (wanted.has(each.localPort) || wanted.has(each.remotePort)),
  );
}

/** What is remembered of the sockets between two looks. */
export interface TcpWatch {
  readonly lookedAt: Instant | null;
  readonly sockets: readonly { readonly key: string; readonly unackedBytes: number; readonly stuckSince: Instant | null }[];
  /** Most repetitions in a row on any socket. */
  readonly retransmits: number;
  /** Some peer QEMU does not read: its window is closed. */
  readonly zeroWindow: boolean;
}

export const nothingWatched: TcpWatch = { lookedAt: null, sockets: [], retransmits: 0, zeroWindow: false };

/** A socket is stuck from the look on at which it had unacknowledged data that have not become fewer since. */
export function watchTcp(before: TcpWatch, sockets: readonly TcpSocket[], now: Instant): TcpWatch {
  return {
    lookedAt: now,
    sockets: sockets.map((each) => {
      const key = `${each.localPort}-${each.remotePort}`;
      const known = before.sockets.find((other) => other.key === key);
      const stuck = each.unackedBytes > 0 && known !== undefined && known.unackedBytes > 0 && each.unackedBytes >= known.unackedBytes;
      const since = stuck ? (known.stuckSince ?? before.lookedAt) : each.unackedBytes > 0 ? now : null;
      return { key, unackedBytes: each.unackedBytes, stuckSince: since };
    }),
    retransmits: Math.max(0, ...sockets.filter((each) => each.timer !== 'zero-window').map((each) => each.retransmits)),
    zeroWindow: sockets.some((each) => each.timer === 'zero-window'),
  };
}
