// Rules that no other list has: about disks, the last live copy, and the client of the store.

import type { Mutation } from './mutation.js';

export const OTHER_MUTATIONS: readonly Mutation[] = [
  {
    name: 'local-disk-error',
    rule: "an error of the primary's own disk, of which its guest is told nothing, is read from QUORUM_REPORT_BAD; SAFETY 1 and 9 row 1",
    changes: [
      {
        file: 'agent/core/seen.ts',
        find: "return { ...seen, localDiskError: true, ownWriteFailed: seen.ownWriteFailed || text(event, 'type') !== 'read' };",
        replace: 'return seen;',
      },
    ],
    story: "the primary's disk fails, and later its secondary dies",
    seed: 1,
    violation: 'what a client was told',
  },
  {
    name: 'loser-lacks-writes',
    rule: "a loser whose disk missed writes takes nobody's place; SAFETY 1 and 4",
    changes: [
      {
        file: 'coordinator/core/transitions-execution.ts',
        find: 'if (verdict?.loserLacks !== undefined) return verdict.loserLacks;\n',
        replace: '',
      },
      {
        file: 'coordinator/core/transitions-execution.ts',
        find: "const lacks = verdict?.kind === 'solo-primary' &&",
        replace: "const lacks = verdict?.kind === 'drill' &&",
      },
    ],
    story: "the secondary's disk is full, and the primary dies as it wins",
    seed: 8,
    violation: 'what a client was told',
  },
  {
    name: 'loser-whose-disk-fails',
    rule: "a loser whose own disk fails takes nobody's place; SAFETY 1 and 4",
    changes: [
      {
        file: 'coordinator/core/transitions-execution.ts',
        find: "if (view.b?.report?.disk.localError === true) return 'has a disk that fails';\n",
        replace: '',
      },
      {
        file: 'coordinator/core/transitions-execution.ts',
        find: '  if (unfit !== null) return `must not go on either: ${unfit}`;\n',
        replace: '',
      },
      { file: 'agent/loop/unfit.ts', find: 'if (isPrimary && hasCopy)', replace: "if (isPrimary && hasCopy && situation === 'hung')" },
    ],
    story: "the primary's disk fails, and the secondary dies as it wins",
    seed: 2,
    violation: 'calls valid',
  },
  {
    name: 'dead-before-its-order',
    rule: 'what ended before its release was ordered never released, and its agent testifies so; SAFETY 4',
    changes: [
      {
        file: 'agent/core/journal.ts',
        find: 'releasesQemu(goal) && qemu.death === null ?',
        replace: 'releasesQemu(goal) ?',
      },
      {
        file: 'coordinator/core/transitions-execution.ts',
        find: "view.a.report?.task.kind !== 'running' &&\n",
        replace: '',
      },
    ],
    story: 'the winner dies in the moment of its verdict',
    seed: 1,
    violation: 'the last live copy',
  },
  {
    name: 'stamp-names-the-vm',
    rule: 'an image that carries the stamp of another VM is not used; SAFETY 7',
    changes: [
      {
        file: 'agent/core/disk-rules.ts',
        find: "if (stamp.uid !== uid) return { kind: 'refuse', why: foreign(path, stamp) };\n  switch",
        replace: 'switch',
      },
    ],
    story: 'a VM of the same name is defined over the files of another',
    seed: 1,
    violation: 'takes ',
  },
  {
    name: 'loser-holds',
    rule: "the loser's tap goes down on the verdict; SAFETY 4 and 10",
    changes: [{ file: 'agent/loop/end.ts', find: 'const error = await setTaps(vm, false);', replace: 'const error = null;' }],
    story: 'the link is cut',
    seed: 1,
    violation: 'is said to hold and its tap is up',
  },
  {
    name: 'ports-of-a-record-under-way',
    rule: 'two VMs that choose their ports in one moment do not choose the same; SAFETY 7',
    changes: [
      {
        file: 'coordinator/loop.ts',
        find: 'if (saving === null || name === vm) continue;',
        replace: 'if (saving === null || name !== vm) continue;',
      },
    ],
    story: 'the pairs of two VMs are made in one moment',
    seed: 1,
    violation: 'are those of',
  },
  {
    name: 'compacted-is-listed-anew',
    rule: 'a watch that asks for what is compacted begins with a list again, so that no change is missed; HOUSE, how it thinks 1',
    changes: [{ file: 'shared/io/etcd/mirror.ts', find: 'if (response.canceled) {', replace: 'if (response.canceled && over) {' }],
    story: 'what the watches are at is compacted',
    seed: 1,
    violation: 'it is to be stopped',
  },
  {
    name: 'a-member-behind-is-left',
    rule: 'a member that lags behind what others have answered is not believed; ARCHITECTURE, etcd',
    changes: [
      {
        file: 'shared/io/etcd/mirror.ts',
        find: 'if (behind === null && revision < asked)',
        replace: 'if (behind === null && revision < 0)',
      },
    ],
    story: 'every member in turn is cut off from the others',
    seed: 1,
    violation: 'by now',
  },
];
