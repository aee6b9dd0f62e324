// Ends TCP connections on which the other end has never said a word. A process that is stopped, or hangs, does not accept connections, but its
// kernel does; gRPC's client then waits for the peer's first frame, and when the call is given up and its client closed, it closes the HTTP/2
// session "gracefully", which for such a peer is never. With a fresh connection for each attempt that left ten open sockets a second at each
// stopped etcd member, and when it went on it had thousands of them to greet before it came to us.

import { subscribe } from 'node:diagnostics_channel';
import type { Socket } from 'node:net';

/** Longer than any attempt of ours waits for a first answer. A server says something as soon as it has accepted. */
const SILENT_MS = 2_000;

let watching = false;

/** From now on, for all TCP connections that this process makes. Unix sockets (QMP) are left alone. Safe to repeat. */
export function endSilentConnections(): void {
  if (watching) return;
  watching = true;
  subscribe('net.client.socket', (message) => {
    const { socket } = message as { readonly socket: Socket };
    socket.once('connect', () => watch(socket));
  });
}

function watch(socket: Socket): void {
  if (socket.remoteAddress === undefined) return;
  const timer = setTimeout(() => {
    if (socket.bytesRead === 0) socket.destroy();
  }, SILENT_MS);
  timer.unref();
  socket.once('close', () => clearTimeout(timer));
}
