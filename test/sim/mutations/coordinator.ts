// The rules that the coordinator keeps: what may be saved, what follows from what, and what goes out when.

import type { Mutation } from './mutation.js';

const SAVE = 'coordinator/save.ts';
const LOOP = 'coordinator/loop.ts';
const VERDICT = 'coordinator/core/transitions-verdict.ts';
const EXECUTION = 'coordinator/core/transitions-execution.ts';
const SYNC = 'coordinator/core/transitions-sync.ts';
const DECIDE = 'coordinator/core/decide.ts';

export const COORDINATOR_MUTATIONS: readonly Mutation[] = [
  {
    name: 'leader-key-guard',
    rule: 'a decision is saved only under the leader key of its own term; DESIGN 1.3',
    changes: [{ file: SAVE, find: 'const compares: Compare[] = [guard, {', replace: 'const compares: Compare[] = [{' }],
    story: 'a leader that lost its place and has not heard of it',
    seed: 1,
    violation: 'leads',
  },
  {
    name: 'record-revision-guard',
    rule: 'the first writer wins; DESIGN 1.3',
    changes: [
      {
        file: SAVE,
        find: "[guard, { kind: 'mod', key: keys.record(draft.vm), revision: draft.recordRevision }]",
        replace: '[guard]',
      },
    ],
    story: 'two leaders after another, the new one with a late mirror',
    seed: 1,
    violation: 'epoch',
  },
  {
    name: 'outcome-unknown',
    rule: 'an unknown outcome is read again and never guessed; ARCHITECTURE law 3',
    changes: [
      {
        file: SAVE,
        find: 'const ours = !answer.ok && value !== null && kv.value === vmRecordCodec.encode(value);',
        replace: 'const ours = !answer.ok;',
      },
    ],
    story: 'primary killed while the store answers late',
    seed: 19,
    violation: 'heard',
  },
  {
    name: 'history-with-the-edge',
    rule: 'record and history entry are one transaction; DESIGN 2',
    changes: [{ file: SAVE, find: 'if (history !== null) {', replace: 'if (history === undefined) {' }],
    story: 'a pair is made',
    seed: 1,
    violation: 'has no history entry',
  },
  {
    name: 'epoch-grows',
    rule: 'epoch + 1 on every edge; DESIGN 1.2',
    changes: [{ file: DECIDE, find: 'epoch: nextEpoch(view.record.epoch), row,', replace: 'row,' }],
    story: 'a pair is made',
    seed: 1,
    violation: 'within epoch',
  },
  {
    name: 'release-after-save',
    rule: 'no order goes out that the saved record does not say; DESIGN 1.3',
    changes: [
      {
        file: LOOP,
        find: 'const saved = await save(vm, state, view, decision, stored?.modRevision ?? 0, wanted.modRevision);',
        replace:
          "if (decision.kind === 'save') orderNow(state, view, decision.record, wanted.value);\n    const saved = await save(vm, state, view, decision, stored?.modRevision ?? 0, wanted.modRevision);",
      },
    ],
    story: 'primary killed while the store is away',
    seed: 1,
    violation: 'is heard and the record',
  },
  {
    name: 'agent-silence-alone',
    rule: "an agent's silence is no evidence, secondary's side; SAFETY 8 and row 13",
    changes: [
      {
        file: VERDICT,
        find: "when: (view) => is(view.a, 'alive') && is(view.b, 'unheard') && broken(view.a),",
        replace: "when: (view) => is(view.a, 'alive') && is(view.b, 'unheard'),",
      },
    ],
    story: 'one agent is away and the other begins anew',
    seed: 1,
    violation: 'the healthy pair',
  },
  {
    name: 'agent-silence-alone-primary',
    rule: "an agent's silence is no evidence, primary's side; SAFETY 8 and row 15",
    changes: [
      {
        file: VERDICT,
        find: "when: (view) => is(view.a, 'unheard') && is(view.b, 'alive') && broken(view.b),",
        replace: "when: (view) => is(view.a, 'unheard') && is(view.b, 'alive'),",
      },
    ],
    story: 'one agent is away and the other begins anew, on the other side',
    seed: 2,
    violation: 'the healthy pair',
  },
  {
    name: 'promotion-from-protected',
    rule: 'a secondary is promoted only from protected; DESIGN 1.5',
    changes: [
      {
        file: VERDICT,
        find: "name: 'primary-dead',\n    from: ['protected'],",
        replace: "name: 'primary-dead',\n    from: ['protected', 'syncing'],",
      },
    ],
    story: 'primary killed in the copy',
    seed: 1,
    violation: 'a verdict for demo out of syncing',
  },
  {
    name: 'both-sides-proven',
    rule: 'protected needs the proof of both sides; DESIGN 1.5, SAFETY 3',
    changes: [
      {
        file: SYNC,
        find: "[view.a, view.b].every((each) => each?.qemu === 'alive' && each.report?.provenFor === view.record.epoch && each.pair === 'ok'),",
        replace: "[view.a].every((each) => each?.qemu === 'alive' && each.report?.provenFor === view.record.epoch && each.pair === 'ok'),",
      },
    ],
    story: 'the agent of the secondary sleeps while the pair is made',
    seed: 1,
    violation: 'has not proven its side',
  },
  {
    name: 'protect-only-a-merged-disk',
    rule: 'no resync while overlays are merged; SAFETY 5',
    changes: [{ file: SYNC, find: "view.record.disk?.state === 'clean' &&\n", replace: '' }],
    story: 'two failovers, one after the other',
    seed: 2,
    violation: 'overlays',
  },
  {
    name: 'promoted-disk-is-a-chain',
    rule: 'after a promotion the record names the chain; SAFETY 5, DESIGN 1.8',
    changes: [
      {
        file: 'coordinator/core/aftermath.ts',
        find: "epoch: record.epoch, state: 'merging', images: report.disk.images };",
        replace: "epoch: record.epoch, state: 'clean', images: report.disk.images.slice(-1) };",
      },
    ],
    story: 'primary killed, and the store goes away after the verdict',
    seed: 1,
    violation: 'calls valid',
  },
  {
    name: 'only-the-valid-disk-is-booted',
    rule: 'no other disk than the one that the record names is booted; DESIGN 1.8',
    changes: [
      {
        file: 'coordinator/core/placement.ts',
        find: 'if (home?.heard === true) return ok(home);\n',
        replace:
          'if (home?.heard === true) return ok(home);\n    const other = candidates(view).find((each) => each.heard);\n    if (other !== undefined) return ok(other);\n',
      },
      {
        file: 'coordinator/core/orders.ts',
        find: 'disk === null || disk.images.length === 0 ? null : disk.images,\n      create: disk === null,',
        replace: 'null,\n      create: true,',
      },
      {
        file: 'agent/core/disk-rules.ts',
        find: "case 'stale':\n      return { kind: 'refuse', why: `${path} is stale",
        replace: "case 'stale':\n      return { kind: 'use', stamp: true, growTo };\n      return { kind: 'refuse', why: `${path} is stale",
      },
    ],
    story: 'the host with the valid disk is away when the VM is started again',
    seed: 1,
    violation: 'is missing',
  },
  {
    name: 'status-error-is-no-promotion',
    rule: 'a secondary whose replication status was in error is not promoted; SAFETY 1',
    changes: [
      {
        file: VERDICT,
        find: "if (report.disk.replication === 'error' || view.a?.report?.disk.replication === 'error')",
        replace: "if (report.disk.replication === 'error' && false)",
      },
    ],
    story: "the secondary's disk is full while nobody hears the primary",
    seed: 1,
    violation: 'what a client was told',
  },
  {
    name: 'executed-when-seen',
    rule: 'executed only when the winner says that it runs alone; SAFETY 4',
    changes: [
      {
        file: EXECUTION,
        find: "report?.qemu.kind === 'alive' && report.qemu.role === 'alone' && report.aloneSince === view.record.epoch\n",
        replace: "report?.qemu.kind === 'alive'\n",
      },
    ],
    story: 'primary killed',
    seed: 1,
    violation: 'is called executed',
  },
  {
    name: 'loser-in-two-steps',
    rule: 'on verdict the loser holds, it is destroyed on executed; SAFETY 4',
    changes: [
      {
        file: 'coordinator/core/orders.ts',
        find: "goal: { kind: 'hold', born: b.side.born } });",
        replace: "goal: { kind: 'destroy' } });",
      },
      {
        file: 'agent/core/destroy-rule.ts',
        find: "if (record.phase === 'stopping' || record.phase === 'stopped')",
        replace: "if (record.phase === 'stopping' || record.phase === 'stopped' || record.phase === 'verdict')",
      },
    ],
    story: 'the link is cut',
    seed: 1,
    violation: 'is killed although',
  },
  {
    name: 'winner-gone-needs-testimony',
    rule: 'a new verdict names the loser only when the winner never released; SAFETY 4',
    changes: [{ file: EXECUTION, find: 'view.a.report?.aloneSince === null &&\n', replace: '' }],
    story: 'the winner dies before it is heard of',
    seed: 1,
    violation: 'what a client was told',
  },
  {
    name: 'guest-poweroff',
    rule: "the guest's own power-off is never a failover; SAFETY 9 row 0",
    changes: [{ file: DECIDE, find: '  storeRow,\n  guestPoweredOff,\n', replace: '  storeRow,\n' }],
    story: 'the guest powers off',
    seed: 1,
    violation: 'not at rest',
  },
  {
    name: 'store-behind-agents',
    rule: 'a store that knows less than its agents decides nothing; SAFETY 6',
    changes: [{ file: DECIDE, find: '  storeRow,\n  guestPoweredOff,\n', replace: '  guestPoweredOff,\n' }],
    story: 'the store is restored',
    seed: 1,
    violation: 'is used again',
  },
  {
    name: 'fresh-ports',
    rule: 'each attempt has ports of its own; SAFETY 7',
    changes: [
      {
        file: 'coordinator/core/placement.ts',
        find: 'for (let step = 1; step <= choices; step += 1) {',
        replace: 'for (let step = 0; step <= choices; step += 1) {',
      },
    ],
    story: 'secondary killed, and a new pair',
    seed: 1,
    violation: 'are those of an earlier attempt',
  },
  {
    name: 'absent-is-not-dead',
    rule: 'only an agent whose journal knows of a QEMU proves that it is gone; SAFETY 7',
    changes: [{ file: 'coordinator/core/view.ts', find: "return report.epoch >= born ? 'dead' : 'unknown';", replace: "return 'dead';" }],
    story: 'a start that is on its way when the stop comes',
    seed: 1,
    violation: 'names nobody',
  },
];
