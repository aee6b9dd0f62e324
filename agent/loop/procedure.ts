// Runs one of the seed's procedures on the QEMU of a task: gives it its context, follows its progress, and words how it ended.

import { runProcedure } from '../procedure-runner.js';
import { acceptsLoss } from '../core/journal.js';
import { releases } from '../core/plan.js';
import { procedureContext, type ProcedureContext } from '../core/procedures/context.js';
import type { Procedure, ProcedureResult } from '../core/procedures/step.js';
import type { ActionResult } from './tasks.js';
import { whyUnfit } from './unfit.js';
import type { Task, Vm } from './vm.js';

/** Steps that may let output go: filters away, COLO left, a guest that runs again. What comes before them releases nothing. */
const FREEING = /^(object-del|x-colo-lost-heartbeat|cont)\b/;

export type StepsEnd = { readonly kind: 'done' } | { readonly kind: 'ended'; readonly result: ActionResult };

/** `onReleased`: from here on the guest runs alone and is heard. */
export async function runSteps(
  vm: Vm,
  task: Task,
  make: (context: ProcedureContext) => Procedure,
  onReleased: () => void = () => undefined,
): Promise<StepsEnd> {
  const ended = (step: string, error: string): StepsEnd => ({ kind: 'ended', result: { kind: 'failed', step, error } });
  const { link, qemu } = vm;
  if (link === null || qemu === null) return ended('connect', 'the monitor of QEMU is not connected');
  const procedure = make(contextOf(vm, task, link.capabilities));
  task.procedure = procedure.name;
  // What takes the other copy away has ended every write under way, so whatever speaks against this one has been said by now.
  const objection = async (step: string): Promise<string | null> => {
    if (!releases(task.goal.kind) || !FREEING.test(step) || acceptsLoss(task.goal)) return null;
    const why = await whyUnfit(vm);
    return why === null ? null : `this QEMU must not run the guest: ${why}`;
  };
  const result = await runProcedure(
    procedure,
    link.monitor,
    (progress) => {
      if (progress.kind === 'step-started') {
        task.step = progress.step;
        task.freed ||= FREEING.test(progress.step);
      }
      if (progress.kind === 'copying') vm.resync = { doneBytes: progress.doneBytes, totalBytes: progress.totalBytes };
      if (progress.kind === 'released') {
        vm.durationsMs = { ...vm.durationsMs, [`${progress.procedure}-released`]: progress.sinceStartMs };
        const { name, ports } = vm;
        ports.log.info({ vm: name, epoch: task.epoch, procedure: progress.procedure, ms: round(progress.sinceStartMs) }, 'released');
        onReleased();
      }
    },
    task.abort.signal,
    objection,
  );
  vm.durationsMs = { ...vm.durationsMs, [procedure.name]: result.durationMs };
  note(vm, task, result);
  if (result.kind === 'done') return { kind: 'done' };
  if (result.kind === 'aborted') return ended(result.step, 'a newer order came');
  return ended(`${procedure.name}: ${result.step}`, `${result.kind === 'unknown' ? 'outcome unknown: ' : ''}${result.error.description}`);
}

function contextOf(vm: Vm, task: Task, capabilities: ProcedureContext['capabilities']): ProcedureContext {
  const { qemu, facts, seen } = vm;
  const attempt = qemu?.attempt ?? null;
  const none = { migration: 0, nbd: 0, mirror: [], compare: [] };
  return procedureContext(
    task.spec,
    {
      ports: attempt?.ports ?? none,
      peer: attempt?.peer ?? { host: '', address: '' },
      bindAddress: vm.setup.replicationAddress,
      runtimeDir: qemu === null ? '' : vm.paths(qemu.born).runtimeDir,
      capabilities,
      tls: vm.setup.tls,
    },
    { rewriters: facts?.rewriters ?? [], coloExited: qemu?.coloExited === true || (seen?.coloExit ?? null) !== null },
  );
}

function note(vm: Vm, task: Task, result: ProcedureResult): void {
  const slowest = [...result.timings].sort((one, other) => other.durationMs - one.durationMs).slice(0, 3);
  vm.ports.log.info(
    {
      vm: vm.name,
      epoch: task.epoch,
      procedure: result.procedure,
      outcome: result.kind,
      ms: round(result.durationMs),
      slowest: slowest.map((each) => `${each.step} ${round(each.durationMs)} ms`),
    },
    'procedure-ended',
  );
  const steps = Object.fromEntries(result.timings.map((each) => [each.step, round(each.durationMs)]));
  vm.ports.log.debug({ vm: vm.name, procedure: result.procedure, steps }, 'procedure-timings');
}

const round = (ms: number): number => Math.round(ms * 10) / 10;
