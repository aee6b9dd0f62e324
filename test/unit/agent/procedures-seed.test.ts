// Holds every procedure of QEMU's manuals against the manuals' own JSON: our deviations are undone one by one, by their own
// description, and what is left must be the manual, command by command and argument by argument.

import { describe, expect, test } from 'vitest';
import { unreachable } from '../../../shared/core/assert.js';
import type { ProcedureContext } from '../../../agent/core/procedures/context.js';
import { type Deviation, DEVIATIONS, type DeviationId } from '../../../agent/core/procedures/deviations.js';
import { primaryFailover, secondaryFailover } from '../../../agent/core/procedures/failover.js';
import { primaryResumeReplication, secondaryResumeReplication } from '../../../agent/core/procedures/resume.js';
import {
  blockPrimaryAfterFailover,
  blockPrimaryAttach,
  blockSecondaryAfterFailover,
  blockSecondaryExport,
  primaryStart,
  secondaryStart,
} from '../../../agent/core/procedures/start.js';
import type { Procedure, Step } from '../../../agent/core/procedures/step.js';
import { SEED, type SeedCommand } from '../../fixtures/seed.js';
import { aContext } from './procedure-context.js';

type Args = Record<string, unknown>;
interface Plain {
  readonly command: string;
  readonly args: Args;
}

const byId = new Map<DeviationId, Deviation>(DEVIATIONS.map((deviation) => [deviation.id, deviation]));
const listed = (step: Step): readonly Deviation[] => step.deviations.flatMap((id) => byId.get(id) ?? []);

/** Null for a step that the manual does not have, by its own word. Throws for a deviation that finds nothing to undo. */
function undo(step: Step): Plain | null {
  if (listed(step).some((deviation) => deviation.effect.kind === 'adds-steps')) return null;
  const plain = plainOf(step);
  for (const deviation of listed(step)) undoOne(deviation, plain);
  return plain;
}

function plainOf(step: Step): Plain {
  switch (step.kind) {
    case 'command':
      return { command: step.command, args: structuredClone(step.args) as Args };
    case 'hmp':
      return { command: 'human-monitor-command', args: { 'command-line': step.line } };
    case 'yank':
    case 'wait-event':
    case 'query-until':
    case 'wait-job':
      throw new Error(`"${step.name}" is not in the manual, and no listed deviation adds it`);
    default:
      return unreachable(step);
  }
}

function undoOne(deviation: Deviation, plain: Plain): void {
  const { effect } = deviation;
  switch (effect.kind) {
    case 'adds-arguments':
      for (const path of effect.paths) remove(plain, effect.command, path, deviation.id);
      return;
    case 'changes-arguments': {
      const place = effect.places.find((each) => each.command === plain.command);
      if (place === undefined) throw new Error(`${deviation.id} does not speak of ${plain.command}`);
      remove(plain, place.command, place.path, deviation.id);
      return;
    }
    case 'adds-hmp-option': {
      const line = String(plain.args['command-line']);
      const left = line.split(',').filter((option) => !option.startsWith(`${effect.option}=`));
      if (left.join(',') === line) throw new Error(`${deviation.id} finds nothing to undo`);
      plain.args['command-line'] = left.join(',');
      return;
    }
    case 'adds-steps':
    case 'omits-command':
    case 'adds-credentials':
      return;
    default:
      return unreachable(effect);
  }
}

function remove(plain: Plain, command: string, path: readonly string[], why: string): void {
  if (plain.command !== command) throw new Error(`${why} does not speak of ${plain.command}`);
  const last = path.at(-1) ?? '';
  const holder = path.slice(0, -1).reduce<Args | undefined>((here, key) => here?.[key] as Args | undefined, plain.args);
  if (holder === undefined || !(last in holder)) throw new Error(`${why} finds nothing to undo at ${path.join('.')} of ${plain.command}`);
  Reflect.deleteProperty(holder, last);
}

/** The manual without what a listed deviation changes or leaves out, so that both sides miss the same. */
function manual(commands: readonly SeedCommand[], steps: readonly Step[]): readonly Plain[] {
  const kept = commands.filter(
    (each) => !DEVIATIONS.some(({ effect }) => effect.kind === 'omits-command' && effect.command === each.execute),
  );
  const ours = steps.filter((step) => !listed(step).some((deviation) => deviation.effect.kind === 'adds-steps'));
  return kept.map((each, k) => {
    const plain: Plain = { command: each.execute, args: structuredClone(each.arguments ?? {}) as Args };
    const step = ours[k];
    for (const { effect, id } of step === undefined ? [] : listed(step)) {
      const place = effect.kind === 'changes-arguments' ? effect.places.find((one) => one.command === plain.command) : undefined;
      if (place !== undefined) remove(plain, place.command, place.path, id);
    }
    return plain;
  });
}

/** The block-replication manual leaves blanks and calls the disk colo1. */
function filled(commands: readonly SeedCommand[] | undefined): readonly SeedCommand[] {
  const text = JSON.stringify(commands ?? [])
    .replaceAll('"parent":"colo1"', '"parent":"colo-disk0"')
    .replaceAll('colo1', 'parent0')
    .replaceAll('nbd_client1', 'replication0')
    .replaceAll('host=xxxx', 'host=127.0.0.2')
    .replaceAll('port=xxxx', 'port=9999')
    .replaceAll('drive_del xxxx', 'drive_del replication0')
    .replaceAll('"port":"xxx"', '"port":"9999"');
  return JSON.parse(text) as readonly SeedCommand[];
}

const backToA: Partial<ProcedureContext> = { peerAddress: '127.0.0.1', bindAddress: '127.0.0.2', rewriters: ['rew0'] };
const CASES: readonly (readonly [string, Procedure])[] = [
  ['secondaryStart', secondaryStart(aContext())],
  ['primaryStart', primaryStart(aContext())],
  ['primaryFailover', primaryFailover(aContext())],
  ['secondaryFailover', secondaryFailover(aContext())],
  ['primaryResumeReplication', primaryResumeReplication(aContext())],
  ['secondaryResumeReplication', secondaryResumeReplication(aContext(backToA))],
  ['blockPrimaryAttach', blockPrimaryAttach(aContext())],
  ['blockSecondaryExport', blockSecondaryExport(aContext())],
  ['blockPrimaryAfterFailover', blockPrimaryAfterFailover(aContext())],
  ['blockSecondaryAfterFailover', blockSecondaryAfterFailover()],
];

describe('the procedures of the manual', () => {
  test.each(CASES)('%s, listed deviations undone -> the manual, command by command', (name, procedure) => {
    const ours = procedure.steps.map(undo).filter((plain) => plain !== null);
    expect(ours).toEqual(manual(filled(SEED[name]), procedure.steps));
  });

  test('every list of the manual -> has its procedure here', () => {
    expect(CASES.map(([name]) => name).sort()).toEqual(Object.keys(SEED).sort());
  });

  test('an ex-secondary resumes as a primary -> its filters go before rew0, and the step says why', () => {
    const steps = primaryResumeReplication(aContext({ rewriters: ['rew0'] })).steps;
    const mirror = steps.find((step) => step.name === 'object-add m0');
    expect(mirror).toMatchObject({ args: { insert: 'before', position: 'id=rew0' } });
    expect(mirror?.deviations).toContain('insert-by-fact');
    const ours = steps.map(undo).filter((plain) => plain !== null);
    expect(ours).toEqual(manual(SEED['primaryResumeReplication'] ?? [], steps));
  });

  test('an argument that no deviation lists -> found', () => {
    const { steps } = primaryFailover(aContext());
    const changed = steps.map((step): Step =>
      step.kind === 'command' && step.name === 'object-del comp0' ? { ...step, args: { ...step.args, force: true } } : step,
    );
    const ours = changed.map(undo).filter((plain) => plain !== null);
    expect(ours).not.toEqual(manual(SEED['primaryFailover'] ?? [], changed));
  });

  test('a step that no deviation lists -> found', () => {
    const [yank] = primaryFailover(aContext()).steps;
    expect(yank === undefined ? null : () => undo({ ...yank, deviations: [] })).toThrow(/no listed deviation/);
  });

  test('every listed deviation -> is used by a procedure of the manual', () => {
    const withRewriter = primaryResumeReplication(aContext({ rewriters: ['rew0'] }));
    const used = new Set(
      [...CASES.map(([, procedure]) => procedure), withRewriter, secondaryStart(aContext({ tls: { folder: '/tls' } }))].flatMap((each) =>
        each.steps.flatMap((step) => step.deviations),
      ),
    );
    expect(DEVIATIONS.map((deviation) => deviation.id).filter((id) => !used.has(id))).toEqual(['negotiated-at-connect']);
  });
});
