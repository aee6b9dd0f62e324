// Heartbeats over UDP on the replication network. One socket listens on the configured port; to each peer goes a connected socket of its
// own, because only to those does the kernel deliver the peer's "port unreachable", which tells a dead agent from a dark host.

import { createHmac, timingSafeEqual } from 'node:crypto';
import { createSocket, type Socket } from 'node:dgram';
import { SocketAddress, isIPv6 } from 'node:net';
import { HEARTBEAT_BYTES } from '../core/heartbeat.js';
import type { HeartbeatHandlers, HeartbeatWire } from '../peer-ports.js';

export interface WireSetup {
  /** IP address on the replication network; nothing is sent from or heard on another. */
  readonly address: string;
  readonly port: number;
  /** With a key, every heartbeat carries its HMAC, and one without is not heard. */
  readonly key: Uint8Array | null;
}

/** Between attempts to listen, for example while the address is not on the host yet. */
const LISTEN_AGAIN_MS = 500;
const SEAL_DIGITS = 64;

export function canonicalAddress(address: string): string {
  return isIPv6(address) ? new SocketAddress({ address, family: 'ipv6' }).address : address;
}

export function udpHeartbeats(setup: WireSetup, handlers: HeartbeatHandlers): HeartbeatWire {
  const type = isIPv6(setup.address) ? 'udp6' : 'udp4';
  const seals = sealer(setup.key);
  const peers = new Map<string, { readonly socket: Socket; connected: boolean }>();
  let listening: Socket | null = null;
  let problem: string | null = null;
  let triedAt = 0;
  let closed = false;

  function listen(): void {
    triedAt = performance.now();
    const socket = createSocket({ type });
    listening = socket;
    socket.on('message', (datagram, from) => {
      const text = seals.open(datagram);
      if (text !== null) handlers.heard(canonicalAddress(from.address), text);
    });
    socket.on('error', (error) => {
      problem = `UDP ${setup.address}:${setup.port}: ${error.message}`;
      listening = null;
      socket.close();
    });
    socket.bind({ port: setup.port, address: setup.address, exclusive: true }, () => {
      problem = null;
    });
  }

  function connect(address: string): { readonly socket: Socket; connected: boolean } {
    const socket = createSocket({ type });
    const peer = { socket, connected: false };
    peers.set(address, peer);
    socket.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ECONNREFUSED') handlers.refused(address);
      else drop(address, socket);
    });
    socket.bind({ port: 0, address: setup.address, exclusive: true }, () => {
      socket.connect(setup.port, address, ((error?: Error) => {
        // Without a route there is nothing to connect to. Node hands the error to this callback, which its types do not say.
        if (error === undefined) peer.connected = true;
        else drop(address, socket);
      }) as () => void);
    });
    return peer;
  }

  /** The next beat makes another: an interface may have gone and come back. */
  function drop(address: string, socket: Socket): void {
    if (peers.get(address)?.socket !== socket) return;
    peers.delete(address);
    socket.close();
  }

  listen();
  return {
    problem: () => problem,
    send: (address, text) => {
      if (closed) return;
      if (listening === null && performance.now() - triedAt >= LISTEN_AGAIN_MS) listen();
      const { socket, connected } = peers.get(address) ?? connect(address);
      if (!connected) return;
      socket.send(seals.close(text), (error: NodeJS.ErrnoException | null) => {
        if (error?.code === 'ECONNREFUSED') handlers.refused(address);
        else if (error !== null) drop(address, socket);
      });
    },
    forget: (address) => {
      const peer = peers.get(address);
      if (peer !== undefined) drop(address, peer.socket);
    },
    close: () => {
      closed = true;
      listening?.close();
      listening = null;
      for (const [address, { socket }] of peers) drop(address, socket);
    },
  };
}

/** A datagram is the text, and with a key a newline and the HMAC-SHA256 of the text in hex. */
function sealer(key: Uint8Array | null): { open(datagram: Buffer): string | null; close(text: string): Buffer } {
  const seal = (text: string): string => (key === null ? '' : createHmac('sha256', key).update(text).digest('hex'));
  return {
    close: (text) => Buffer.from(key === null ? text : `${text}\n${seal(text)}`),
    open: (datagram) => {
      if (datagram.length > HEARTBEAT_BYTES + SEAL_DIGITS + 1) return null;
      const all = datagram.toString('utf8');
      const end = all.indexOf('\n');
      const text = end === -1 ? all : all.slice(0, end);
      if (key === null) return text;
      const [given, right] = [Buffer.from(end === -1 ? '' : all.slice(end + 1)), Buffer.from(seal(text))];
      return given.length === right.length && timingSafeEqual(given, right) ? text : null;
    },
  };
}
