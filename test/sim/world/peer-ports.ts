// What the agent's watch over pairs asks of the world: heartbeats and questions to other hosts' kernels over the replication network, the
// kernel's list of QEMU's own sockets, and the filter that silences taps. A machine without power answers nothing; a machine whose agent
// is dead refuses heartbeats and answers questions all the same, because its kernel does that alone.

import type { TcpSocket } from '../../../agent/core/kernel-evidence.js';
import type { PeerPorts } from '../../../agent/peer-ports.js';
import { ok } from '../../../shared/core/result.js';
import type { Channel, Machine, Qemu, QemuWorld } from '../qemu/shapes.js';
import type { Life } from './life.js';

/** Linux repeats what is not acknowledged after so long, and then each time after twice as long. */
const FIRST_REPEAT_MS = 200;
const FILTER_MS = { least: 2, most: 60 };
const ESTABLISHED = 1;
/** Ports of the end that did not listen. Nobody asks for them. */
const EPHEMERAL = 40_000;

export function peerPorts(world: QemuWorld, machine: Machine, life: Life): PeerPorts {
  const { kernel, network, rng } = world;
  const { clock, log } = life;
  let wanted: ReadonlySet<string> = new Set();
  const send = (from: Machine, to: Machine, arrive: () => void): void =>
    network.send('repl', from.name, to.name, () => {
      if (to.up) arrive();
    });

  return {
    clock,
    log,
    canonical: (address) => address,
    probe: {
      ask: (address, answered) => {
        const peer = world.machineAt(address);
        if (peer === null || !life.alive) return;
        send(machine, peer, () => send(peer, machine, () => life.deliver(answered)));
      },
      close: () => undefined,
    },
    sockets: { read: (pid) => ok(pid === null ? [] : socketsOf(world, machine.processes.get(pid) ?? null)) },
    silence: {
      open: () =>
        new Promise((resolve) => {
          kernel.after(rng.between(FILTER_MS.least, FILTER_MS.most), () => life.deliver(() => resolve(machine.silenced)));
        }),
      want: (taps) => {
        if (!life.alive) return;
        wanted = taps;
        kernel.after(rng.between(FILTER_MS.least, FILTER_MS.most), () => {
          // What is wanted now counts, not what was wanted when this began.
          if (!machine.up || machine.silenced === wanted) return;
          const before = machine.silenced;
          machine.silenced = wanted;
          world.silenced(machine, before);
        });
      },
      problem: () => null,
    },
    openWire: (handlers) => {
      const hear = (from: string, text: string): boolean => {
        if (!life.alive) return false;
        life.deliver(() => handlers.heard(from, text));
        return true;
      };
      machine.hearHeartbeat = hear;
      return {
        problem: () => null,
        send: (address, text) => {
          const peer = world.machineAt(address);
          if (peer === null || !life.alive) return;
          send(machine, peer, () => {
            if (peer.hearHeartbeat?.(machine.address, text) === true) return;
            send(peer, machine, () => life.deliver(() => handlers.refused(address)));
          });
        },
        forget: () => undefined,
        close: () => {
          if (machine.hearHeartbeat === hear) machine.hearHeartbeat = null;
        },
      };
    },
  };
}

/** As /proc/PID/net/tcp shows them. What a stopped QEMU does not read is acknowledged by its kernel until the buffers are full. */
function socketsOf(world: QemuWorld, qemu: Qemu | null): readonly TcpSocket[] {
  if (qemu === null) return [];
  return [...qemu.channels].filter((each) => each.isOpen(qemu)).map((each) => socketOf(world, qemu, each));
}

function socketOf(world: QemuWorld, qemu: Qemu, channel: Channel): TcpSocket {
  const since = channel.stuckSince(qemu);
  const stuckMs = since === null ? 0 : world.kernel.now - since;
  const repeats = Math.floor(Math.log2(stuckMs / FIRST_REPEAT_MS + 1));
  return {
    localAddress: qemu.machine.address,
    localPort: EPHEMERAL,
    remoteAddress: channel.peerOf(qemu).machine.address,
    remotePort: channel.port,
    state: ESTABLISHED,
    unackedBytes: since === null ? 0 : 1_000,
    timer: since === null ? 'none' : 'retransmit',
    retransmits: since === null ? 0 : repeats,
  };
}
