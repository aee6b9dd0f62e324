// Reads what tcpdump has written, and takes Ethernet frames apart as far as a judgement over a guest's output needs it: which stream, which
// place in it, and which bytes. A file that is still being written may end in the middle of a frame; what is whole is read.

const FILE_HEADER = 24;
const PACKET_HEADER = 16;
const MAGIC_MICROSECONDS = 0xa1b2c3d4;
const ETHERNET_HEADER = 14;
const IPV4 = 0x0800;
const TCP = 6;
const UDP = 17;
const FIN = 0x01;
const SYN = 0x02;

export interface Frame {
  /** Milliseconds since 1970, with the fractions that the kernel gave. */
  readonly wallMs: number;
  /** For people: `ARP`, `IPv6`, `VLAN`, or the type in hexadecimal; `IPv4` otherwise. */
  readonly type: string;
  readonly content: FrameContent;
}

export type FrameContent =
  /** `place`: sequence number of the first byte of the payload, with SYN counted; `end`: of what would come next. */
  | { readonly kind: 'tcp'; readonly stream: string; readonly place: number; readonly end: number; readonly payload: Buffer }
  | { readonly kind: 'datagram'; readonly stream: string; readonly payload: Buffer }
  /** What QEMU's compare never sees: everything that is not plain IPv4. */
  | { readonly kind: 'uncompared' };

/** Throws for anything but a little-endian pcap file of Ethernet frames, which is what tcpdump writes on the machines that QEMU runs on. */
export function parsePcap(file: Buffer): readonly Frame[] {
  if (file.length < FILE_HEADER) return [];
  if (file.readUInt32LE(0) !== MAGIC_MICROSECONDS || file.readUInt32LE(20) !== 1) throw new Error('not a pcap file of Ethernet frames');
  const frames: Frame[] = [];
  for (let at = FILE_HEADER; at + PACKET_HEADER <= file.length;) {
    const length = file.readUInt32LE(at + 8);
    const begin = at + PACKET_HEADER;
    if (begin + length > file.length) break;
    const wallMs = file.readUInt32LE(at) * 1_000 + file.readUInt32LE(at + 4) / 1_000;
    frames.push({ wallMs, ...frameFrom(file.subarray(begin, begin + length)) });
    at = begin + length;
  }
  return frames;
}

/** The payload of each TCP stream, whole and in order, whatever was sent twice or late; a hole ends it. */
export function streamsIn(frames: readonly Frame[]): readonly Buffer[] {
  const streams = new Map<string, { at: number; parts: Buffer[]; late: Map<number, Buffer> }>();
  for (const { content } of frames) {
    if (content.kind !== 'tcp' || content.payload.length === 0) continue;
    const stream = streams.get(content.stream) ?? { at: content.place, parts: [], late: new Map<number, Buffer>() };
    streams.set(content.stream, stream);
    stream.late.set(content.place, content.payload);
    for (let next = takeNext(stream); next !== null; next = takeNext(stream)) {
      stream.parts.push(next);
      stream.at = (stream.at + next.length) >>> 0;
    }
  }
  return [...streams.values()].map((each) => Buffer.concat(each.parts));
}

/** What goes on where a stream has got to; what it has already is forgotten. */
function takeNext(stream: { readonly at: number; readonly late: Map<number, Buffer> }): Buffer | null {
  for (const [place, payload] of stream.late) {
    const known = (stream.at - place) | 0;
    if (known < 0) continue;
    stream.late.delete(place);
    if (known < payload.length) return payload.subarray(known);
  }
  return null;
}

function frameFrom(bytes: Buffer): Pick<Frame, 'type' | 'content'> {
  const etherType = bytes.length < ETHERNET_HEADER ? 0 : bytes.readUInt16BE(12);
  if (etherType === IPV4) return { type: 'IPv4', content: ipv4(bytes.subarray(ETHERNET_HEADER)) };
  const names: Readonly<Record<number, string>> = { 0x0806: 'ARP', 0x86dd: 'IPv6', 0x8100: 'VLAN', 0x88a8: 'VLAN' };
  return { type: names[etherType] ?? `0x${etherType.toString(16).padStart(4, '0')}`, content: { kind: 'uncompared' } };
}

function ipv4(packet: Buffer): FrameContent {
  const header = (packet.readUInt8(0) & 0x0f) * 4;
  // Ethernet pads short frames; the packet's own length says what is the guest's.
  const body = packet.subarray(header, packet.readUInt16BE(2));
  const protocol = packet.readUInt8(9);
  const [from, to] = [address(packet, 12), address(packet, 16)];
  const fragment = (packet.readUInt16BE(6) & 0x1fff) !== 0;
  if (fragment || (protocol !== TCP && protocol !== UDP)) {
    return { kind: 'datagram', stream: `${from} > ${to} protocol ${protocol}`, payload: body };
  }
  // Without the source port of UDP: the two sides of a pair may choose different ones for the same question.
  if (protocol === UDP) return { kind: 'datagram', stream: `${from} > ${to}:${body.readUInt16BE(2)} udp`, payload: body.subarray(8) };
  const stream = `${from}:${body.readUInt16BE(0)} > ${to}:${body.readUInt16BE(2)}`;
  const flags = body.readUInt8(13);
  const payload = body.subarray((body.readUInt8(12) >> 4) * 4);
  const place = (body.readUInt32BE(4) + ((flags & SYN) === 0 ? 0 : 1)) >>> 0;
  return { kind: 'tcp', stream, place, end: (place + payload.length + ((flags & FIN) === 0 ? 0 : 1)) >>> 0, payload };
}

function address(packet: Buffer, at: number): string {
  return [...packet.subarray(at, at + 4)].join('.');
}
