// Builders of single steps, so that a procedure reads like the manual's list.

import { COMMAND_MS, YANK_MS } from './bounds.js';
import type { Condition } from './condition.js';
import type { DeviationId } from './deviations.js';
import type { JsonObject } from './port.js';
import type {
  CommandStep,
  HmpStep,
  Observation,
  QueryUntilStep,
  Recognition,
  WaitEventStep,
  WaitJobStep,
  YankInstance,
  YankStep,
} from './step.js';

/** What QEMU says when a thing to be removed is not there, or a thing to be added is. Texts of 7.2, 10.0 and 11.1. */
export const ALREADY = {
  objectGone: [{ contains: 'not found' }],
  objectThere: [{ contains: 'attempt to add duplicate property' }],
  chardevThere: [{ contains: 'already exists' }],
  chardevGone: [{ contains: 'not found' }],
  childGone: [{ contains: 'does not have child' }],
  nodeGone: [{ contains: 'Failed to find node with node-name' }],
  driveGone: [{ contains: 'not found' }],
  jobGone: [{ contains: 'not found' }],
  exportThere: [{ contains: 'is already in use' }],
  nbdServerThere: [{ contains: 'NBD server already running' }],
  nbdServerGone: [{ contains: 'NBD server not running' }],
  coloOver: [{ contains: 'VM is not in COLO mode' }, { contains: "The feature 'colo' is not enabled" }],
} as const satisfies Record<string, readonly Recognition[]>;

interface CommandExtras {
  readonly name?: string;
  readonly deviations?: readonly DeviationId[];
  readonly alreadyDone?: readonly Recognition[];
  readonly observe?: Observation;
  readonly deadlineMs?: number;
}

export function command(name: string, args: JsonObject, extras: CommandExtras = {}): CommandStep {
  return {
    kind: 'command',
    name: extras.name ?? name,
    command: name,
    args,
    deviations: extras.deviations ?? [],
    alreadyDone: extras.alreadyDone ?? [],
    observe: extras.observe ?? null,
    deadlineMs: extras.deadlineMs ?? COMMAND_MS,
  };
}

export function hmp(name: string, line: string, extras: Omit<CommandExtras, 'name'> = {}): HmpStep {
  return {
    kind: 'hmp',
    name,
    line,
    deviations: extras.deviations ?? [],
    alreadyDone: extras.alreadyDone ?? [],
    observe: extras.observe ?? null,
    deadlineMs: extras.deadlineMs ?? COMMAND_MS,
  };
}

export function yank(instance: YankInstance): YankStep {
  const target = instance.type === 'block-node' ? instance['node-name'] : instance.type === 'chardev' ? instance.id : 'migration';
  return { kind: 'yank', name: `yank ${target}`, instance, deviations: ['yank-first'], deadlineMs: YANK_MS };
}

export function objectDel(id: string): CommandStep {
  return command('object-del', { id }, { name: `object-del ${id}`, alreadyDone: ALREADY.objectGone, observe: objectAbsent(id) });
}

export function chardevRemove(id: string, deviations: readonly DeviationId[]): CommandStep {
  return command(
    'chardev-remove',
    { id },
    { name: `chardev-remove ${id}`, deviations, alreadyDone: ALREADY.chardevGone, observe: chardevAbsent(id) },
  );
}

export function waitEvent(
  name: string,
  event: string,
  wait: Pick<WaitEventStep, 'where' | 'since' | 'deadlineMs' | 'onTimeout' | 'deviations'> &
    Partial<Pick<WaitEventStep, 'failOn' | 'nudge'>>,
): WaitEventStep {
  return { kind: 'wait-event', name, event, failOn: [], nudge: null, ...wait };
}

export function queryUntil(
  name: string,
  query: { readonly command: string; readonly args?: JsonObject },
  wait: Pick<QueryUntilStep, 'until' | 'everyMs' | 'deadlineMs' | 'onTimeout' | 'deviations'> &
    Partial<Pick<QueryUntilStep, 'failWhen' | 'meaning'>>,
): QueryUntilStep {
  return { kind: 'query-until', name, command: query.command, args: query.args ?? {}, failWhen: null, meaning: null, ...wait };
}

export function waitJob(job: string, until: 'ready' | 'gone', bounds: { readonly everyMs: number; readonly stallMs: number }): WaitJobStep {
  return {
    kind: 'wait-job',
    name: `wait ${job} ${until}`,
    job,
    until,
    everyMs: bounds.everyMs,
    deadlineMs: bounds.stallMs,
    deviations: ['wait-done'],
  };
}

export const hasItem = (key: string, value: string): Condition => ({
  kind: 'has-item',
  path: [],
  where: { kind: 'equals', path: [key], value },
});

export function objectAbsent(id: string): Observation {
  return { command: 'qom-list', args: { path: '/objects' }, done: { kind: 'not', of: hasItem('name', id) } };
}

function chardevAbsent(id: string): Observation {
  return { command: 'query-chardev', args: {}, done: { kind: 'not', of: hasItem('label', id) } };
}

export const objectPresent = (id: string): Observation => ({ command: 'qom-list', args: { path: '/objects' }, done: hasItem('name', id) });
export const chardevPresent = (id: string): Observation => ({ command: 'query-chardev', args: {}, done: hasItem('label', id) });
export const nodePresent = (name: string): Observation => ({
  command: 'query-named-block-nodes',
  args: { flat: true },
  done: hasItem('node-name', name),
});
export const nodeAbsent = (name: string): Observation => {
  const present = nodePresent(name);
  return { ...present, done: { kind: 'not', of: present.done } };
};
