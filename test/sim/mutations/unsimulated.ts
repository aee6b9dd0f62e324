// Safety rules that no mutation here takes out, why, and what shows them instead. Kept beside the others so that the table is whole.

import type { Unsimulated } from './mutation.js';

export const UNSIMULATED: readonly Unsimulated[] = [
  {
    rule: 'two agents on one host are kept apart by a lock of the state folder; SAFETY 7',
    why: 'it is a lock of the kernel, taken in io before any loop runs',
    shownBy: 'the end-to-end tests of the agent',
  },
  {
    rule: 'a journal is on disk when the write answers; DESIGN 1.4',
    why: 'the simulated disk is told when to have it; that orders wait for it is the mutation journal-before-act',
    shownBy: 'test/unit/agent-loop/slot-file.test.ts',
  },
  {
    rule: 'no stop while overlays are merged; SAFETY 5',
    why: 'without it the chain is still recorded and merged before it is booted, and both of those are mutations',
    shownBy: 'the mutations promoted-disk-is-a-chain and merge-before-boot',
  },
  {
    rule: "the loser's tap goes down on the verdict; SAFETY 4 and 10",
    why: 'the pair lets no payload out by itself; what the tap stops (ARP, IPv6) is not in the simulated network',
    shownBy: 'the end-to-end tests of a cluster',
  },
  {
    rule: "a new leader's timers start anew; HOUSE, how it thinks 5",
    why: 'no timer alone moves a VM: in the exhaustive world every timer may have run out at any moment',
    shownBy: 'npm run sim -- --exhaustive',
  },
  {
    rule: 'a lease is believed from the sending of its keepalive on; DESIGN 1.3',
    why: 'a leader that believes too long saves nothing, because the key is in the guard: that is the mutation leader-key-guard',
    shownBy: 'test/unit/shared/lease.test.ts',
  },
  {
    rule: "one's own lateness does not count as the silence of others; SAFETY 8",
    why: "the hosts' heartbeats are not simulated in these stories; a coordinator's own lateness only postpones",
    shownBy: 'test/unit/shared/silence.test.ts and test/unit/agent/heartbeat.test.ts',
  },
];
