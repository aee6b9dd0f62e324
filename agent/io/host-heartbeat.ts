// Heartbeats over UDP on the replication network. One socket listens on the configured port; to each peer goes a connected socket of its
// own, because only to those does the kernel deliver the peer's "port unreachable", which tells a dead agent from a dark host.

import { createHmac, timingSafeEqual } from 'node:crypto';
import { createSocket, type Socket } from 'node:dgram';
import { SocketAddress, isIPv6 } from 'node:net';
import { HEARTBEAT_BYTES } from '../core/heartbeat.js';
import { closeDatagram, longestDatagram, openDatagram } from '../core/heartbeat-seals.js';
import type { HeartbeatHandlers, HeartbeatWire } from '../peer-ports.js';

export interface WireSetup {
  /** IP address on the replication network; nothing is sent from or heard on another. */
  readonly address: string;
  readonly port: number;
  /** With keys, every heartbeat carries their seals, and one without any of them is not heard. Asked at each datagram, because they may change. */
  keys(): readonly Uint8Array[];
}

/** Between attempts to listen, for example while the address is not on the host yet. */
const LISTEN_AGAIN_MS = 500;

export function canonicalAddress(address: string): string {
  return isIPv6(address) ? new SocketAddress({ address, family: 'ipv6' }).address : address;
}

export function udpHeartbeats(setup: WireSetup, handlers: HeartbeatHandlers): HeartbeatWire {
  const type = isIPv6(setup.address) ? 'udp6' : 'udp4';
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
      const text = datagram.length > LONGEST ? null : openDatagram(datagram.toString('utf8'), setup.keys(), seal, sameSeal);
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
      socket.send(closeDatagram(text, setup.keys(), seal), (error: NodeJS.ErrnoException | null) => {
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

/** No heartbeat of ours is longer, so nothing longer is looked at. */
const LONGEST = longestDatagram(HEARTBEAT_BYTES);

const seal = (key: Uint8Array, text: string): string => createHmac('sha256', key).update(text).digest('hex');

function sameSeal(one: string, other: string): boolean {
  const [given, right] = [Buffer.from(one), Buffer.from(other)];
  return given.length === right.length && timingSafeEqual(given, right);
}
