// An agent process: the real loop on simulated ports, its journals read from the host's disk as at a real start,
// its watch over pairs, and its lease kept alive.

import { runAgent, type AgentLoop } from '../../../agent/loop.js';
import { Peers } from '../../../agent/loop/peers.js';
import { JOURNAL_FORMAT, type AgentJournal } from '../../../agent/core/journal.js';
import { hostKeyCodec } from '../../../shared/core/codec.js';
import { hostId } from '../../../shared/core/ids.js';
import type { Keys } from '../../../shared/core/keys.js';
import { HEARTBEAT_INTERVAL_MS, HEARTBEAT_SUSPECT_AFTER_MS, LEASE_TTL_MS } from '../../../shared/core/limits.js';
import type { HostKey } from '../../../shared/core/model.js';
import { keepLease } from '../../../shared/lease.js';
import type { Store } from '../../../shared/ports.js';
import type { Machine, QemuWorld } from '../qemu/shapes.js';
import { hostPorts, type HostEvents } from '../qemu/host-ports.js';
import type { Life } from './life.js';
import { peerPorts } from './peer-ports.js';

export interface AgentProcess {
  readonly life: Life;
  readonly face: AgentLoop;
}

export function startAgent(
  world: QemuWorld,
  machine: Machine,
  life: Life,
  store: Store,
  keys: Keys,
  address: string,
  events: HostEvents,
): AgentProcess {
  const { clock, random, log } = life;
  const { version } = world;
  const journal: AgentJournal = machine.agentJournal ?? { format: JOURNAL_FORMAT, hostId: hostId(random.id()), incarnation: null };
  machine.agentJournal = journal;
  const watch = { intervalMs: HEARTBEAT_INTERVAL_MS, suspectAfterMs: HEARTBEAT_SUSPECT_AFTER_MS };
  const pairs = new Peers(peerPorts(world, machine, life), { cluster: keys.all, host: machine.name, session: random.id(), ...watch });
  const loop = runAgent(
    { clock, random, log, store, ...hostPorts(world, machine, life, events) },
    {
      host: machine.name,
      hostId: journal.hostId,
      replicationAddress: machine.address,
      folders: { stateDir: '/state', runtimeDir: '/run' },
      keys,
      bridge: 'br0',
      program: 'qemu-system-x86_64',
      sandbox: true,
      tls: null,
      version,
    },
    { agent: journal, vms: [...machine.vmJournals.values()] },
    pairs,
  );
  pairs.start();
  const key: HostKey = {
    host: machine.name,
    hostId: journal.hostId,
    agentAddress: address,
    replicationAddress: machine.address,
    qemuVersion: `${version.major}.${version.minor}.${version.micro}`,
    agentVersion: 'sim',
  };
  const value = hostKeyCodec.encode(key);
  keepLease(
    { clock, random, log, store },
    {
      ttlMs: LEASE_TTL_MS,
      keys: () => [
        { key: keys.host(machine.name), value, leased: true },
        { key: keys.inventoryOf(machine.name), value, leased: false },
      ],
    },
    { held: () => undefined, lost: () => undefined },
  );
  return { life, face: loop };
}
