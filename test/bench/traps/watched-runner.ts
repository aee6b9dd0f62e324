// The runner of procedures, which ends its agent at the armed step: before anything of the step was done, or as soon as its first command
// is in QEMU's socket.

import type { CommandOptions, JsonObject, ProcedurePort } from '../../../agent/core/procedures/port.js';
import type { Progress } from '../../../agent/core/procedures/step.js';
import { runProcedure as realRun } from '../../../agent/procedure-runner.js';
import { spring, trapAt, type Trap } from './trap.js';

export const runProcedure: typeof realRun = (procedure, port, onProgress, signal) => {
  let onceSent: Trap | null = null;

  const at = (step: string, when: 'before' | 'sent'): Trap | null =>
    trapAt((trap) => trap.kind === 'step' && trap.procedure === procedure.name && trap.step === step && trap.when === when);

  const watch = (progress: Progress): void => {
    onProgress(progress);
    if (progress.kind !== 'step-started') return;
    const now = at(progress.step, 'before');
    if (now !== null) spring(now, 'SIGKILL');
    onceSent = at(progress.step, 'sent');
    const step = procedure.steps[progress.index];
    const caught = onceSent;
    // It sends nothing by itself: its wait has begun once the runner has given the turn back.
    if (caught !== null && step?.kind === 'wait-event') setImmediate(() => spring(caught, 'SIGKILL'));
  };

  const watched: ProcedurePort = {
    closed: port.closed,
    now: () => port.now(),
    sleep: (ms, ended) => port.sleep(ms, ended),
    subscribe: (listener) => port.subscribe(listener),
    execute: (command: string, args: JsonObject, options: CommandOptions) => {
      const answer = port.execute(command, args, options);
      // A write to a unix socket that has room is done when the call is back.
      if (onceSent !== null) spring(onceSent, 'SIGKILL');
      return answer;
    },
  };
  return realRun(procedure, watched, watch, signal);
};
