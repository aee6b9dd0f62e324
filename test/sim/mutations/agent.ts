// The rules that an agent keeps by itself, whatever a coordinator says: the fences of its orders, its journal, and what it may destroy.

import type { Mutation } from './mutation.js';

const ORDERS = 'agent/core/orders.ts';
const DESTROY = 'agent/core/destroy-rule.ts';

export const AGENT_MUTATIONS: readonly Mutation[] = [
  {
    name: 'term-check',
    rule: 'an order of an older term changes nothing; DESIGN 1.4',
    changes: [
      {
        file: ORDERS,
        find: "if (order.term < vm.term) return refuse('older-term', `term ${order.term}, obeyed ${vm.term}`);\n",
        replace: '',
      },
    ],
    story: 'an order of an older term',
    seed: 1,
    violation: 'went back from term',
  },
  {
    name: 'epoch-check',
    rule: 'an order of an older epoch changes nothing; DESIGN 1.4',
    changes: [
      {
        file: ORDERS,
        find: "if (order.epoch < vm.epoch) return refuse('older-epoch', `epoch ${order.epoch}, obeyed ${vm.epoch}`);\n",
        replace: '',
      },
    ],
    story: 'an order of an older epoch',
    seed: 1,
    violation: 'went back from term',
  },
  {
    name: 'incarnation-check',
    rule: 'an order of another cluster is not obeyed; SAFETY 7',
    changes: [{ file: ORDERS, find: 'if (agent.incarnation !== order.incarnation) {', replace: 'if (agent.incarnation === null) {' }],
    story: 'orders of another cluster',
    seed: 1,
    violation: 'of another incarnation',
  },
  {
    name: 'uid-check',
    rule: 'an order for another VM of the same name is not obeyed; SAFETY 7',
    changes: [{ file: ORDERS, find: 'if (vm === null || vm.uid !== order.uid) return', replace: 'if (vm === null) return' }],
    story: 'orders for another VM of that name',
    seed: 1,
    violation: 'of uid',
  },
  {
    name: 'no-journal-obeys-nothing',
    rule: 'without a journal nothing is obeyed that the record does not say; SAFETY 7',
    changes: [
      {
        file: ORDERS,
        find: "if (order.epoch < record.epoch) return refuse('older-epoch',",
        replace: "if (false) return refuse('older-epoch',",
      },
    ],
    story: 'an old start reaches a host that knows nothing',
    seed: 1,
    violation: 'heard',
  },
  {
    name: 'journal-before-act',
    rule: 'an order is on disk before it is answered and before QEMU hears of it; DESIGN 1.4',
    changes: [
      {
        file: 'agent/loop/vm.ts',
        find: 'const saved = journal === null || journal === before ? ok(null) : await this.ports.journal.saveVm(journal);',
        replace: 'const saved = ok(null);\n      if (journal !== null && journal !== before) void this.ports.journal.saveVm(journal);',
      },
    ],
    story: 'a pair is made',
    seed: 1,
    violation: 'before it was on its disk',
  },
  {
    name: 'destroy-needs-a-record',
    rule: 'nothing is destroyed without an existing record; SAFETY 6',
    changes: [
      {
        file: DESTROY,
        find: 'if (record === null) return behind(`no record of ${journal.vm}`);',
        replace: "if (record === null) return { kind: 'permitted' };",
      },
    ],
    story: 'the record is lost and a destroy comes',
    seed: 1,
    violation: 'the store has no record of it',
  },
  {
    name: 'destroy-needs-the-same-uid',
    rule: 'a record of another uid destroys nothing; SAFETY 6',
    changes: [{ file: DESTROY, find: 'if (record.uid !== journal.uid) return', replace: 'if (record.uid === null) return' }],
    story: 'the record is of another VM and a destroy comes',
    seed: 1,
    violation: 'the record is of',
  },
  {
    name: 'destroy-needs-a-newer-record',
    rule: 'a record that is not newer than what the QEMU obeyed destroys nothing; SAFETY 6',
    changes: [{ file: DESTROY, find: 'if (record.epoch <= qemu.obeyed) return', replace: 'if (record.epoch < 0) return' }],
    story: 'the store is restored and a destroy comes',
    seed: 1,
    violation: 'is killed by a record of epoch',
  },
  {
    name: 'destroy-what-is-named',
    rule: 'a QEMU that the record names is not destroyed; DESIGN 1.7',
    changes: [
      {
        file: DESTROY,
        find: 'side !== null && side.hostId === hostId && side.born === qemu.born',
        replace: 'side !== null && side.host === hostId',
      },
      { file: DESTROY, find: 'if (record.epoch <= qemu.obeyed) return', replace: 'if (record.epoch < qemu.obeyed) return' },
    ],
    story: 'a leader orders too much',
    seed: 1,
    violation: 'is killed although the record',
  },
  {
    name: 'no-rollback-without-a-saved-change',
    rule: 'an agent takes no pair apart without an order for it; SAFETY 3, DESIGN 1.6',
    changes: [{ file: 'agent/core/plan.ts', find: "primary: run('prove'),", replace: "primary: run('primary-failover')," }],
    story: 'a pair is made',
    seed: 1,
    violation: 'before any saved change',
  },
  {
    name: 'load-failed-is-unpromotable',
    rule: 'a secondary whose log says that a checkpoint did not load is not promoted; SAFETY 2',
    changes: [
      { file: 'agent/core/qemu-log.ts', find: 'FAILED_LOAD.some((pattern) => pattern.test(line))', replace: 'FAILED_LOAD.length === 0' },
    ],
    story: 'the secondary does not load a checkpoint, and the primary dies',
    seed: 1,
    violation: 'a state that failed to load',
  },
  {
    name: 'lacking-writes-is-unfit',
    rule: 'a primary whose disk failed a write that its secondary took is not let go on alone; SAFETY 1',
    changes: [
      { file: 'agent/loop/unfit.ts', find: 'if (isPrimary && hasCopy)', replace: "if (isPrimary && hasCopy && situation === 'hung')" },
    ],
    story: "the primary's disk fails, and its secondary dies before its agent can say so",
    seed: 3,
    violation: 'lacks what a client was told',
  },
  {
    name: 'disk-status-poll',
    rule: 'query-xen-replication-status is read, because the driver swallows errors; SAFETY 1',
    changes: [
      {
        file: 'agent/core/facts.ts',
        find: "return text(answer, ['desc'], '').includes('not running') ? 'none' : 'error';",
        replace: "return text(answer, ['desc'], '').includes('not running') ? 'none' : 'clean';",
      },
    ],
    story: "the secondary's disk is full, and the primary dies",
    seed: 1,
    violation: 'what a client was told',
  },
  {
    name: 'disk-status-at-checkpoints',
    rule: 'query-xen-replication-status is read at each checkpoint, which empties the overlays; SAFETY 1',
    changes: [{ file: 'agent/loop/watch.ts', find: "event.name === 'STOP' &&", replace: "event.name === 'never' &&" }],
    story: 'the secondary refused a write, a checkpoint forgot it, and the primary dies before the next regular look',
    seed: 16,
    violation: 'what a client was told',
  },
  {
    name: 'merge-before-boot',
    rule: 'a chain is merged before its parent is booted; SAFETY 5',
    changes: [{ file: 'agent/loop/disk.ts', find: 'if (!merged.value) {', replace: 'if (merged.value === null) {' }],
    story: 'the promoted side dies while it merges',
    seed: 1,
    violation: 'overlays',
  },
  {
    name: 'overlays-of-the-valid-disk-stay',
    rule: 'overlays that the record counts on are not removed; SAFETY 5',
    changes: [
      {
        file: DESTROY,
        find: 'const keep = new Set([...(record?.disk?.images ?? []), ...alsoKeep]);',
        replace: 'const keep = new Set<string>();',
      },
    ],
    story: 'the promoted side dies while it merges',
    seed: 5,
    violation: 'heard and its disk',
  },
  {
    name: 'doubt-is-no-testimony',
    rule: 'an agent that died in a release does not testify that its QEMU never released; SAFETY 4',
    changes: [
      {
        file: 'agent/core/report.ts',
        find: 'qemu === null ? null : aloneOrDoubtful(qemu)',
        replace: 'qemu === null ? null : qemu.aloneSince',
      },
    ],
    story: 'the agent of the winner dies as it releases, and its QEMU before it is back',
    seed: 1,
    violation: 'what a client was told',
  },
];
