// The steps around QEMU's migration stream: from `migrate` to a pair that has shown a checkpoint, and back to one side alone.

import {
  CHECKPOINT_MS,
  COLO_EXIT_MS,
  DOWNTIME_LIMIT_MS,
  FIRST_RESUME_MS,
  FORCE_AGAIN_MS,
  MIGRATION_FLOOR_MS,
  POLL_STOPPED_MS,
  RELEASE_MS,
} from './bounds.js';
import type { Condition } from './condition.js';
import type { ProcedureContext } from './context.js';
import { ALREADY, command, queryUntil, waitEvent } from './parts.js';
import type { JsonObject } from './port.js';
import { connecting, listening } from '../pair-tls.js';
import type { CommandStep, Step, WaitEventStep } from './step.js';

const statusIs = (...values: readonly string[]): Condition => ({ kind: 'one-of', path: ['status'], values });
const always: Condition = { kind: 'always' };
const COLO_EXIT = { event: 'COLO_EXIT', where: always };
const MIGRATION_FAILED = { event: 'MIGRATION', where: statusIs('failed', 'cancelled', 'completed') };

export const FORCE_STEP = 'migrate-set-parameters force checkpoint';

/** `pauseAtSwitchover`: QEMU waits before the last part of the copy, so that disks and filters are switched in the same stop. */
export function setCapabilities(context: ProcedureContext, pauseAtSwitchover: boolean): CommandStep {
  const wanted: JsonObject[] = [{ capability: 'x-colo', state: true }];
  if (context.capabilities.returnPath) wanted.push({ capability: 'return-path', state: true });
  wanted.push({ capability: 'events', state: true });
  if (context.capabilities.pauseBeforeSwitchover) wanted.push({ capability: 'pause-before-switchover', state: pauseAtSwitchover });
  return command('migrate-set-capabilities', { capabilities: wanted }, { deviations: ['capabilities'] });
}

/** On a secondary, before the migration comes in. */
export function setSecondaryCapabilities(context: ProcedureContext): CommandStep {
  const wanted: JsonObject[] = [];
  if (context.capabilities.coloOnSecondary) wanted.push({ capability: 'x-colo', state: true });
  if (context.capabilities.returnPath) wanted.push({ capability: 'return-path', state: true });
  wanted.push({ capability: 'events', state: true });
  return command('migrate-set-capabilities', { capabilities: wanted }, { deviations: ['capabilities-secondary'] });
}

export function setParameters(context: ProcedureContext): CommandStep {
  return command(
    'migrate-set-parameters',
    {
      'max-bandwidth': context.maxBandwidthBytes,
      'downtime-limit': DOWNTIME_LIMIT_MS,
      'x-checkpoint-delay': context.checkpointDelayMs,
      ...connecting(context.tls),
    },
    { deviations: context.tls === null ? ['parameters'] : ['parameters', 'tls'] },
  );
}

/** On a secondary: who may send it a guest. */
export function setSecondaryParameters(context: ProcedureContext): readonly CommandStep[] {
  return context.tls === null ? [] : [command('migrate-set-parameters', listening(context.tls), { deviations: ['tls'] })];
}

export function migrate(context: ProcedureContext): CommandStep {
  return command('migrate', { uri: `tcp:${context.peerAddress}:${context.ports.migration}` });
}

/** Twice the bytes at the allowed bandwidth for a guest that dirties what was sent, and a floor for the rest. */
function migrationMs(context: ProcedureContext): number {
  return MIGRATION_FLOOR_MS + Math.ceil((2_000 * context.memoryMiB * 1_048_576) / context.maxBandwidthBytes);
}

export function waitMigration(context: ProcedureContext, status: 'colo' | 'pre-switchover', since: string): WaitEventStep {
  return waitEvent(`wait MIGRATION ${status}`, 'MIGRATION', {
    where: statusIs(status),
    failOn:
      status === 'colo' ? [MIGRATION_FAILED, COLO_EXIT] : [MIGRATION_FAILED, COLO_EXIT, { event: 'MIGRATION', where: statusIs('colo') }],
    since,
    deadlineMs: migrationMs(context),
    onTimeout: 'refused',
    deviations: ['wait-done'],
  });
}

/** Every RESUME in COLO ends a full transfer of state, so both guests are equal at that moment. */
export function waitFirstResume(since: string): WaitEventStep {
  return waitEvent('wait first RESUME', 'RESUME', {
    where: always,
    failOn: [COLO_EXIT],
    since,
    deadlineMs: FIRST_RESUME_MS,
    onTimeout: 'refused',
    deviations: ['prove-protection'],
  });
}

/** Never before the first RESUME of a pair: QEMU's timer for it is a null pointer until then. */
export function forceCheckpoint(context: ProcedureContext): readonly Step[] {
  const force = { command: 'migrate-set-parameters', args: { 'x-checkpoint-delay': context.checkpointDelayMs } };
  return [
    command(force.command, force.args, { name: FORCE_STEP, deviations: ['prove-protection'] }),
    waitEvent('wait checkpoint RESUME', 'RESUME', {
      where: always,
      failOn: [COLO_EXIT],
      since: FORCE_STEP,
      nudge: { ...force, everyMs: FORCE_AGAIN_MS },
      deadlineMs: CHECKPOINT_MS,
      onTimeout: 'refused',
      deviations: ['prove-protection'],
    }),
  ];
}

export function waitColoExit(): WaitEventStep {
  return waitEvent('wait COLO_EXIT', 'COLO_EXIT', {
    where: { kind: 'equals', path: ['mode'], value: 'secondary' },
    since: null,
    deadlineMs: COLO_EXIT_MS,
    onTimeout: 'unknown',
    deviations: ['wait-colo-exit'],
  });
}

export function lostHeartbeat(): CommandStep {
  const asked: Condition = { kind: 'not', of: { kind: 'equals', path: ['reason'], value: 'none' } };
  return command(
    'x-colo-lost-heartbeat',
    {},
    { alreadyDone: ALREADY.coloOver, observe: { command: 'query-colo-status', args: {}, done: asked } },
  );
}

/** The command's own answer proves nothing; this does. */
export function waitReleased(lastMode: 'primary' | 'secondary'): readonly Step[] {
  return [
    queryUntil(
      'wait COLO left on request',
      { command: 'query-colo-status' },
      {
        until: {
          kind: 'all',
          of: [
            { kind: 'equals', path: ['mode'], value: 'none' },
            { kind: 'equals', path: ['last-mode'], value: lastMode },
            { kind: 'equals', path: ['reason'], value: 'request' },
          ],
        },
        everyMs: POLL_STOPPED_MS,
        deadlineMs: RELEASE_MS,
        onTimeout: 'unknown',
        deviations: ['prove-release'],
      },
    ),
    waitRunning('prove-release'),
  ];
}

export function waitRunning(deviation: 'prove-release'): Step {
  return queryUntil(
    'wait guest running',
    { command: 'query-status' },
    {
      until: { kind: 'equals', path: ['running'], value: true },
      everyMs: POLL_STOPPED_MS,
      deadlineMs: RELEASE_MS,
      onTimeout: 'unknown',
      deviations: [deviation],
    },
  );
}
