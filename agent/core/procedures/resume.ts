// Protection of a guest that runs alone: the manual's two resume procedures (which differ only in the rewriters that an ex-secondary
// keeps), two live ones that do not stop the guest during its RAM copy, and the way back from a failed attempt.
//
// The live ones rest on this: a pair is protected from the first RESUME after all filters are on and the disk is attached, because
// every RESUME in COLO ends a full transfer of state. So the filters need not be on when COLO begins.

import { CANCEL_MS, POLL_RUNNING_MS, RELEASE_MS } from './bounds.js';
import { forceCheckpoint, migrate, setCapabilities, setParameters, waitFirstResume, waitMigration, waitRunning } from './colo.js';
import type { ProcedureContext } from './context.js';
import {
  attachPlainNbd,
  attachReplication,
  cancelMirrors,
  checkOwnDisks,
  detachPeer,
  endMirrors,
  mirrorDisks,
  mirrorDisksLive,
} from './disk.js';
import { yankPrimary } from './failover.js';
import {
  addPrimaryChardevs,
  addPrimaryFilters,
  deletePrimaryFilters,
  freshCredentials,
  removePrimaryChardevs,
  switchFiltersOn,
  waitPeerConnected,
} from './network.js';
import { command, queryUntil } from './parts.js';
import type { Procedure, Step } from './step.js';

/** `query-migrate` has no status at all before the first migration. */
const MIGRATION_UNDER_WAY = ['setup', 'active', 'pre-switchover', 'device', 'cancelling', 'wait-unplug', 'colo'];

/** The guest stands still for the whole RAM copy: milliseconds per MiB at the allowed bandwidth. */
export function primaryResumeReplication(context: ProcedureContext): Procedure {
  return { name: 'primary-resume-replication', releasedAfter: null, steps: stopAndCopy(context, 'without-rewriter') };
}

/** The same on an ex-secondary, whose filters go before rew0. */
export function secondaryResumeReplication(context: ProcedureContext): Procedure {
  return { name: 'secondary-resume-replication', releasedAfter: null, steps: stopAndCopy(context, 'with-rewriter') };
}

function stopAndCopy(context: ProcedureContext, usual: 'with-rewriter' | 'without-rewriter'): readonly Step[] {
  return [
    ...freshChardevs(context),
    ...mirrorDisks(context),
    command('stop', {}),
    ...endMirrors(context),
    checkOwnDisks(),
    ...attachReplication(context),
    ...addPrimaryFilters(context, usual, 'on'),
    setCapabilities(context, false),
    setParameters(context),
    migrate(context),
    waitMigration(context, 'colo', 'migrate'),
    waitFirstResume('migrate'),
    ...forceCheckpoint(context),
  ];
}

/** The guest runs during the copies; it stops for milliseconds at the attachment and for the downtime limit at the switch. Any QEMU. */
export function liveResumeReplication(context: ProcedureContext): Procedure {
  return {
    name: 'live-resume-replication',
    releasedAfter: null,
    steps: [
      ...freshChardevs(context),
      ...mirrorDisksLive(context),
      command('stop', {}),
      ...endMirrors(context),
      checkOwnDisks(),
      ...attachPlainNbd(context),
      command('cont', {}),
      ...addPrimaryFilters(context, 'without-rewriter', 'off'),
      setCapabilities(context, false),
      setParameters(context),
      migrate(context),
      waitMigration(context, 'colo', 'migrate'),
      ...switchFiltersOn(context),
      waitFirstResume('migrate'),
      ...forceCheckpoint(context),
    ],
  };
}

/** Live with a single stop: QEMU itself pauses before the switch (from 10.0; `capabilities.pauseBeforeSwitchover`). */
export function switchoverResumeReplication(context: ProcedureContext): Procedure {
  return {
    name: 'switchover-resume-replication',
    releasedAfter: null,
    steps: [
      ...freshChardevs(context),
      ...mirrorDisksLive(context),
      ...addPrimaryFilters(context, 'without-rewriter', 'off'),
      setCapabilities(context, true),
      setParameters(context),
      migrate(context),
      waitMigration(context, 'pre-switchover', 'migrate'),
      ...endMirrors(context),
      checkOwnDisks(),
      ...attachPlainNbd(context),
      ...switchFiltersOn(context),
      command('migrate-continue', { state: 'pre-switchover' }),
      waitMigration(context, 'colo', 'migrate-continue'),
      waitFirstResume('migrate-continue'),
      ...forceCheckpoint(context),
    ],
  };
}

/**
 * Undoes an attempt that never reached COLO; the guest runs alone afterwards, also when it was stopped for a copy.
 * Refused at `check COLO not reached` when the pair did get there: then it is Primary Failover.
 */
export function rollbackProtection(context: ProcedureContext): Procedure {
  return {
    name: 'rollback-protection',
    releasedAfter: 'wait guest running',
    steps: [
      ...yankPrimary(context),
      command('migrate_cancel', {}),
      queryUntil(
        'wait migration over',
        { command: 'query-migrate' },
        {
          until: { kind: 'not', of: { kind: 'one-of', path: ['status'], values: MIGRATION_UNDER_WAY } },
          failWhen: { kind: 'equals', path: ['status'], value: 'colo' },
          everyMs: POLL_RUNNING_MS,
          deadlineMs: CANCEL_MS,
          onTimeout: 'unknown',
          deviations: [],
        },
      ),
      queryUntil(
        'check COLO not reached',
        { command: 'query-colo-status' },
        {
          until: { kind: 'equals', path: ['mode'], value: 'none' },
          failWhen: { kind: 'equals', path: ['mode'], value: 'primary' },
          everyMs: POLL_RUNNING_MS,
          deadlineMs: RELEASE_MS,
          onTimeout: 'unknown',
          deviations: [],
        },
      ),
      ...cancelMirrors(context),
      ...detachPeer(context),
      ...deletePrimaryFilters(context),
      ...removePrimaryChardevs(context, 'end-chardevs'),
      command('cont', {}),
      waitRunning('prove-release'),
    ],
  };
}

/** An id that is missing is as good as removed, so the first attempt finds nothing to do here. */
function freshChardevs(context: ProcedureContext): readonly Step[] {
  return [
    ...removePrimaryChardevs(context, 'fresh-chardevs'),
    ...freshCredentials(context),
    ...addPrimaryChardevs(context, ['fresh-chardevs']),
    ...waitPeerConnected(context),
  ];
}
