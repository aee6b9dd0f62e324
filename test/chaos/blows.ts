// Carries out the faults of a plan on a lab. A role becomes a host when the blow falls. Faults that overlap share nothing: each lays claim
// to the parts that it strikes, and one that would strike a part that is struck already is left out and told of as such.

import { spawn } from 'node:child_process';
import { LabError } from '../../deploy/lab/command.js';
import { cutLinks, mendLinks, type Direction } from '../../deploy/lab/network.js';
import { LINKS, members, type HostPlan, type LabPlan, type Link } from '../../deploy/lab/plan.js';
import { identify, sendSignal } from '../../deploy/lab/process-identity.js';
import { killDaemon, pauseDaemon, resumeDaemon, startDaemon } from '../../deploy/lab/processes.js';
import type { Daemon } from '../../deploy/lab/record.js';
import { daemonsOf, darken, qemuOf, rebootHost } from '../support/strikes.js';
import type { Fault, FaultKind } from './plan.js';

export interface Struck {
  readonly host: string;
  undo(): Promise<void>;
}

interface Blow {
  /** Names of the parts that it lays claim to. */
  readonly parts: readonly string[];
  strike(): Promise<() => Promise<void>> | (() => Promise<void>);
}

const nothing = (): Promise<void> => Promise.resolve();
const HOGS = 2;

export class Blows {
  readonly #plan: LabPlan;
  readonly #vm: string;
  readonly #struck = new Set<string>();

  constructor(plan: LabPlan, vm: string) {
    this.#plan = plan;
    this.#vm = vm;
  }

  /** Null: a part of it is struck already, or is not there. */
  async strike(fault: Fault, host: HostPlan): Promise<Struck | null> {
    const blow = this.#blowOf(fault.kind, host);
    const isTaken = blow.parts.some((part) => this.#struck.has(part));
    if (isTaken) return null;
    for (const part of blow.parts) this.#struck.add(part);
    const free = (): void => blow.parts.forEach((part) => this.#struck.delete(part));
    try {
      const undo = await blow.strike();
      return {
        host: host.name,
        undo: async () => {
          await undo();
          free();
        },
      };
    } catch (error) {
      free();
      if (error instanceof LabError) return null;
      throw error;
    }
  }

  #blowOf(kind: FaultKind, host: HostPlan): Blow {
    const plan = this.#plan;
    switch (kind) {
      case 'qemu-kill':
        return {
          parts: [`${host.name} qemu`],
          strike: () => {
            sendSignal(qemuOf(plan, this.#vm, host), 'SIGKILL');
            return nothing;
          },
        };
      case 'qemu-stop':
        return {
          parts: [`${host.name} qemu`],
          strike: () => {
            const qemu = qemuOf(plan, this.#vm, host);
            sendSignal(qemu, 'SIGSTOP');
            return () => Promise.resolve(void sendSignal(qemu, 'SIGCONT'));
          },
        };
      case 'agent-kill':
      case 'coordinator-kill':
      case 'etcd-kill':
        return this.#killed(host, daemonIn(kind));
      case 'agent-stop':
      case 'coordinator-stop':
      case 'etcd-stop':
        return this.#paused([host], daemonIn(kind));
      case 'etcd-majority-stop':
        return this.#paused([host, ...members(plan).filter((each) => each !== host)].slice(0, 2), 'etcd');
      case 'host-dark':
        return {
          parts: [...daemonsOf(host), 'qemu', ...LINKS].map((part) => `${host.name} ${part}`),
          strike: async () => {
            await darken(plan, host);
            return () => rebootHost(plan, host);
          },
        };
      case 'cut-replication':
        return this.#cut(host, ['replication'], 'both');
      case 'cut-replication-out':
        return this.#cut(host, ['replication'], 'out');
      case 'cut-replication-in':
        return this.#cut(host, ['replication'], 'in');
      case 'cut-management':
        return this.#cut(host, ['management'], 'both');
      case 'cut-management-out':
        return this.#cut(host, ['management'], 'out');
      case 'cut-management-in':
        return this.#cut(host, ['management'], 'in');
      case 'cut-guest':
        return this.#cut(host, ['guest'], 'both');
      case 'cut-both':
        return this.#cut(host, ['management', 'replication'], 'both');
      case 'load':
        return { parts: ['load'], strike: startHogs };
    }
  }

  #killed(host: HostPlan, daemon: Daemon): Blow {
    return {
      parts: [`${host.name} ${daemon}`],
      strike: async () => {
        await killDaemon(this.#plan, host, daemon);
        return async () => void (await startDaemon(this.#plan, host, daemon));
      },
    };
  }

  #paused(hosts: readonly HostPlan[], daemon: Daemon): Blow {
    return {
      parts: hosts.map((host) => `${host.name} ${daemon}`),
      strike: () => {
        for (const host of hosts) pauseDaemon(this.#plan, host, daemon);
        return () => Promise.resolve(hosts.forEach((host) => resumeDaemon(this.#plan, host, daemon)));
      },
    };
  }

  #cut(host: HostPlan, links: readonly Link[], direction: Direction): Blow {
    return {
      parts: links.map((link) => `${host.name} ${link}`),
      strike: async () => {
        await cutLinks(this.#plan, host, links, direction);
        return () => mendLinks(this.#plan, host, links, direction);
      },
    };
  }
}

function daemonIn(kind: `${Daemon}-${string}`): Daemon {
  return kind.startsWith('agent') ? 'agent' : kind.startsWith('etcd') ? 'etcd' : 'coordinator';
}

/** Processes that do nothing but burn a processor each. */
function startHogs(): () => Promise<void> {
  const hogs = Array.from({ length: HOGS }, () => spawn('sh', ['-c', 'while :; do :; done'], { stdio: 'ignore' }));
  const known = hogs.map((each) => (each.pid === undefined ? null : identify(each.pid)));
  return () => {
    for (const each of known) if (each !== null) sendSignal(each, 'SIGKILL');
    return Promise.resolve();
  };
}

/** The host that leads etcd now; null = nobody says so. */
export async function etcdLeader(plan: LabPlan): Promise<HostPlan | null> {
  for (const host of members(plan)) {
    try {
      const signal = AbortSignal.timeout(500);
      const answer = await fetch(`${host.etcdClientUrl}/v3/maintenance/status`, { method: 'POST', body: '{}', signal });
      const { leader, header } = (await answer.json()) as { readonly leader?: string; readonly header?: { readonly member_id?: string } };
      if (leader !== undefined && leader === header?.member_id) return host;
    } catch {
      // It is struck: another one may lead.
    }
  }
  return null;
}
