// Stories that are made and not written: for each step of each procedure, which is data, the agent that carries it out dies right before
// or right after it; for each thing that a leader does, the leader; and for each pair of places, the way between them is cut in one
// direction. Only their logs are then read by people.

import { primaryFailover, secondaryFailover } from '../../../agent/core/procedures/failover.js';
import { procedureContext, type ProcedureContext } from '../../../agent/core/procedures/context.js';
import {
  liveResumeReplication,
  primaryResumeReplication,
  rollbackProtection,
  secondaryResumeReplication,
  switchoverResumeReplication,
} from '../../../agent/core/procedures/resume.js';
import type { Procedure, Step } from '../../../agent/core/procedures/step.js';
import { aVm } from '../world/setup.js';
import type { Story } from './story.js';

interface Scene {
  readonly make: (context: ProcedureContext) => Procedure;
  readonly setup: readonly string[];
  /** Brings the world to where the procedure is about to be carried out by `who`; the crash is armed between the two. */
  readonly before: readonly string[];
  readonly who: string;
  readonly then: readonly string[];
}

const SCENES: readonly Scene[] = [
  { make: primaryResumeReplication, setup: ['method=stop-copy'], before: ['wait syncing'], who: 'agent-primary', then: [] },
  { make: liveResumeReplication, setup: ['method=live', 'qemu=7'], before: ['wait syncing'], who: 'agent-primary', then: [] },
  { make: switchoverResumeReplication, setup: ['method=live'], before: ['wait syncing'], who: 'agent-primary', then: [] },
  {
    make: secondaryResumeReplication,
    setup: ['method=stop-copy'],
    before: ['wait protected', 'kill primary', 'wait syncing'],
    who: 'agent-primary',
    then: [],
  },
  { make: primaryFailover, setup: [], before: ['wait protected'], who: 'agent-primary', then: ['kill secondary'] },
  { make: secondaryFailover, setup: [], before: ['wait protected'], who: 'agent-secondary', then: ['kill primary'] },
  {
    make: rollbackProtection,
    setup: ['method=stop-copy'],
    before: ['wait syncing', 'until BLOCK_JOB_READY'],
    who: 'agent-primary',
    then: ['protect no', 'after 1500', 'protect yes'],
  },
];

/** File -> its stories. */
export function crashStories(): ReadonlyMap<string, readonly Story[]> {
  return new Map([
    ...SCENES.map((scene) => {
      const procedure = scene.make(context());
      return [`crash-in-${procedure.name}.txt`, procedureStories(scene, procedure)] as const;
    }),
    ['crash-of-the-leader.txt', leaderStories()],
    ['asymmetric-partitions.txt', partitionStories()],
  ]);
}

function procedureStories(scene: Scene, procedure: Procedure): readonly Story[] {
  const calls = procedure.steps.map((step) => ({ step, text: callOf(step) })).filter((each) => each.text !== null);
  const first = calls.filter(({ text }, k) => calls.findIndex((other) => other.text === text) === k);
  return first.flatMap(({ step, text }) =>
    (['before', 'after'] as const).map((when) => ({
      name: `${procedure.name}: agent dies ${when} ${step.name}`,
      about: [],
      setup: [...scene.setup, 'tell=edges'],
      commands: [...scene.before, `crash-on ${scene.who} ${when} ${text ?? ''}`, ...scene.then, 'after 2500', 'settle'],
      log: [],
    })),
  );
}

/** The call by which a step is known at the agent's door; null = it only waits or asks. */
function callOf(step: Step): string | null {
  switch (step.kind) {
    case 'command':
      return `qmp ${step.command} ${identity(step.args)}`.trim();
    case 'hmp':
      return `qmp human-monitor-command *${step.line.split(' ').slice(0, 2).join(' ')}`;
    case 'yank':
      return `qmp yank *${identity(step.instance)}`;
    default:
      return null;
  }
}

/** What tells two commands of one kind apart. */
function identity(args: Readonly<Record<string, unknown>>): string {
  const key = ['id', 'node-name', 'device', 'parent', 'type'].find((each) => typeof args[each] === 'string');
  return key === undefined ? '' : `*"${key}":${JSON.stringify(args[key])}`;
}

const LEADER_SCENES: readonly (readonly [string, readonly string[], readonly string[], readonly string[]])[] = [
  ['the first protection', ['wait solo'], [], ['etcd txn *record', 'order start-secondary', 'order protect']],
  ['a failover', ['wait protected'], ['kill primary'], ['etcd txn *record', 'order release-secondary', 'order destroy']],
  ['the loss of a secondary', ['wait protected'], ['kill secondary'], ['etcd txn *record', 'order release-primary', 'order destroy']],
  ['a stop', ['wait protected'], ['want stopped', 'after 1500', 'want running'], ['etcd txn *record', 'order stop']],
];

/** The leader dies at the first of each. */
function leaderStories(): readonly Story[] {
  return LEADER_SCENES.flatMap(([what, before, then, calls]) =>
    calls.flatMap((call) =>
      (['before', 'after'] as const).map((when) => ({
        name: `leader dies ${when} ${call} in ${what}`,
        about: [],
        setup: ['tell=edges'],
        commands: [...before, `crash-on leader ${when} ${call}`, ...then, 'after 2500', 'settle'],
        log: [],
      })),
    ),
  );
}

function partitionStories(): readonly Story[] {
  const isolated = ['host-primary', 'host-secondary', 'host-leader'].flatMap((who) =>
    ['in', 'out', 'both'].map((way) => ({ what: `${who} cut off, ${way}`, line: `isolate mgmt ${who} ${way}` })),
  );
  const ends = ['host-primary', 'host-secondary', 'host-leader', 'etcd'];
  const single = ends.flatMap((from) => ends.filter((to) => to !== from).map((to) => [from, to] as const));
  const cuts = [
    ...isolated,
    ...single.map(([from, to]) => ({ what: `from ${from} to ${to}`, line: `cut mgmt ${from} ${to}` })),
    { what: 'replication from primary to secondary', line: 'cut repl host-primary host-secondary' },
    { what: 'replication from secondary to primary', line: 'cut repl host-secondary host-primary' },
    { what: 'replication both ways', line: 'cut-both repl host-primary host-secondary' },
  ];
  const sides = ['host-primary', 'host-secondary'].flatMap((who) =>
    ['in', 'out', 'both'].flatMap((way) => [
      { what: `${who} off the replication network, ${way}`, lines: [`isolate repl ${who} ${way}`] },
      { what: `${who} off both networks, ${way}`, lines: [`isolate mgmt ${who} ${way}`, `isolate repl ${who} ${way}`] },
    ]),
  );
  const links = [
    { what: 'from primary to secondary', line: 'cut repl host-primary host-secondary' },
    { what: 'from secondary to primary', line: 'cut repl host-secondary host-primary' },
    { what: 'both ways', line: 'cut-both repl host-primary host-secondary' },
  ];
  const partition = (what: string, commands: readonly string[]): Story => ({
    name: `partition: ${what}`,
    about: [],
    setup: ['hosts=3', 'tell=edges'],
    commands: [...commands, 'after 3000', 'settle'],
    log: [],
  });
  return [
    ...cuts.map(({ what, line }) => partition(what, ['wait protected', line])),
    ...sides.map(({ what, lines }) => partition(what, ['wait protected', ...lines])),
    // The peers have not heard each other yet, so that their silence says nothing.
    ...links.flatMap(({ what, line }) => [
      partition(`before the first heartbeat of a new pair, ${what}`, ['wait syncing', line]),
      partition(`when the secondary of a new pair has just begun, ${what}`, ['wait syncing', 'until launched as secondary', line]),
      partition(`in the moment in which a new pair is called protected, ${what}`, ['until -> protected@', line]),
    ]),
  ];
}

function context(): ProcedureContext {
  const { spec } = aVm('vm1');
  return procedureContext(
    spec,
    {
      ports: { migration: 20_000, nbd: 20_001, mirror: [20_002], compare: [20_003] },
      peer: { host: 'h2', address: '10.0.0.2' },
      bindAddress: '10.0.0.1',
      runtimeDir: '/run',
      capabilities: { version: { major: 11, minor: 1, micro: 2 }, coloOnSecondary: true, returnPath: true, pauseBeforeSwitchover: true },
      tls: null,
    },
    { rewriters: [], coloExited: false },
  );
}
