// The manual's steps 3 and 4, and the four short lists of the block-replication manual. The processes themselves (steps 1 and 2) are
// command lines: agent/core/qemu-args.ts.

import {
  forceCheckpoint,
  migrate,
  setCapabilities,
  setParameters,
  setSecondaryCapabilities,
  setSecondaryParameters,
  waitFirstResume,
  waitMigration,
} from './colo.js';
import type { ProcedureContext } from './context.js';
import { attachReplication, detachPeer, exportParents, stopExports } from './disk.js';
import { waitPeerConnected } from './network.js';
import type { Procedure, Step } from './step.js';

/** Step 3, on a secondary that waits for its migration stream. */
export function secondaryStart(context: ProcedureContext): Procedure {
  return procedure('secondary-start', [setSecondaryCapabilities(context), ...setSecondaryParameters(context), ...exportParents(context)]);
}

/** Step 4, on a primary started with `-S` and all filters, from images that are identical on both hosts. */
export function primaryStart(context: ProcedureContext): Procedure {
  return procedure('primary-start', [
    ...waitPeerConnected(context),
    ...attachReplication(context),
    setCapabilities(context, false),
    setParameters(context),
    migrate(context),
    waitMigration(context, 'colo', 'migrate'),
    waitFirstResume('migrate'),
    ...forceCheckpoint(context),
  ]);
}

/** Only on a pair that has had its first RESUME. */
export function forceCheckpointNow(context: ProcedureContext): Procedure {
  return procedure('force-checkpoint', forceCheckpoint(context));
}

export function blockPrimaryAttach(context: ProcedureContext): Procedure {
  return procedure('block-primary-attach', attachReplication(context));
}

export function blockSecondaryExport(context: ProcedureContext): Procedure {
  return procedure('block-secondary-export', exportParents(context));
}

export function blockPrimaryAfterFailover(context: ProcedureContext): Procedure {
  return procedure('block-primary-after-failover', detachPeer(context));
}

/** The manual goes on with "promote secondary to primary", which is secondaryFailover. */
export function blockSecondaryAfterFailover(): Procedure {
  return procedure('block-secondary-after-failover', stopExports());
}

function procedure(name: Procedure['name'], steps: readonly Step[]): Procedure {
  return { name, steps, releasedAfter: null };
}
