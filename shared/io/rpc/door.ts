// The listening socket of a server, and all that happens to a connection before its first call. Who comes in is bounded in number, in rate
// and in time, and with TLS must show a certificate that names a role. Whoever has not made a call yet is a stranger; when there are too many
// of them the oldest goes, so that connections that never finish anything cannot keep others out.

import { createServer as createTcpServer, type AddressInfo, type Socket } from 'node:net';
import { createServer as createTlsServer, type Server as TlsServer } from 'node:tls';
import { describeIdentity, type Caller } from '../../core/access.js';
import { newcomers } from '../../core/newcomers.js';
import { fail, ok, type Result } from '../../core/result.js';
import type { Rate } from '../../core/token-bucket.js';
import type { Clock, Log } from '../../ports.js';
import { identityOfPeer, serverTlsOptions, type Security } from './security.js';

export interface DoorLimits {
  /** Connections that have not made a permitted call yet. */
  readonly strangers: number;
  /** From the TCP connection to the first permitted call. */
  readonly strangerMs: number;
  /** All connections together, and those of one peer. */
  readonly connections: number;
  readonly connectionsPerPeer: number;
  /** New connections of one address; a handshake costs about a millisecond. */
  readonly newcomers: Rate;
}

export const DOOR_LIMITS: DoorLimits = {
  strangers: 64,
  strangerMs: 5_000,
  connections: 1_024,
  connectionsPerPeer: 128,
  newcomers: { perSecond: 50, burst: 100 },
};
/** Complaints are logged at most so often; those in between are counted. */
const COMPLAIN_MS = 1_000;

/** The other end of one connection. */
export interface Peer {
  readonly caller: Caller;
  /** A certificate's holder is one peer from wherever it calls; without certificates an address is one. */
  readonly key: string;
  readonly address: string;
  /** It has made a call that it may make, and is no stranger any more. */
  settle(): void;
  /** Ends the connection. */
  cut(): void;
}

export interface DoorSetup {
  /** `address:port`; port 0 takes a free one. */
  readonly address: string;
  readonly security: Security;
  readonly limits?: DoorLimits;
  /** A connection that may speak HTTP/2 now. */
  admit(socket: Socket): void;
  /** False: this peer has to stay outside for a while. */
  isWelcome(key: string): boolean;
}

export interface Door {
  readonly port: number;
  /** Of a connection that is open; null = it is gone. */
  peerAt(address: string | undefined, port: number | undefined): Peer | null;
  /** No more connections; those that are there stay. */
  close(): void;
}

interface Guest {
  readonly socket: Socket;
  readonly address: string;
  peer: Peer | null;
  cancelDeadline(): void;
}

export function openDoor(ports: { readonly clock: Clock; readonly log: Log }, setup: DoorSetup): Promise<Result<Door, string>> {
  const { clock } = ports;
  const { security } = setup;
  const limits = setup.limits ?? DOOR_LIMITS;
  const guests = new Map<string, Guest>();
  const strangers = new Set<Guest>();
  const mayCome = newcomers(() => clock.now(), limits.newcomers);
  const complain = complaints(ports);
  const tls =
    security.kind === 'tls' ? createTlsServer({ ...serverTlsOptions(security.keeper), handshakeTimeout: limits.strangerMs }) : null;
  const stopRenewing = security.kind === 'tls' && tls !== null ? renewing(security, tls) : () => undefined;
  const tcp = createTcpServer({ noDelay: true }, enter);

  function enter(socket: Socket): void {
    const address = socket.remoteAddress ?? 'gone';
    const key = guestKey(address, socket.remotePort);
    socket.on('error', () => undefined);
    if (guests.size >= limits.connections || !mayCome(address)) {
      complain(address, 'too many connections');
      socket.destroy();
      return;
    }
    const turnOut = (): void => {
      complain(address, 'no call in time');
      socket.destroy();
    };
    const guest: Guest = { socket, address, peer: null, cancelDeadline: clock.after(limits.strangerMs, turnOut) };
    guests.set(key, guest);
    strangers.add(guest);
    socket.on('close', () => {
      guests.delete(key);
      settle(guest);
    });
    turnOutOldest();
    if (tls !== null) tls.emit('connection', socket);
    else welcome(guest, socket, { kind: 'uncertified', address });
  }

  function turnOutOldest(): void {
    const [oldest] = strangers;
    if (strangers.size <= limits.strangers || oldest === undefined) return;
    complain(oldest.address, 'too many connections without a call');
    oldest.socket.destroy();
    settle(oldest);
  }

  function settle(guest: Guest): void {
    strangers.delete(guest);
    guest.cancelDeadline();
  }

  tls?.on('secureConnection', (socket) => {
    const guest = guests.get(guestKey(socket.remoteAddress, socket.remotePort));
    socket.on('error', () => undefined);
    if (guest === undefined) return void socket.destroy();
    const identity = identityOfPeer(socket.getPeerCertificate());
    if (identity.ok) return welcome(guest, socket, { kind: 'certified', identity: identity.value });
    complain(guest.address, identity.error);
    socket.destroy();
  });
  tls?.on('tlsClientError', (error, socket) => {
    socket.on('error', () => undefined);
    const address = socket.remoteAddress;
    // Whoever hung up during the handshake has nothing to be told.
    if (address !== undefined) complain(address, error.message);
    socket.destroy();
  });

  /** `socket` is the plain or the secured one. */
  function welcome(guest: Guest, socket: Socket, caller: Caller): void {
    const key = peerKey(caller);
    const others = [...guests.values()].filter((each) => each.peer?.key === key).length;
    if (others >= limits.connectionsPerPeer || !setup.isWelcome(key)) {
      complain(guest.address, `too much of ${key}`);
      socket.destroy();
      return;
    }
    guest.peer = { caller, key, address: guest.address, settle: () => settle(guest), cut: () => void guest.socket.destroy() };
    setup.admit(socket);
  }

  const at = splitAddress(setup.address);
  return new Promise((resolve) => {
    // Also later: a connection that cannot be accepted, for want of file descriptors, is no end of the server.
    tcp.on('error', (error) => {
      if (tcp.listening) return complain('-', error.message);
      stopRenewing();
      resolve(fail(`cannot listen on ${setup.address}: ${error.message}`));
    });
    tcp.listen({ host: at.host, port: at.port }, () => {
      const door: Door = {
        port: (tcp.address() as AddressInfo).port,
        peerAt: (address, port) => guests.get(guestKey(address, port))?.peer ?? null,
        close: () => {
          stopRenewing();
          tcp.close();
        },
      };
      resolve(ok(door));
    });
  });
}

/** New handshakes use the new pair from now on; connections that are there go on as they are. */
function renewing(security: Extract<Security, { kind: 'tls' }>, tls: TlsServer): () => void {
  return security.keeper.onChange(() => tls.setSecureContext(serverTlsOptions(security.keeper)));
}

/** One line a second at most, however many strangers knock. */
export function complaints({ clock, log }: { readonly clock: Clock; readonly log: Log }): (address: string, detail: string) => void {
  let lastAt = -Infinity;
  let unsaid = 0;
  return (address, detail) => {
    const now = clock.now();
    if (now - lastAt < COMPLAIN_MS) {
      unsaid += 1;
      return;
    }
    log.warn({ address, detail, unsaid }, 'stranger-refused');
    lastAt = now;
    unsaid = 0;
  };
}

function peerKey(caller: Caller): string {
  return caller.kind === 'certified' ? describeIdentity(caller.identity) : caller.address;
}

function guestKey(address: string | undefined, port: number | undefined): string {
  return `${address ?? '?'} ${port ?? '?'}`;
}

/** `[::1]:7400` or `10.0.0.1:7400`. */
function splitAddress(text: string): { readonly host: string; readonly port: number } {
  const at = text.lastIndexOf(':');
  const host = text.slice(0, at).replace(/^\[(.*)\]$/, '$1');
  return { host, port: Number(text.slice(at + 1)) };
}
