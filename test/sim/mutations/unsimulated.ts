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
    rule: "a coordinator's own lateness does not count as the silence of the agents; HOUSE, how it thinks 6",
    why: 'without it a leader that stood still hears nobody for a moment, which only postpones; what it then makes of old words is a mutation',
    shownBy: 'test/unit/shared/silence.test.ts; the mutations own-lateness-of-the-leader and own-blindness-first',
  },
  {
    rule: 'space is reserved before a pair is made; SAFETY 1',
    why: 'without it the first write that finds no place breaks the pair, which is the mutation disk-status-poll',
    shownBy: 'test/e2e/safety/disk-errors.test.ts',
  },
  {
    rule: 'an unexecuted verdict is not overridden by force, unless a host is declared off; SAFETY 7',
    why: "it stands in the way of an operator's command, and nobody types commands in the simulated world",
    shownBy: 'test/unit/coordinator/double-failures.test.ts',
  },
  {
    rule: 'an external QEMU is never killed; what cannot be protected is refused at define; SAFETY 11',
    why: 'the simulated hosts start all their QEMUs themselves, and define nothing by file',
    shownBy: 'test/e2e/agent/external.test.ts and test/unit/spec/spec-rules.test.ts',
  },
];
