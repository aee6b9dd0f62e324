// The rules that are steps of a procedure, or stand beside one: what QEMU does when a step is left out is in the simulated QEMU.

import type { Mutation } from './mutation.js';

const FAILOVER = 'agent/core/procedures/failover.ts';

export const PROCEDURE_MUTATIONS: readonly Mutation[] = [
  {
    name: 'colo-exit-wait',
    rule: 'a secondary is released only after COLO_EXIT; SAFETY 2',
    changes: [{ file: FAILOVER, find: '...(context.coloExited ? [] : [waitColoExit()]),', replace: '' }],
    story: 'primary killed in a checkpoint',
    seed: 5,
    violation: 'demo',
  },
  {
    name: 'yank-before-drain',
    rule: 'whatever waits for a dead peer is freed before QEMU is asked to let go of it; SAFETY 2 and 11',
    changes: [{ file: FAILOVER, find: '      ...yankPrimary(context),\n', replace: '' }],
    story: 'the secondary goes dark',
    seed: 1,
    violation: 'by now',
  },
  {
    name: 'exports-stop-before-release',
    rule: 'the NBD export ends before the secondary is released; the manual of block replication',
    changes: [{ file: FAILOVER, find: '      ...stopExports(),\n', replace: '' }],
    story: 'the primary is cut off, another is promoted, and it comes back',
    seed: 2,
    violation: 'told',
  },
  {
    name: 'no-force-before-the-first-resume',
    rule: 'no checkpoint is forced before the first RESUME of a pair; SAFETY 8',
    changes: [
      {
        file: 'agent/core/procedures/resume.ts',
        find: "    waitMigration(context, 'colo', 'migrate'),\n    waitFirstResume('migrate'),\n",
        replace: "    waitMigration(context, 'colo', 'migrate'),\n",
      },
    ],
    story: 'a pair is made',
    seed: 1,
    violation: 'not at rest',
  },
];
