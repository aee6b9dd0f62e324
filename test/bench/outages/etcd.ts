// Takes members of etcd away, all in one instant, and brings them back.

import { LabError, waitFor } from '../../../deploy/lab/command.js';
import { members, type HostPlan, type LabPlan } from '../../../deploy/lab/plan.js';
import { sendSignal } from '../../../deploy/lab/process-identity.js';
import { killProcess, livingDaemon, resumeDaemon, startDaemon } from '../../../deploy/lab/processes.js';
import { etcdLeader } from '../../chaos/blows.js';
import type { Manner } from './table.js';

const LEADER_MS = 10_000;

export interface Away {
  /** Brings back those of the named hosts; default: all. Resolves when the processes are told, not when etcd is whole. */
  mend(only?: readonly string[]): Promise<void>;
}

export async function leaderOf(plan: LabPlan): Promise<string> {
  return (await waitFor({ what: 'leader of etcd', boundMs: LEADER_MS }, () => etcdLeader(plan))).name;
}

/** The signals go out one after the other without a pause. */
export async function takeAway(plan: LabPlan, names: readonly string[], manner: Manner): Promise<Away> {
  const hosts = members(plan).filter((each) => names.includes(each.name));
  if (hosts.length !== names.length) throw new LabError(`not all of ${names.join(', ')} have a member`);
  const targets = hosts.map((host) => livingDaemon(plan, host, 'etcd'));
  for (const each of targets) sendSignal(each, manner === 'killed' ? 'SIGKILL' : 'SIGSTOP');
  if (manner === 'killed') await Promise.all(targets.map(killProcess));
  const away = new Set<HostPlan>(hosts);
  return {
    mend: async (only = names) => {
      const back = [...away].filter((each) => only.includes(each.name));
      for (const each of back) away.delete(each);
      if (manner === 'killed') await Promise.all(back.map((each) => startDaemon(plan, each, 'etcd')));
      else for (const each of back) resumeDaemon(plan, each, 'etcd');
    },
  };
}
