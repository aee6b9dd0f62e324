// The end of a pair: the manual's Primary Failover and Secondary Failover. Both release the guest's output, so they may run only after
// a verdict was saved (SAFETY 3 and 4). Both can be run again from any point at which they were cut off.

import { lostHeartbeat, waitColoExit, waitReleased } from './colo.js';
import type { ProcedureContext } from './context.js';
import { detachPeer, stopExports } from './disk.js';
import { addPrimaryChardevs, deletePrimaryFilters, removePrimaryChardevs } from './network.js';
import { chardevRemove, command, objectDel, yank } from './parts.js';
import type { Procedure, Step } from './step.js';

/** The secondary died: the primary goes on alone. Output flows from the last object-del on; the guest may stand still until the heartbeat is called lost. */
export function primaryFailover(context: ProcedureContext): Procedure {
  return {
    name: 'primary-failover',
    releasedAfter: 'wait guest running',
    steps: [
      ...yankPrimary(context),
      ...detachPeer(context),
      ...deletePrimaryFilters(context),
      lostHeartbeat(),
      ...waitReleased('primary'),
      ...removePrimaryChardevs(context, 'end-chardevs'),
    ],
  };
}

/**
 * The first steps of Secondary Failover by themselves, which release nothing: QEMU is freed from its dead peer and says by COLO_EXIT that no
 * checkpoint is half loaded. Whether the last one was loaded whole can only then be read in its log.
 */
export function secondaryParting(context: ProcedureContext): Procedure {
  return { name: 'secondary-parting', releasedAfter: null, steps: partSecondary(context) };
}

function partSecondary(context: ProcedureContext): readonly Step[] {
  return [
    yank({ type: 'migration' }),
    ...context.names.nics.flatMap((nic) => [yank({ type: 'chardev', id: nic.redIn }), yank({ type: 'chardev', id: nic.redOut })]),
    ...(context.coloExited ? [] : [waitColoExit()]),
  ];
}

/**
 * The primary died: the secondary goes on alone, ready to become the next primary. Without COLO_EXIT(secondary) it ends `unknown`
 * before anything was released, because a checkpoint may be half loaded. The rewriters stay: open connections need them.
 */
export function secondaryFailover(context: ProcedureContext): Procedure {
  const { nics } = context.names;
  const lastFilter = nics.at(-1)?.filterIn;
  return {
    name: 'secondary-failover',
    releasedAfter: lastFilter === undefined ? 'wait guest running' : `object-del ${lastFilter}`,
    steps: [
      ...partSecondary(context),
      ...stopExports(),
      lostHeartbeat(),
      ...waitReleased('secondary'),
      ...nics.flatMap((nic) => [objectDel(nic.filterOut), objectDel(nic.filterIn)]),
      ...nics.flatMap((nic) => [chardevRemove(nic.redOut, []), chardevRemove(nic.redIn, [])]),
      ...addPrimaryChardevs(context),
      command('announce-self', { initial: 50, max: 550, rounds: 5, step: 100 }, { deviations: ['announce-self'] }),
    ],
  };
}

/** Everything that may hold the main loop of a primary; mirror0 before all others. */
export function yankPrimary(context: ProcedureContext): readonly Step[] {
  const { disks, nics } = context.names;
  return [
    ...nics.map((nic) => yank({ type: 'chardev', id: nic.mirror })),
    ...disks.map((disk) => yank({ type: 'block-node', 'node-name': disk.nbd })),
    yank({ type: 'migration' }),
    ...nics.map((nic) => yank({ type: 'chardev', id: nic.compareSecondary })),
  ];
}
