// The kernel's table of TCP sockets, as Linux prints it.

import { describe, expect, it } from 'vitest';
import { nothingWatched, parseTcpTable, replicationSockets, watchTcp, type TcpSocket } from '../../../agent/core/kernel-evidence.js';
import { instant } from '../../../shared/core/ids.js';

const HEADER = '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode';
const TABLE = `${HEADER}
   0: 0100630A:4E20 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0000000000000000 100 0 0 10 0
   1: 0100630A:4E22 0200630A:D431 01 00000578:00000000 01:00000015 00000002     0        0 4712 3 0000000000000000 800 4 30 10 -1
   2: 0100630A:D432 0200630A:4E21 01 00000000:00000000 02:00000015 00000000     0        0 4713 3 0000000000000000 20 4 30 10 -1
   3: 0100630A:0016 0300630A:4E20 01 00000000:00000000 00:00000000 00000000     0        0 4714 3 0000000000000000 20 4 30 10 -1
`;
const PORTS = { migration: 20_000, nbd: 20_001, mirror: [20_002], compare: [20_003] };

const socket = (change: Partial<TcpSocket>): TcpSocket => ({
  localAddress: '10.99.0.1',
  localPort: 20_002,
  remoteAddress: '10.99.0.2',
  remotePort: 54_321,
  state: 1,
  unackedBytes: 0,
  timer: 'none',
  retransmits: 0,
  ...change,
});

describe("the kernel's table of sockets", () => {
  it('IPv4 -> addresses, unacknowledged bytes, timer and repetitions', () => {
    expect(parseTcpTable(TABLE)[1]).toEqual(socket({ remotePort: 0xd431, unackedBytes: 1_400, timer: 'retransmit', retransmits: 2 }));
  });

  it('IPv6 and IPv4 within IPv6 -> written as everybody writes them', () => {
    const line = (local: string): string => `   0: ${local}:4E22 ${local}:D431 01 00000000:00000000 00:00000000 00000000 0 0 1 1`;
    const address = (local: string): string | undefined => parseTcpTable(line(local))[0]?.localAddress;
    expect(address('0000000000000000FFFF00000100630A')).toBe('10.99.0.1');
    expect(address('B80D0120000000000000000001000000')).toBe('2001:db8::1');
    expect(address('00000000000000000000000001000000')).toBe('::1');
    expect(address('B80D012000000100000002000100FF00')).toBe('2001:db8:1:0:2:0:ff:1');
  });

  it('sockets of one pair -> those to the peer on its ports, without the listening ones', () => {
    expect(replicationSockets(parseTcpTable(TABLE), '10.99.0.2', PORTS).map((each) => each.remotePort)).toEqual([0xd431, 20_001]);
  });
});

describe('the watch over sockets', () => {
  it('unacknowledged data that do not become fewer -> stuck since they were first seen', () => {
    const looks = [0, 500, 500, 700].map((unackedBytes) => [socket({ unackedBytes })]);
    const watch = looks.reduce((before, sockets, k) => watchTcp(before, sockets, instant(100 * k)), nothingWatched);
    expect(watch.sockets[0]?.stuckSince).toBe(100);
  });

  it('some of it acknowledged -> not stuck', () => {
    const looks = [500, 200].map((unackedBytes) => [socket({ unackedBytes })]);
    const watch = looks.reduce((before, sockets, k) => watchTcp(before, sockets, instant(100 * k)), nothingWatched);
    expect(watch.sockets[0]?.stuckSince).toBe(100);
  });

  it('a closed window -> the peer does not read, and its probes are no repetitions', () => {
    const watch = watchTcp(nothingWatched, [socket({ unackedBytes: 9, timer: 'zero-window', retransmits: 4 })], instant(1));
    expect([watch.zeroWindow, watch.retransmits]).toEqual([true, 0]);
  });
});
