// Which function carries out which action of the plan.

import { cleanUpByOrder, kill, quit, shutDown, tapDown } from './end.js';
import { failOverPrimary, failOverSecondary, forceCheckpoint, goAlone, protect, prove, rollback, startPair } from './pair.js';
import { awaitPair, launchAlone, launchColdPrimary, launchSecondary, prepareSecondaryStart } from './start.js';
import type { ActionTable } from './tasks.js';

export const ACTION_TABLE: ActionTable = {
  'launch-alone': launchAlone,
  'launch-cold-primary': launchColdPrimary,
  'launch-secondary': launchSecondary,
  'prepare-secondary': prepareSecondaryStart,
  'await-pair': awaitPair,
  'go-alone': goAlone,
  protect,
  'start-pair': startPair,
  prove,
  rollback,
  'primary-failover': failOverPrimary,
  'secondary-failover': failOverSecondary,
  'tap-down': tapDown,
  'force-checkpoint': forceCheckpoint,
  'shut-down': shutDown,
  quit,
  kill,
  'clean-up': cleanUpByOrder,
};
