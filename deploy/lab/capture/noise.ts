// Makes a guest send what QEMU's compare never sees: the client asks it for its address, by ARP and by IPv6 neighbour solicitation, many times
// a second, and the guest's kernel answers. Without such traffic a silenced tap and an idle one look the same.

import { spawn } from 'node:child_process';
import type { LabPlan } from '../plan.js';

export interface Noise {
  stop(): void;
}

const PERIOD_MS = 20;
/** Neither the client's own, nor any guest's: the client's kernel has nothing to do with the answers. */
const ASKER_MAC = '02:00:00:97:fe:01';
const PACKET_SOCKET = 17;
const RAW = 3;

/** Ends by itself with whoever started it. Perl is part of every Debian, and Node has no packet sockets. */
const SEND = `
use strict; use Socket;
my ($interface, $period, @frames) = @ARGV;
open(my $index, '<', "/sys/class/net/$interface/ifindex") or die "$interface: $!";
socket(my $out, ${PACKET_SOCKET}, ${RAW}, 0) or die "socket: $!";
my $to = pack('S n l S C C a8', ${PACKET_SOCKET}, 3, scalar(<$index>) + 0, 0, 0, 0, '');
my $ended = '';
vec($ended, fileno(STDIN), 1) = 1;
until (select(my $ready = $ended, undef, undef, $period)) { send($out, pack('H*', $_), 0, $to) for @frames }
`;

export function startNoise(plan: LabPlan): Noise {
  const frames = [arpQuestion(plan.guest.address), ipv6Question(plan.guest.mac)];
  const words = ['perl', '-e', SEND, 'guest0', String(PERIOD_MS / 1_000), ...frames.map((frame) => frame.toString('hex'))];
  const child = spawn('ip', ['netns', 'exec', plan.client.namespace, ...words], { stdio: ['pipe', 'ignore', 'inherit'] });
  child.once('error', () => undefined);
  return { stop: () => void child.stdin.end() };
}

const bytesOfMac = (mac: string): Buffer => Buffer.from(mac.replaceAll(':', ''), 'hex');
const bytesOfAddress = (address: string): Buffer => Buffer.from(address.split('.').map(Number));

/** Who has that address? From nobody's own, so that the guest answers and remembers nothing of it. */
export function arpQuestion(about: string): Buffer {
  const asker = bytesOfMac(ASKER_MAC);
  return Buffer.concat([
    Buffer.alloc(6, 0xff),
    asker,
    Buffer.from('08060001080006040001', 'hex'),
    asker,
    Buffer.alloc(4),
    Buffer.alloc(6),
    bytesOfAddress(about),
  ]);
}

/** A neighbour solicitation for the link-local address that a kernel gives itself by its MAC. */
export function ipv6Question(mac: string): Buffer {
  const guest = linkLocal(mac);
  const asker = linkLocal(ASKER_MAC);
  const group = Buffer.concat([Buffer.from('ff0200000000000000000001ff', 'hex'), guest.subarray(13)]);
  const question = Buffer.concat([Buffer.from('8700000000000000', 'hex'), guest, Buffer.from('0101', 'hex'), bytesOfMac(ASKER_MAC)]);
  const length = Buffer.from([0, question.length]);
  question.writeUInt16BE(checksum(Buffer.concat([asker, group, Buffer.alloc(2), length, Buffer.from([0, 0, 0, 58]), question])), 2);
  return Buffer.concat([
    Buffer.from('3333ff', 'hex'),
    guest.subarray(13),
    bytesOfMac(ASKER_MAC),
    Buffer.from('86dd60000000', 'hex'),
    length,
    Buffer.from([58, 255]),
    asker,
    group,
    question,
  ]);
}

function linkLocal(mac: string): Buffer {
  const bytes = bytesOfMac(mac);
  const first = (bytes[0] ?? 0) ^ 0x02;
  return Buffer.concat([
    Buffer.from('fe80000000000000', 'hex'),
    Buffer.from([first]),
    bytes.subarray(1, 3),
    Buffer.from('fffe', 'hex'),
    bytes.subarray(3),
  ]);
}

function checksum(bytes: Buffer): number {
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) sum += bytes.readUInt16BE(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}
