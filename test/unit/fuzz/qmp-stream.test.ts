// A QMP server that says anything at any time: greetings late, twice or wrong, answers to nobody or to somebody else, events, rubbish, endless
// lines, cut into pieces anywhere. The client always comes to an end within its deadline, tells each end once, and answers each command once.

import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { MonitorClosed, MonitorHandlers } from '../../../agent/core/procedures/port.js';
import { QmpConnection } from '../../../agent/io/qmp-client.js';
import { LineSplitter } from '../../../agent/io/qmp-wire.js';
import { systemClock } from '../../../shared/io/clock.js';
import { cases, json, patienceMs } from './fuzz.js';

const GREETING = '{"QMP": {"version": {"qemu": {"micro": 2, "minor": 1, "major": 11}, "package": ""}, "capabilities": ["oob"]}}\n';
const DEADLINE_MS = 120;
const MOST_BYTES = 2_000;

const ids = fc.constantFrom('"x-1"', '"x-2"', '"x-3"', '"y-1"', '7', 'null', '{"a":1}');
/** What a server may say that is QMP, whether or not anybody asked for it. */
const sane = fc.oneof(
  ids.map((id) => `{"return": {"a": 1}, "id": ${id}}\n`),
  ids.map((id) => `{"error": {"class": "GenericError", "desc": "no"}, "id": ${id}}\n`),
  fc.constantFrom('{"event": "RESUME", "timestamp": {}}\n', '{"event": "STOP", "data": 7}\n', '{"return": {}}\n', '\r\n', '\n'),
);
const insane = fc.oneof(
  fc.constant(GREETING),
  json.map((each) => `${each}\n`),
  fc.string({ unit: 'binary' }),
  fc.constant('x'.repeat(MOST_BYTES + 1)),
  fc.constant('{"return": '),
);
const words = fc
  .array(fc.oneof({ weight: 8, arbitrary: sane }, { weight: 1, arbitrary: insane }), { maxLength: 6 })
  .map((each) => each.join(''));

/** One line of what it says when it is connected, and after each line that it hears. */
const script = fc.record({
  greeting: fc.oneof(
    { weight: 8, arbitrary: fc.constant(GREETING) },
    { weight: 1, arbitrary: words },
    { weight: 1, arbitrary: fc.constant('') },
  ),
  answers: fc.array(fc.record({ honest: fc.boolean(), words, hangUp: fc.integer({ min: 0, max: 9 }).map((each) => each === 0) }), {
    maxLength: 5,
  }),
  cuts: fc.array(fc.nat(40), { minLength: 1, maxLength: 6 }),
});
type Script = typeof script extends fc.Arbitrary<infer T> ? T : never;

let folder: string;
let server: Server | null = null;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'qmp-fuzz-'));
});
afterEach(() => {
  server?.close();
  rmSync(folder, { recursive: true });
});

function serve(path: string, { greeting, answers, cuts }: Script): Promise<void> {
  const say = (socket: Socket, text: string): void => {
    let rest = text;
    for (let k = 0; rest !== ''; k += 1) {
      const length = (cuts[k % cuts.length] ?? 0) + 1;
      socket.write(rest.slice(0, length));
      rest = rest.slice(length);
    }
  };
  server?.close();
  server = createServer((socket) => {
    let turn = 0;
    socket.on('error', () => undefined);
    say(socket, greeting);
    socket.on('data', (chunk) => {
      for (const line of chunk.toString().trim().split('\n')) {
        const { id } = JSON.parse(line) as { readonly id: string };
        const next = answers[turn];
        turn += 1;
        if (next === undefined || next.honest) say(socket, `{"return": {}, "id": "${id}"}\n`);
        if (next !== undefined) say(socket, next.words);
        if (next?.hangUp === true) socket.end();
      }
    });
  });
  const listening = server;
  return new Promise((resolve) => listening.listen(path, resolve));
}

describe('a QMP server', () => {
  it(
    'that says anything -> every command has one answer within its deadline, and the end is told once',
    { timeout: patienceMs },
    async () => {
      let number = 0;
      await fc.assert(
        fc.asyncProperty(script, async (said) => {
          number += 1;
          const path = join(folder, `${number}.sock`);
          await serve(path, said);
          const ends: MonitorClosed[] = [];
          const handlers: MonitorHandlers = { onEvent: () => undefined, onStray: () => undefined, onClosed: (end) => ends.push(end) };
          const abort = new AbortController();
          const began = performance.now();
          const opened = await QmpConnection.open(path, {
            clock: systemClock(),
            handlers,
            idPrefix: 'x',
            deadlineMs: DEADLINE_MS,
            signal: abort.signal,
            maxLineBytes: MOST_BYTES,
          });
          if (!opened.ok) {
            expect(opened.error.kind).toMatch(/^(lost|not-ours|protocol|refused)$/);
            expect(ends).toEqual([]);
          } else {
            const ask = { deadlineMs: DEADLINE_MS, oob: false };
            const answers = await Promise.all(['a', 'b', 'c'].map((command) => opened.value.execute(command, {}, ask)));
            expect(answers).toHaveLength(3);
            const lost = answers.some((each) => !each.ok && each.error.kind === 'lost' && each.error.cause === 'closed');
            if (lost) expect(ends).toHaveLength(1);
            opened.value.close();
            expect(ends).toHaveLength(1);
            expect(await opened.value.execute('d', {}, ask)).toMatchObject({ ok: false });
          }
          // Three deadlines one after the other, and what a busy machine adds.
          expect(performance.now() - began).toBeLessThan(3 * DEADLINE_MS + 5_000);
        }),
        cases(60),
      );
    },
  );

  it('whose bytes are cut anywhere -> the same lines', { timeout: patienceMs }, () => {
    const bytes = fc
      .array(fc.oneof(fc.string({ unit: 'binary' }), fc.constant('\n'), fc.constant('é\n')), { maxLength: 12 })
      .map((all) => Buffer.from(all.join('')));
    fc.assert(
      fc.property(bytes, fc.array(fc.nat(30), { maxLength: 12 }), (all, cuts) => {
        const whole = new LineSplitter(1_000_000).push(all).lines;
        const pieces = new LineSplitter(1_000_000);
        const found: string[] = [];
        let from = 0;
        for (const cut of [...cuts, all.length]) {
          found.push(...pieces.push(all.subarray(from, from + cut)).lines);
          from += cut;
        }
        expect(found).toEqual(whole);
      }),
      cases(200),
    );
  });
});
