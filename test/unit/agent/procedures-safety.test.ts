// What the order of steps must keep to, whatever else changes: the laws of SAFETY.md that live in procedures.

import { describe, expect, test } from 'vitest';
import { primaryFailover, secondaryFailover } from '../../../agent/core/procedures/failover.js';
import {
  liveResumeReplication,
  primaryResumeReplication,
  rollbackProtection,
  secondaryResumeReplication,
  switchoverResumeReplication,
} from '../../../agent/core/procedures/resume.js';
import { forceCheckpointNow, primaryStart, secondaryStart } from '../../../agent/core/procedures/start.js';
import type { Procedure } from '../../../agent/core/procedures/step.js';
import { vmNames } from '../../../agent/core/names.js';
import { aContext, CAPABILITIES } from './procedure-context.js';

const two = aContext({
  names: vmNames(2, 2),
  ports: { migration: 9998, nbd: 9999, mirror: [9003, 9013], compare: [9004, 9014] },
});
const MAKERS = {
  primaryFailover,
  secondaryFailover,
  primaryResumeReplication,
  secondaryResumeReplication,
  liveResumeReplication,
  switchoverResumeReplication,
  rollbackProtection,
  primaryStart,
  secondaryStart,
  forceCheckpointNow,
};
const all = Object.entries(MAKERS).flatMap(([name, make]) => [
  [`${name}, one disk and card`, make(aContext())] as const,
  [`${name}, two of each`, make(two)] as const,
]);
const stepNames = (procedure: Procedure): readonly string[] => procedure.steps.map((step) => step.name);
const place = (procedure: Procedure, name: string): number => {
  const at = stepNames(procedure).indexOf(name);
  if (at === -1) throw new Error(`${procedure.name} has no step ${name}`);
  return at;
};

describe('every procedure', () => {
  test.each(all)('%s -> step names are unique, waits name a step before them, every step has a bound', (_, procedure) => {
    const names = stepNames(procedure);
    expect(new Set(names).size).toBe(names.length);
    for (const [k, step] of procedure.steps.entries()) {
      expect(step.deadlineMs).toBeGreaterThan(0);
      if (step.kind === 'wait-event' && step.since !== null) expect(names.slice(0, k)).toContain(step.since);
    }
    if (procedure.releasedAfter !== null) expect(names).toContain(procedure.releasedAfter);
  });
});

describe('failovers', () => {
  test('primary -> yanks mirror0 before all else, one instance a call', () => {
    const steps = primaryFailover(two).steps.filter((step) => step.kind === 'yank');
    expect(steps.map((step) => step.name)).toEqual([
      'yank mirror0',
      'yank mirror1',
      'yank nbd0',
      'yank nbd1',
      'yank migration',
      'yank compare1-0',
      'yank compare1-1',
    ]);
    expect(primaryFailover(two).steps.findIndex((step) => step.kind !== 'yank')).toBe(steps.length);
  });

  test('secondary -> waits for COLO_EXIT after the yanks and before anything else, at most a second, and promotes nothing without it', () => {
    const procedure = secondaryFailover(aContext());
    const wait = procedure.steps[place(procedure, 'wait COLO_EXIT')];
    expect(wait).toMatchObject({ event: 'COLO_EXIT', onTimeout: 'unknown', deadlineMs: 1_000 });
    expect(procedure.steps.slice(0, place(procedure, 'wait COLO_EXIT')).every((step) => step.kind === 'yank')).toBe(true);
    expect(place(procedure, 'nbd-server-stop')).toBe(place(procedure, 'wait COLO_EXIT') + 1);
  });

  test('secondary whose COLO_EXIT was seen -> does not wait for a second one', () => {
    expect(stepNames(secondaryFailover(aContext({ coloExited: true })))).not.toContain('wait COLO_EXIT');
  });

  test('secondary -> no filter goes before COLO was left on request, and the rewriter never goes', () => {
    const procedure = secondaryFailover(aContext());
    expect(place(procedure, 'object-del f2')).toBeGreaterThan(place(procedure, 'wait COLO left on request'));
    expect(stepNames(procedure)).not.toContain('object-del rew0');
  });

  test('primary -> leaves no chardev to which a woken secondary could connect', () => {
    const names = stepNames(primaryFailover(aContext()));
    expect(names.slice(-6).sort()).toEqual(
      ['mirror0', 'compare1', 'compare0', 'compare0-0', 'compare_out', 'compare_out0'].map((id) => `chardev-remove ${id}`).sort(),
    );
  });
});

describe('protection', () => {
  test.each([
    ['stop-copy', primaryResumeReplication],
    ['live', liveResumeReplication],
    ['switchover', switchoverResumeReplication],
  ] as const)('%s -> the secondary is connected before the guest is first stopped or copied', (_, make) => {
    const procedure = make(aContext());
    const copies = procedure.steps.findIndex((step) => step.kind === 'command' && ['drive-mirror', 'blockdev-add'].includes(step.command));
    expect(place(procedure, 'wait peer on compare1')).toBeLessThan(copies);
  });

  test('live -> filters are switched on before the first RESUME is waited for, and a checkpoint is forced only after it', () => {
    const procedure = liveResumeReplication(aContext());
    expect(place(procedure, 'qom-set redire1 on')).toBeLessThan(place(procedure, 'wait first RESUME'));
    expect(place(procedure, 'migrate-set-parameters force checkpoint')).toBeGreaterThan(place(procedure, 'wait first RESUME'));
  });

  test('two disks -> all copies end in one stop of the guest', () => {
    const names = stepNames(liveResumeReplication(two));
    const stopped = names.slice(names.indexOf('stop'), names.indexOf('cont'));
    expect(stopped.filter((name) => name.startsWith('block-job-cancel') || name.startsWith('x-blockdev-change'))).toHaveLength(4);
  });

  test('QEMU 7.2 -> no capability that it would misunderstand', () => {
    const old = { ...CAPABILITIES, coloOnSecondary: false, returnPath: false, pauseBeforeSwitchover: false };
    const set = primaryResumeReplication(aContext({ capabilities: old })).steps.find((step) => step.name === 'migrate-set-capabilities');
    expect(set).toMatchObject({ args: { capabilities: [{ capability: 'x-colo' }, { capability: 'events' }] } });
    expect(secondaryStart(aContext({ capabilities: old })).steps[0]).toMatchObject({ args: { capabilities: [{ capability: 'events' }] } });
  });

  test('rollback -> nothing is taken down before it is sure that COLO was not reached, and the guest runs at the end', () => {
    const procedure = rollbackProtection(aContext());
    expect(place(procedure, 'object-del comp0')).toBeGreaterThan(place(procedure, 'check COLO not reached'));
    expect(stepNames(procedure).slice(-2)).toEqual(['cont', 'wait guest running']);
  });
});
