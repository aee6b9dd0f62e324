// How the runner says that a step ended: done, already done, refused, unknown or aborted, in virtual time.

import { describe, expect, test } from 'vitest';
import { fail, ok } from '../../../shared/core/result.js';
import { secondaryFailover } from '../../../agent/core/procedures/failover.js';
import { command, hmp, queryUntil, waitEvent, waitJob, yank } from '../../../agent/core/procedures/parts.js';
import type { Procedure, Progress, Step } from '../../../agent/core/procedures/step.js';
import { runProcedure } from '../../../agent/procedure-runner.js';
import { FakeQemuPort, lost, refused } from '../../fakes/qemu-port.js';
import { aContext } from './procedure-context.js';

const procedure = (...steps: readonly Step[]): Procedure => ({ name: 'primary-failover', steps, releasedAfter: null });
const never = new AbortController().signal;
const run = (port: FakeQemuPort, ...steps: readonly Step[]) => runProcedure(procedure(...steps), port, () => undefined, never);

const objectDel = command('object-del', { id: 'm0' }, { alreadyDone: [{ contains: 'not found' }] });
const resume = waitEvent('wait RESUME', 'RESUME', {
  where: { kind: 'always' },
  failOn: [{ event: 'COLO_EXIT', where: { kind: 'always' } }],
  since: null,
  deadlineMs: 1_000,
  onTimeout: 'refused',
  deviations: [],
});

describe('a command', () => {
  test('answered -> done, in order, each with its duration', async () => {
    const port = new FakeQemuPort();
    const result = await run(port, command('stop', {}), command('cont', {}));
    expect(result).toMatchObject({ kind: 'done', timings: [{ step: 'stop' }, { step: 'cont' }] });
    expect(port.sent.map((each) => each.command)).toEqual(['stop', 'cont']);
  });

  test('refused because it is done already -> goes on, and says so', async () => {
    const port = new FakeQemuPort({ 'object-del': refused("object 'm0' not found") });
    expect(await run(port, objectDel)).toMatchObject({ kind: 'done', timings: [{ outcome: 'already-done' }] });
  });

  test('refused for another reason -> refused at that step, and nothing after it is sent', async () => {
    const port = new FakeQemuPort({ 'object-del': refused("object 'm0' is in use") });
    const result = await run(port, objectDel, command('cont', {}));
    expect(result).toMatchObject({ kind: 'refused', step: 'object-del', error: { description: "object 'm0' is in use" } });
    expect(port.sent).toHaveLength(1);
  });

  test('outcome lost, and looking shows that it happened -> done', async () => {
    const observe = {
      command: 'query-chardev',
      args: {},
      done: { kind: 'has-item', path: [], where: { kind: 'equals', path: ['label'], value: 'm' } },
    } as const;
    const port = new FakeQemuPort({ 'chardev-add': lost('deadline'), 'query-chardev': ok([{ label: 'm' }]) });
    expect(await run(port, command('chardev-add', {}, { observe }))).toMatchObject({ kind: 'done' });
  });

  test('outcome lost, and looking does not show it -> unknown, never refused', async () => {
    const observe = { command: 'query-chardev', args: {}, done: { kind: 'has-item', path: [], where: { kind: 'always' } } } as const;
    const port = new FakeQemuPort({ 'chardev-add': lost('deadline'), 'query-chardev': ok([]) });
    expect(await run(port, command('chardev-add', {}, { observe }))).toMatchObject({ kind: 'unknown', step: 'chardev-add' });
  });

  test('for the human monitor, answered with text -> refused with that text', async () => {
    const port = new FakeQemuPort({ 'human-monitor-command': ok("Error: Could not open 'nbd0'\r\n") });
    const result = await run(port, hmp('drive_add', 'drive_add -n buddy'));
    expect(result).toMatchObject({ kind: 'refused', error: { errorClass: 'HMP', description: "Error: Could not open 'nbd0'" } });
  });

  test('for the human monitor, answered with nothing -> done', async () => {
    const port = new FakeQemuPort({ 'human-monitor-command': ok('') });
    expect(await run(port, hmp('drive_add', 'drive_add -n buddy'))).toMatchObject({ kind: 'done' });
  });
});

describe('a yank', () => {
  test('unknown instance -> harmless; sent out of band, one instance a call', async () => {
    const port = new FakeQemuPort({ yank: refused('Instance not found') });
    const result = await run(port, yank({ type: 'chardev', id: 'mirror0' }), yank({ type: 'migration' }));
    expect(result).toMatchObject({ kind: 'done' });
    expect(port.sent).toMatchObject([
      { oob: true, args: { instances: [{ type: 'chardev', id: 'mirror0' }] } },
      { oob: true, args: { instances: [{ type: 'migration' }] } },
    ]);
  });
});

describe('a wait for an event', () => {
  test('the event comes -> done at that instant', async () => {
    const port = new FakeQemuPort();
    port.later.push({ at: 40, happen: () => port.emit('RESUME') });
    expect(await run(port, resume)).toMatchObject({ kind: 'done', durationMs: 40 });
  });

  test('it came while an earlier step ran -> done at once', async () => {
    const port = new FakeQemuPort({
      cont: (each) => {
        each.emit('RESUME');
        return ok({});
      },
    });
    expect(await run(port, command('cont', {}), { ...resume, since: 'cont' })).toMatchObject({ kind: 'done', durationMs: 0 });
  });

  test('it came before the step that is waited from -> does not count', async () => {
    const port = new FakeQemuPort({
      stop: (each) => {
        each.emit('RESUME');
        return ok({});
      },
    });
    const result = await run(port, command('stop', {}), command('cont', {}), { ...resume, since: 'cont' });
    expect(result).toMatchObject({ kind: 'refused', error: { kind: 'timeout' } });
  });

  test('a contrary event -> refused at once', async () => {
    const port = new FakeQemuPort();
    port.later.push({ at: 5, happen: () => port.emit('COLO_EXIT', { reason: 'error' }) });
    expect(await run(port, resume)).toMatchObject({ kind: 'refused', durationMs: 5, error: { kind: 'contrary' } });
  });

  test('QEMU dies -> unknown at once, without waiting for the deadline', async () => {
    const port = new FakeQemuPort();
    port.later.push({ at: 7, happen: () => port.end() });
    expect(await run(port, resume)).toMatchObject({ kind: 'unknown', durationMs: 7 });
  });

  test('nothing comes, and that is unknown -> unknown after the deadline', async () => {
    const result = await run(new FakeQemuPort(), { ...resume, onTimeout: 'unknown' });
    expect(result).toMatchObject({ kind: 'unknown', durationMs: 1_000, error: { kind: 'timeout' } });
  });

  test('with a nudge -> the command is sent again every so often', async () => {
    const port = new FakeQemuPort();
    await run(port, { ...resume, nudge: { command: 'migrate-set-parameters', args: {}, everyMs: 300 } });
    expect(port.sent.map((each) => each.at)).toEqual([300, 600, 900]);
  });
});

describe('a question asked again', () => {
  const untilRunning = queryUntil(
    'wait running',
    { command: 'query-status' },
    {
      until: { kind: 'equals', path: ['running'], value: true },
      failWhen: { kind: 'equals', path: ['status'], value: 'io-error' },
      everyMs: 10,
      deadlineMs: 100,
      onTimeout: 'unknown',
      deviations: [],
    },
  );

  test('fulfilled later -> done then', async () => {
    const port = new FakeQemuPort({ 'query-status': [ok({ running: false }), ok({ running: false }), ok({ running: true })] });
    expect(await run(port, untilRunning)).toMatchObject({ kind: 'done', durationMs: 20 });
  });

  test('an answer that rules it out -> refused', async () => {
    const port = new FakeQemuPort({ 'query-status': ok({ running: false, status: 'io-error' }) });
    expect(await run(port, untilRunning)).toMatchObject({ kind: 'refused', error: { kind: 'contrary' } });
  });

  test('never fulfilled -> unknown after its deadline', async () => {
    const port = new FakeQemuPort({ 'query-status': ok({ running: false }) });
    expect(await run(port, untilRunning)).toMatchObject({ kind: 'unknown', durationMs: 100 });
  });
});

describe('a wait for a job', () => {
  const job = (offset: number, ready = false) => ok([{ device: 'resync', type: 'mirror', offset, len: 100, ready }]);

  test('ready -> done, with progress on the way', async () => {
    const port = new FakeQemuPort({ 'query-block-jobs': [job(10), job(60), job(100, true)] });
    const seen: Progress[] = [];
    const wait = waitJob('resync', 'ready', { everyMs: 20, stallMs: 1_000 });
    expect(await runProcedure(procedure(wait), port, (each) => seen.push(each), never)).toMatchObject({ kind: 'done' });
    expect(seen.filter((each) => each.kind === 'copying').map((each) => each.doneBytes)).toEqual([10, 60]);
  });

  test('no progress for the bound, however long the copy ran before -> refused', async () => {
    const port = new FakeQemuPort({ 'query-block-jobs': [job(10), job(20), job(30), job(30)] });
    const result = await run(port, waitJob('resync', 'ready', { everyMs: 400, stallMs: 1_000 }));
    expect(result).toMatchObject({ kind: 'refused', error: { kind: 'timeout' } });
    expect(result.durationMs).toBeGreaterThan(1_600);
  });

  test('the job vanished before it was ready -> refused with what its last event said', async () => {
    const port = new FakeQemuPort({
      'drive-mirror': (each) => {
        each.emit('BLOCK_JOB_COMPLETED', { device: 'resync', error: 'No space left on device' });
        return ok({});
      },
      'query-block-jobs': ok([]),
    });
    const result = await run(port, command('drive-mirror', {}), waitJob('resync', 'ready', { everyMs: 20, stallMs: 1_000 }));
    expect(result).toMatchObject({ kind: 'refused', error: { description: expect.stringContaining('No space left on device') as string } });
  });
});

describe('an abort', () => {
  test('while waiting -> aborted at that step', async () => {
    const port = new FakeQemuPort();
    const caller = new AbortController();
    port.later.push({ at: 50, happen: () => caller.abort() });
    const result = await runProcedure(procedure(resume), port, () => undefined, caller.signal);
    expect(result).toMatchObject({ kind: 'aborted', step: 'wait RESUME', durationMs: 50 });
  });

  test('inside a command -> aborted, not refused', async () => {
    const caller = new AbortController();
    const port = new FakeQemuPort({
      migrate: () => {
        caller.abort();
        return fail({ kind: 'lost', cause: 'aborted', description: 'given up' });
      },
    });
    expect(await runProcedure(procedure(command('migrate', {})), port, () => undefined, caller.signal)).toMatchObject({ kind: 'aborted' });
  });
});

describe('secondary failover', () => {
  const released = {
    'query-colo-status': ok({ mode: 'none', 'last-mode': 'secondary', reason: 'request' }),
    'query-status': ok({ running: true }),
  };

  test('COLO_EXIT never comes -> unknown before anything is released', async () => {
    const port = new FakeQemuPort(released);
    const result = await runProcedure(secondaryFailover(aContext()), port, () => undefined, never);
    expect(result).toMatchObject({ kind: 'unknown', step: 'wait COLO_EXIT' });
    expect(new Set(port.sent.map((each) => each.command))).toEqual(new Set(['yank']));
  });

  test('COLO_EXIT of the primary side only -> does not count', async () => {
    const port = new FakeQemuPort(released);
    port.later.push({ at: 3, happen: () => port.emit('COLO_EXIT', { mode: 'primary' }) });
    expect(await runProcedure(secondaryFailover(aContext()), port, () => undefined, never)).toMatchObject({ kind: 'unknown' });
  });

  test('COLO_EXIT comes -> released once the last filter is gone, told at that moment', async () => {
    const port = new FakeQemuPort(released);
    port.later.push({ at: 12, happen: () => port.emit('COLO_EXIT', { mode: 'secondary', reason: 'error' }) });
    const told: Progress[] = [];
    const result = await runProcedure(secondaryFailover(aContext()), port, (each) => told.push(each), never);
    expect(result).toMatchObject({ kind: 'done' });
    const at = told.findIndex((each) => each.kind === 'released');
    expect(told[at - 1]).toMatchObject({ kind: 'step-finished', timing: { step: 'object-del f1' } });
  });

  test('the command answers but COLO was not left on request -> unknown, filters stay', async () => {
    const port = new FakeQemuPort({ 'query-colo-status': ok({ mode: 'secondary', 'last-mode': 'none', reason: 'none' }) });
    const result = await runProcedure(secondaryFailover(aContext({ coloExited: true })), port, () => undefined, never);
    expect(result).toMatchObject({ kind: 'unknown', step: 'wait COLO left on request' });
    expect(port.sent.some((each) => each.command === 'object-del')).toBe(false);
  });
});
