// How each fault is done to a host, and how it is undone. A cut is made ready before the clock starts, so that what is measured begins with
// the fault and not with the start of a program.

import { LabError } from '../../../deploy/lab/command.js';
import { mendLinks, prepareCut, type Direction } from '../../../deploy/lab/network.js';
import { LINKS, type HostPlan, type LabPlan, type Link } from '../../../deploy/lab/plan.js';
import { sendSignal, type ProcessIdentity } from '../../../deploy/lab/process-identity.js';
import { killProcess, livingDaemon, restartDaemon, resumeDaemon } from '../../../deploy/lab/processes.js';
import type { Daemon } from '../../../deploy/lab/record.js';
import { qemuOf, rebootHost } from '../../support/strikes.js';
import type { FaultName } from './table.js';

export interface Hand {
  /** The fault itself; what it needs is looked up and made ready before. */
  strike(): Promise<void> | void;
  mend(): Promise<void>;
}

const nothing = (): Promise<void> => Promise.resolve();

/** `host`: what carries the struck side, or the leading coordinator. */
export async function readyHand(plan: LabPlan, vm: string, fault: FaultName, host: HostPlan): Promise<Hand> {
  switch (fault) {
    case 'QEMU SIGKILL':
      return signalHand(qemuOf(plan, vm, host), 'SIGKILL', nothing);
    // A hung QEMU is destroyed by its own agent once the other side has executed.
    case 'QEMU SIGSTOP':
      return signalHand(qemuOf(plan, vm, host), 'SIGSTOP', nothing);
    case 'agent SIGKILL':
      return killHand(plan, host, 'agent');
    case 'agent SIGSTOP':
      return stopHand(plan, host, 'agent');
    case 'coordinator leader SIGKILL':
      return killHand(plan, host, 'coordinator');
    case 'coordinator leader SIGSTOP':
      return stopHand(plan, host, 'coordinator');
    case 'host dark':
      return { ...(await cutHand(plan, host, LINKS, 'both')), mend: () => rebootHost(plan, host) };
    case 'replication link cut':
      return cutHand(plan, host, ['replication'], 'both');
    case 'management link cut':
      return cutHand(plan, host, ['management'], 'both');
    case 'both links cut':
      return cutHand(plan, host, ['management', 'replication'], 'both');
    case 'replication cut one way, out':
      return cutHand(plan, host, ['replication'], 'out');
    case 'replication cut one way, in':
      return cutHand(plan, host, ['replication'], 'in');
    case 'management cut one way, out':
      return cutHand(plan, host, ['management'], 'out');
    case 'management cut one way, in':
      return cutHand(plan, host, ['management'], 'in');
    case 'guest network cut':
      return cutHand(plan, host, ['guest'], 'both');
  }
}

async function cutHand(plan: LabPlan, host: HostPlan, links: readonly Link[], direction: Direction): Promise<Hand> {
  const cut = await prepareCut(plan, host, links, direction);
  return { strike: cut, mend: () => mendLinks(plan, host, links, direction) };
}

function signalHand(target: ProcessIdentity, signal: NodeJS.Signals, mend: () => Promise<void>): Hand {
  return {
    strike: () => {
      if (!sendSignal(target, signal)) throw new LabError(`process ${target.pid} had ended before it was struck`);
    },
    mend,
  };
}

function killHand(plan: LabPlan, host: HostPlan, daemon: Daemon): Hand {
  const target = livingDaemon(plan, host, daemon);
  return signalHand(target, 'SIGKILL', async () => {
    await killProcess(target);
    await restartDaemon(plan, host, daemon);
  });
}

function stopHand(plan: LabPlan, host: HostPlan, daemon: Daemon): Hand {
  return signalHand(livingDaemon(plan, host, daemon), 'SIGSTOP', () => Promise.resolve(resumeDaemon(plan, host, daemon)));
}
