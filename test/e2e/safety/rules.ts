// The eleven rules of safety, each with a test on real QEMU, and what to take out of the product so that the test fails: a test that
// cannot fail guards nothing. `node test/e2e/safety/prove.mjs 4` does so for rule 4, on a copy of the tree. That the tests are there and
// that what is to be taken out can be found is a unit test.

export interface Change {
  readonly file: string;
  /** Exactly one place. */
  readonly find: string;
  readonly replace: string;
}

export interface Rule {
  readonly number: number;
  readonly rule: string;
  readonly test: { readonly file: string; /** Part of its name. */ readonly name: string };
  /** Tests of the file go on from each other, so that all up to this one have to run. */
  readonly needsThoseBefore: boolean;
  readonly without: readonly Change[];
}

export const RULES: readonly Rule[] = [
  {
    number: 1,
    rule: 'a write that failed on either side ends the pair, and the side that missed it is not promoted',
    test: { file: 'test/e2e/safety/disk-errors.test.ts', name: 'that fails under the primary -> the secondary goes on' },
    needsThoseBefore: false,
    without: [
      {
        file: 'agent/core/report.ts',
        find: 'localError: view.seen?.localDiskError === true || view.runstate',
        replace: 'localError: view.runstate',
      },
    ],
  },
  {
    number: 2,
    rule: 'a secondary is released only after COLO_EXIT, when no checkpoint is half loaded',
    test: { file: 'test/e2e/procedures/procedures.test.ts', name: 'silence, and the secondary takes over -> the yank brings COLO_EXIT' },
    needsThoseBefore: true,
    without: [
      { file: 'agent/core/procedures/failover.ts', find: '...(context.coloExited ? [] : [waitColoExit()]),', replace: '' },
      { file: 'agent/core/procedures/failover.ts', find: 'waitColoExit, ', replace: '' },
    ],
  },
  {
    number: 3,
    rule: 'a secondary is promoted only out of a pair that was proven',
    test: { file: 'test/e2e/cluster/attempts.test.ts', name: 'whose primary dies when the memory is copied -> is no pair to promote' },
    needsThoseBefore: false,
    without: [
      {
        file: 'coordinator/core/transitions-verdict.ts',
        find: "    name: 'primary-dead',\n    from: ['protected'],",
        replace: "    name: 'primary-dead',\n    from: ['protected', 'syncing'],",
      },
      {
        file: 'coordinator/core/transitions-sync.ts',
        find: "    name: 'primary-died-syncing',\n    from: ['syncing'],",
        replace: "    name: 'primary-died-syncing',\n    from: ['held'],",
      },
    ],
  },
  {
    number: 4,
    rule: 'the loser of a verdict is kept until the winner was seen to run alone',
    test: {
      file: 'test/e2e/safety/last-copy.test.ts',
      name: 'the winner of a verdict dies before it is released -> the loser, which was kept, goes on',
    },
    needsThoseBefore: false,
    without: [
      {
        file: 'agent/core/destroy-rule.ts',
        find: 'if (side !== null && side.hostId === hostId && side.born === qemu.born) {',
        replace: 'if (false as boolean) {',
      },
      {
        file: 'agent/core/destroy-rule.ts',
        find: "if (record.phase === 'verdict' && loser !== null && loser.hostId === hostId && loser.born === qemu.born) {",
        replace: "if (record.phase === ('none' as string) && loser !== null) {",
      },
    ],
  },
  {
    number: 5,
    rule: 'the disk of a secondary is its chain of overlays, and is booted or merged as a whole',
    test: { file: 'test/e2e/procedures/procedures.test.ts', name: 'both killed in a pair -> the chain of the secondary boots' },
    needsThoseBefore: true,
    without: [
      {
        file: 'agent/core/qemu-args.ts',
        find: "${chainOptions('children.0', images[k] ?? [])}",
        replace: "${chainOptions('children.0', (images[k] ?? []).slice(-1))}",
      },
    ],
  },
  {
    number: 6,
    rule: 'nothing is destroyed on the word of a store that knows less than the host',
    test: { file: 'test/e2e/agent/agent.test.ts', name: 'the record is gone, older or another VM’s -> nothing is destroyed' },
    needsThoseBefore: true,
    without: [
      {
        file: 'agent/core/destroy-rule.ts',
        find: 'if (record === null) return behind(`no record of ${journal.vm}`);',
        replace: "if (record === null) return { kind: 'permitted' };",
      },
    ],
  },
  {
    number: 7,
    rule: 'an order of an older epoch, of another VM or for another QEMU changes nothing',
    test: {
      file: 'test/e2e/agent/agent.test.ts',
      name: 'an order of an older epoch, another uid, another cluster or for another QEMU -> refused',
    },
    needsThoseBefore: true,
    without: [
      { file: 'agent/core/orders.ts', find: 'if (order.epoch < vm.epoch) return refuse', replace: 'if (order.epoch < 0) return refuse' },
    ],
  },
  {
    number: 8,
    rule: 'an agent that falls silent is no sign that its pair is broken',
    test: { file: 'test/e2e/cluster/control-plane.test.ts', name: "'s agent is killed and started when its lease is gone -> stays" },
    needsThoseBefore: false,
    without: [
      {
        file: 'coordinator/core/transitions-verdict.ts',
        find: "    when: (view) => is(view.a, 'unheard') && is(view.b, 'alive') && broken(view.b),",
        replace: "    when: (view) => is(view.a, 'unheard') && is(view.b, 'alive'),",
      },
      {
        file: 'coordinator/core/transitions-verdict.ts',
        find: '    when: (view) => someOk(view) && !someHard(view) && !doubtful(view),',
        replace: "    when: (view) => someOk(view) && !someHard(view) && !doubtful(view) && !is(view.a, 'unheard'),",
      },
      {
        file: 'coordinator/core/transitions-verdict.ts',
        find: '    when: (view) => someOk(view) && !someHard(view),',
        replace: "    when: (view) => someOk(view) && !someHard(view) && !is(view.a, 'unheard'),",
      },
    ],
  },
  {
    number: 9,
    rule: 'every way in which the two sides can look has a row that decides it',
    test: { file: 'test/e2e/cluster/captures.test.ts', name: 'the host of its primary goes dark' },
    needsThoseBefore: false,
    without: [
      {
        file: 'coordinator/core/transitions-verdict.ts',
        find: "    name: 'primary-host-lost',\n    from: ['protected'],",
        replace: "    name: 'primary-host-lost',\n    from: ['held'],",
      },
    ],
  },
  {
    number: 10,
    rule: 'what QEMU does not compare is silenced at the host while a pair is suspect',
    test: { file: 'test/e2e/cluster/captures.test.ts', name: 'its link is cut and nobody decides' },
    needsThoseBefore: false,
    without: [
      {
        file: 'agent/loop/peers.ts',
        find: "else if (state === 'hard' || state === 'silent') this.#setSilenced(watched, facts.taps);",
        replace: "else if (state === 'hard' || state === 'silent') this.#setSilenced(watched, []);",
      },
    ],
  },
  {
    number: 11,
    rule: 'what may hold the main loop is yanked before anything else is asked of it',
    test: { file: 'test/e2e/procedures/procedures.test.ts', name: 'the replication network falls silent -> yank first' },
    needsThoseBefore: true,
    without: [
      {
        file: 'agent/core/procedures/failover.ts',
        find: '      ...yankPrimary(context),\n      ...detachPeer(context),',
        replace: '      ...detachPeer(context),',
      },
    ],
  },
];
