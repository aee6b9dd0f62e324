// The judgement over captured frames, on periods made by hand; and pcap files and questions as the real world has them.

import { describe, expect, it } from 'vitest';
import { judgeCapture, type FaultPeriod } from '../../../deploy/lab/capture/judgement.js';
import { arpQuestion, ipv6Question } from '../../../deploy/lab/capture/noise.js';
import { parsePcap, streamsIn, type Frame } from '../../../deploy/lab/capture/pcap.js';

const FAULT = 10_000;
const STREAM = '10.0.0.1:7000 > 10.0.0.9:5000';

function tcp(wallMs: number, place: number, text: string, stream = STREAM): Frame {
  const payload = Buffer.from(text);
  return { wallMs, type: 'IPv4', content: { kind: 'tcp', stream, place, end: (place + payload.length) >>> 0, payload } };
}
const udp = (wallMs: number, text: string): Frame => ({
  wallMs,
  type: 'IPv4',
  content: { kind: 'datagram', stream: '10.0.0.1 > 10.0.0.9:53 udp', payload: Buffer.from(text) },
});
const arp = (wallMs: number): Frame => ({ wallMs, type: 'ARP', content: { kind: 'uncompared' } });

const promoted: FaultPeriod = {
  primary: 'a',
  secondary: 'b',
  faultWallMs: FAULT,
  untilWallMs: FAULT + 10_000,
  pairBroken: true,
  verdict: { winner: 'b', atWallMs: FAULT + 300 },
  toldByTwin: [],
  statesReceivedWallMs: [],
  suspicions: [],
};
const solo: FaultPeriod = { ...promoted, verdict: { winner: 'a', atWallMs: FAULT + 300 } };
const nobody: FaultPeriod = { ...promoted, pairBroken: false, verdict: null };

const judge = (period: FaultPeriod, a: readonly Frame[], b: readonly Frame[] = []) =>
  judgeCapture(
    new Map([
      ['a', a],
      ['b', b],
    ]),
    period,
  );

describe('IPv4 payload after a fault', () => {
  const cases: readonly {
    readonly what: string;
    readonly period: FaultPeriod;
    readonly a: readonly Frame[];
    readonly b: readonly Frame[];
    readonly says: RegExp | null;
  }[] = [
    { what: 'of the winner, after its verdict', period: promoted, a: [], b: [tcp(FAULT + 301, 1, 'yes')], says: null },
    { what: 'of the secondary before it', period: promoted, a: [], b: [tcp(FAULT + 299, 1, 'no')], says: /never the primary/ },
    {
      what: 'of the loser, as the winner sends it',
      period: promoted,
      a: [tcp(FAULT + 900, 100, 'same')],
      b: [tcp(FAULT + 400, 98, '..same..')],
      says: null,
    },
    {
      what: 'of the loser, one byte otherwise',
      period: promoted,
      a: [tcp(FAULT + 5, 100, 'same')],
      b: [tcp(FAULT + 400, 100, 'sane')],
      says: /sent other bytes/,
    },
    {
      what: 'of the loser, acknowledged and gone on from, over the end of the numbers',
      period: promoted,
      a: [tcp(FAULT + 400, 0xffff_fffe, 'last')],
      b: [tcp(FAULT + 500, 2, 'next')],
      says: null,
    },
    {
      what: 'of the loser, which nobody goes on from',
      period: promoted,
      a: [tcp(FAULT + 400, 100, 'mine')],
      b: [tcp(FAULT + 500, 100, '')],
      says: /4 bytes that nobody had agreed on/,
    },
    { what: 'on its way when the fault struck', period: promoted, a: [tcp(FAULT + 20, 100, 'mine')], b: [], says: null },
    {
      what: 'of a primary that goes on, new and before its verdict',
      period: solo,
      a: [tcp(FAULT + 250, 100, 'early'), tcp(FAULT + 400, 100, 'early')],
      b: [],
      says: /5 bytes that nobody/,
    },
    {
      what: 'of a primary that goes on, new but sent by the guest of the secondary as well',
      period: { ...solo, toldByTwin: [Buffer.from('..early..')] },
      a: [tcp(FAULT + 250, 100, 'early')],
      b: [],
      says: null,
    },
    {
      what: 'of a primary that goes on, otherwise than the guest of the secondary sent it',
      period: { ...solo, toldByTwin: [Buffer.from('..earlier')] },
      a: [tcp(FAULT + 250, 100, 'early!')],
      b: [],
      says: /6 bytes that nobody/,
    },
    {
      what: 'of a primary whose secondary has just taken a whole state of it',
      period: { ...solo, statesReceivedWallMs: [FAULT - 900, FAULT + 5] },
      a: [tcp(FAULT + 250, 100, 'early')],
      b: [],
      says: null,
    },
    {
      what: 'of a primary whose secondary took a state long before',
      period: { ...solo, statesReceivedWallMs: [FAULT - 20, FAULT + 400] },
      a: [tcp(FAULT + 250, 100, 'early')],
      b: [],
      says: /5 bytes that nobody had agreed on, 270 ms after the last checkpoint/,
    },
    {
      what: 'of a primary that goes on, repeated before its verdict',
      period: solo,
      a: [tcp(FAULT - 50, 100, 'old'), tcp(FAULT + 250, 100, 'old')],
      b: [],
      says: null,
    },
    {
      what: 'a datagram of the loser that the winner repeats',
      period: promoted,
      a: [udp(FAULT + 200, 'q')],
      b: [udp(FAULT + 900, 'q')],
      says: null,
    },
    { what: 'a datagram of the loser alone', period: promoted, a: [udp(FAULT + 200, 'q')], b: [udp(FAULT + 900, 'r')], says: /nobody/ },
    { what: 'of the loser, when all is over', period: promoted, a: [tcp(FAULT + 10_000, 1, 'next')], b: [], says: null },
    { what: 'of a primary whose pair is well', period: nobody, a: [tcp(FAULT + 900, 1, 'yes')], b: [], says: null },
    { what: 'of a secondary whose pair is well', period: nobody, a: [], b: [tcp(FAULT + 900, 1, 'no')], says: /never the primary/ },
  ];

  it.each(cases)('$what -> is let pass, or said', ({ period, a, b, says }) => {
    const { violations } = judge(period, a, b);
    expect(violations.join('\n')).toMatch(says ?? /^$/);
  });

  it('without a verdict -> is counted by what explains it', () => {
    const { unverdicted } = judge(promoted, [tcp(FAULT + 10, 100, 'abcdef')], [tcp(FAULT + 400, 103, 'def')]);
    expect(unverdicted).toEqual({ frames: 1, bytes: 6, sameBytes: 3, continuedBytes: 3, twinBytes: 0, checkpointBytes: 0 });
  });
});

describe('the streams of a capture', () => {
  it('sent twice, late and over the end of the numbers -> are each whole, up to a hole', () => {
    const other = '10.0.0.2:1 > 10.0.0.1:2';
    const frames = [
      tcp(1, 0xffff_fffd, 'abc'),
      tcp(2, 3, 'ghi'),
      tcp(3, 0xffff_fffd, 'abc'),
      tcp(4, 7, 'xyz', other),
      tcp(5, 0, 'def'),
      tcp(6, 2, 'fghijk'),
      tcp(7, 20, 'behind a hole'),
    ];
    expect(streamsIn(frames).map(String)).toEqual(['abcdefghijk', 'xyz']);
  });
});

describe('frames that are not compared', () => {
  const suspected = (period: FaultPeriod, host: string): FaultPeriod => ({ ...period, suspicions: [{ host, atWallMs: FAULT + 100 }] });

  it('until 99 ms after the suspicion -> is quick enough, and lifting is seen', () => {
    const frames = [FAULT - 5, FAULT + 50, FAULT + 199, FAULT + 310, FAULT + 900].map(arp);
    const { violations, silences } = judge(suspected(solo, 'a'), frames);
    expect(violations).toEqual([]);
    expect(silences).toEqual([{ host: 'a', suspectedAfterMs: 100, heardBefore: 1, lastHeardAfterMs: 99, liftedAfterMs: 10 }]);
  });

  it('101 ms after the suspicion -> is too late', () => {
    expect(judge(suspected(solo, 'a'), [arp(FAULT + 201)]).violations).toHaveLength(1);
  });

  it('of a loser, whenever -> is too late', () => {
    expect(judge(suspected(promoted, 'a'), [arp(FAULT + 5_000)]).violations).toHaveLength(1);
  });
});

describe('a pcap file', () => {
  const header = Buffer.from('d4c3b2a1020004000000000000000000000004000100000', 'hex');

  function file(...frames: readonly string[]): Buffer {
    const start = Buffer.alloc(24);
    header.copy(start);
    start.writeUInt32LE(1, 20);
    const packets = frames.flatMap((hex) => {
      const bytes = Buffer.from(hex, 'hex');
      const about = Buffer.alloc(16);
      about.writeUInt32LE(7, 0);
      about.writeUInt32LE(250_000, 4);
      about.writeUInt32LE(bytes.length, 8);
      about.writeUInt32LE(bytes.length, 12);
      return [about, bytes];
    });
    return Buffer.concat([start, ...packets]);
  }
  const ethernet = 'ffffffffffff525400970001';
  const ip = (protocol: string, length: string): string => `0800450000${length}000040004${'0'}${protocol}00000a6100640a6100c8`;
  // Port 7000 to 5000, sequence 0xffffffff, PSH and FIN, then two bytes and Ethernet's padding.
  const segment = `${ip('06', '2a')}1b581388ffffffff00000000501900000000000061620000`;
  const question = `${ip('11', '20')}d43100350000000071717171`;

  it('with a segment, a datagram, ARP, a tagged frame and a frame cut off -> is read as far as it is whole', () => {
    const whole = file(`${ethernet}${segment}`, `${ethernet}${question}`, `${ethernet}0806`, `${ethernet}81000005`, `${ethernet}0800`);
    const frames = parsePcap(whole.subarray(0, whole.length - 3));
    expect(frames.map((each) => [each.wallMs, each.type])).toEqual([
      [7_250, 'IPv4'],
      [7_250, 'IPv4'],
      [7_250, 'ARP'],
      [7_250, 'VLAN'],
    ]);
    expect(frames[0]?.content).toEqual({
      kind: 'tcp',
      stream: '10.97.0.100:7000 > 10.97.0.200:5000',
      place: 0xffff_ffff,
      end: 2,
      payload: Buffer.from('ab'),
    });
    expect(frames[1]?.content).toEqual({ kind: 'datagram', stream: '10.97.0.100 > 10.97.0.200:53 udp', payload: Buffer.from('qqqq') });
  });

  it('of another kind -> is refused', () => {
    expect(() => parsePcap(Buffer.alloc(24, 1))).toThrow(/not a pcap file/);
  });
});

describe('questions about a guest', () => {
  it('by ARP -> come from no address', () => {
    expect(arpQuestion('10.97.3.100').toString('hex')).toBe(
      'ffffffffffff02000097fe010806000108000604000102000097fe01000000000000000000000a610364',
    );
  });

  it('by IPv6 -> carry a checksum that adds up', () => {
    const frame = ipv6Question('52:54:00:97:00:01');
    const sum = (bytes: Buffer): number => {
      let total = 0;
      for (let at = 0; at < bytes.length; at += 2) total += bytes.readUInt16BE(at);
      return total;
    };
    // Addresses, length, next header, and the message with its checksum: all ones.
    const total = sum(frame.subarray(22, 54)) + frame.readUInt16BE(18) + 58 + sum(frame.subarray(54));
    expect(((total & 0xffff) + (total >>> 16)) & 0xffff).toBe(0xffff);
    expect(frame.subarray(62, 78).toString('hex')).toBe('fe80000000000000505400fffe970001');
  });
});
