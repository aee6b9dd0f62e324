// The coordinator's way to its agents, at which it is stopped once an agent has accepted an order.

import { createAgents as realAgents } from '../../../coordinator/io/agents.js';
import { spring, trapAt } from './trap.js';

export const createAgents: typeof realAgents = (ports, handlers, options) => {
  const agents = realAgents(ports, handlers, options);
  return {
    follow: (hosts) => agents.follow(hosts),
    links: () => agents.links(),
    probe: (host, vm, deadlineMs) => agents.probe(host, vm, deadlineMs),
    close: () => agents.close(),
    order: async (host, order) => {
      const answer = await agents.order(host, order);
      const trap = trapAt((each) => each.kind === 'order' && each.goal === order.goal.kind);
      if (trap !== null && answer.kind === 'accepted') spring(trap, 'SIGSTOP');
      return answer;
    },
  };
};
