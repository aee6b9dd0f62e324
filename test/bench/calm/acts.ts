// What is done to agents and to the leader's sight of them while a pair is healthy: an agent killed, stopped, cut off for long, and all hosts
// lost at once for a moment. Nobody may touch the pair.

import { LabError } from '../../../deploy/lab/command.js';
import { cutLinks, mendLinks } from '../../../deploy/lab/network.js';
import type { HostPlan, LabPlan } from '../../../deploy/lab/plan.js';
import { killDaemon, pauseDaemon, resumeDaemon, startDaemon } from '../../../deploy/lab/processes.js';
import { muteAgents } from '../../support/troubles.js';
import type { PairSeen } from '../watch/pair.js';

export interface Act {
  readonly what: string;
  readonly seconds: number;
  /** Answers with what undoes it. `leader`: the leading coordinator's host. */
  begin(plan: LabPlan, pair: PairSeen, leader: string): Promise<() => Promise<unknown>>;
}

/** `alone`: seconds that one agent is away; `all`: that everybody is. */
export function actsFor(alone: number, all: number): readonly Act[] {
  const ofSide = (side: 'primary' | 'secondary'): readonly Act[] => [
    {
      what: `agent of the ${side} killed`,
      seconds: alone,
      begin: async (plan, pair) => {
        const host = hostNamed(plan, pair[side]);
        await killDaemon(plan, host, 'agent');
        return () => startDaemon(plan, host, 'agent');
      },
    },
    { what: `agent of the ${side} stopped`, seconds: alone, begin: (plan, pair) => stopAgents(plan, [hostNamed(plan, pair[side])]) },
    { what: `agent of the ${side} cut off`, seconds: alone, begin: (plan, pair) => cutManagement(plan, [hostNamed(plan, pair[side])]) },
  ];
  return [
    ...ofSide('primary'),
    ...ofSide('secondary'),
    { what: "the leader's management link cut", seconds: all, begin: (plan, _, leader) => cutManagement(plan, [hostNamed(plan, leader)]) },
    { what: "all hosts' management links cut", seconds: all, begin: (plan) => cutManagement(plan, plan.hosts) },
    { what: 'no agent heard by any coordinator, etcd well', seconds: all, begin: (plan) => muteAgents(plan) },
    { what: 'all agents stopped', seconds: all, begin: (plan) => stopAgents(plan, plan.hosts) },
  ];
}

async function cutManagement(plan: LabPlan, hosts: readonly HostPlan[]): Promise<() => Promise<unknown>> {
  await Promise.all(hosts.map((host) => cutLinks(plan, host, ['management'])));
  return () => Promise.all(hosts.map((host) => mendLinks(plan, host, ['management'])));
}

function stopAgents(plan: LabPlan, hosts: readonly HostPlan[]): Promise<() => Promise<unknown>> {
  for (const host of hosts) pauseDaemon(plan, host, 'agent');
  return Promise.resolve(() => Promise.resolve(hosts.forEach((host) => resumeDaemon(plan, host, 'agent'))));
}

function hostNamed(plan: LabPlan, name: string): HostPlan {
  const host = plan.hosts.find((each) => each.name === name);
  if (host === undefined) throw new LabError(`there is no host ${name}`);
  return host;
}
