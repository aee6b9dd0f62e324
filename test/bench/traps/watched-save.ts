// The save of a decision, at which a leading coordinator is stopped: before its transaction is sent, or when it is done and nobody knows yet.

import { saveDecision as realSave } from '../../../coordinator/save.js';
import { spring, trapAt } from './trap.js';

export const saveDecision: typeof realSave = async (store, keys, guard, draft) => {
  const { decision } = draft;
  const phase = decision.kind === 'save' && decision.history !== null ? decision.record.phase : null;
  const at = (when: 'before' | 'after'): void => {
    const trap = trapAt((each) => each.kind === 'save' && each.phase === phase && each.when === when);
    if (trap !== null) spring(trap, 'SIGSTOP');
  };
  if (phase !== null) at('before');
  const saved = await realSave(store, keys, guard, draft);
  if (phase !== null && saved.kind === 'saved') at('after');
  return saved;
};
