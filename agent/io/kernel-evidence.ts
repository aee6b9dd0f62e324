// Evidence from kernels: the list of TCP sockets in /proc, which costs one file read, and the refusal of a connection to a closed port of
// the peer. A refusal is made by the peer's kernel alone, also while its agent is dead or stopped; unlike ICMP it is not rate-limited
// (measured: ICMP "port unreachable" comes six times and then once a second), and it needs no raw socket and no `ping`.

import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { parseTcpTable } from '../core/kernel-evidence.js';
import type { KernelProbe, SocketTables } from '../peer-ports.js';
import { fail, ok } from '../../shared/core/result.js';

/** An answer that takes longer is none. */
const ANSWER_MS = 1_000;
/** Per peer. One probe a beat for a second is 20 to 50. */
const MAX_OPEN = 64;

/** `port`: closed on every host; the heartbeats' number, which nothing uses in TCP. An accepted connection is an answer as well. */
export function tcpProbe(localAddress: string, port: number): KernelProbe {
  const open = new Set<Socket>();
  return {
    ask: (address, answered) => {
      const [oldest] = open;
      if (open.size >= MAX_OPEN) oldest?.destroy();
      const socket = connect({ host: address, port, localAddress });
      open.add(socket);
      socket.setTimeout(ANSWER_MS, () => socket.destroy());
      socket.once('connect', () => {
        answered();
        // No FIN that would wait for a peer that may be dying.
        socket.resetAndDestroy();
      });
      socket.on('error', (error: NodeJS.ErrnoException) => {
        if (error.code === 'ECONNREFUSED') answered();
      });
      socket.once('close', () => open.delete(socket));
    },
    close: () => {
      for (const socket of open) socket.destroy();
    },
  };
}

export function procSockets(): SocketTables {
  return {
    read: (pid) => {
      try {
        const folder = `/proc/${pid ?? 'self'}/net`;
        return ok(['tcp', 'tcp6'].flatMap((name) => parseTcpTable(readTable(`${folder}/${name}`))));
      } catch (error) {
        return fail(error instanceof Error ? error.message : String(error));
      }
    },
  };
}

/** A kernel without IPv6 has no tcp6. */
function readTable(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch (error) {
    if (path.endsWith('6') && error instanceof Error && 'code' in error && error.code === 'ENOENT') return '';
    throw error;
  }
}
