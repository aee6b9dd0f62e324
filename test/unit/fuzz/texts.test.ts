// Everything that is read as text, fed with everything: files of operators, values of etcd, datagrams of other hosts, QEMU's log, the lab
// guest's lines. Nothing throws, nothing hangs, and whatever is refused is refused by its file and line, or its key and field.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { decodeHeartbeat, encodeHeartbeat, hearHeartbeat, newContact } from '../../../agent/core/heartbeat.js';
import { lastWords, saysUnpromotable } from '../../../agent/core/qemu-log.js';
import { parseMessage } from '../../../agent/io/qmp-wire.js';
import { parseRecord } from '../../../deploy/lab/disk-records.js';
import { parseAnswer, parseState } from '../../../deploy/lab/guest-protocol.js';
import {
  clusterCodec,
  coordinatorKeyCodec,
  historyCodec,
  hostKeyCodec,
  vmRecordCodec,
  vmWantedCodec,
  type Codec,
} from '../../../shared/core/codec.js';
import { instant, vmUid } from '../../../shared/core/ids.js';
import { specProblems } from '../../../shared/core/spec-rules.js';
import type { Result } from '../../../shared/core/result.js';
import { loadAgentConfig, loadCoordinatorConfig, type ConfigProblem } from '../../../shared/io/config.js';
import { parseVmFile } from '../../../shared/io/vm-file.js';
import { specFromWire, specToWire } from '../../../shared/io/wire/spec.js';
import { history, record, spec } from '../shared/arbitrary.js';
import { cases, json, mutated, patienceMs } from './fuzz.js';

const example = (name: string): string => readFileSync(`deploy/examples/${name}.yaml`, 'utf8');
const folder = mkdtempSync(join(tmpdir(), 'colo-fuzz-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function expectLocated(file: string, read: Result<unknown, readonly ConfigProblem[]>): void {
  if (read.ok) return;
  expect(read.error.length).toBeGreaterThan(0);
  for (const each of read.error) {
    expect(each.file).toBe(file);
    expect(each.line).toBeGreaterThan(0);
    expect(each.problem).not.toBe('');
  }
}

const yaml = (name: string): fc.Arbitrary<string> =>
  fc.oneof({ weight: 6, arbitrary: mutated(fc.constant(example(name))) }, json, fc.string());

/** Mutations found these; each threw or told nothing once. */
const NASTY = [
  'name: *nobody\n',
  'a: &a [*a]\n',
  '? [1, 2]\n: 3\n',
  '<<: 7\n',
  '--- 1\n--- 2\n',
  '!!binary x',
  'memory: 99999999999999999999T\n',
  `a: &a [1,2]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nd: [*c,*c,*c,*c,*c,*c,*c,*c]\n`,
];

describe('a file of an operator', () => {
  const vm = (text: string): void => {
    const read = parseVmFile('vm.yaml', text);
    expectLocated('vm.yaml', read);
    // What is taken is whole: it goes over the wire and into the store and comes back.
    if (!read.ok) return;
    expect(specFromWire(specToWire(read.value))).toEqual({ ok: true, value: read.value });
    const stored = { uid: vmUid('u'), spec: read.value, wanted: 'running', protect: true } as const;
    expect(vmWantedCodec.decode('k', vmWantedCodec.encode(stored))).toEqual({ ok: true, value: stored });
  };
  const config = (load: (file: string) => Result<unknown, readonly ConfigProblem[]>) => (text: string) => {
    const file = join(folder, 'config.yaml');
    writeFileSync(file, text);
    expectLocated(file, load(file));
  };

  it.each(NASTY)('%j -> read or refused by file and line', (text) => {
    vm(text);
    config(loadAgentConfig)(text);
  });
  it('any VM file -> read whole, or refused by file and line', { timeout: patienceMs }, () => {
    fc.assert(fc.property(yaml('vm'), vm), cases(150));
  });
  it('any definition, however it came -> judged in words, never an exception', { timeout: patienceMs }, () => {
    fc.assert(
      fc.property(spec, (value) => {
        for (const each of specProblems(value)) expect(each.problem).not.toBe('');
      }),
      cases(200),
    );
  });
  it("any agent's configuration -> read, or refused by file and line", { timeout: patienceMs }, () => {
    fc.assert(fc.property(yaml('agent'), config(loadAgentConfig)), cases(100));
  });
  it("any coordinator's configuration -> read, or refused by file and line", { timeout: patienceMs }, () => {
    fc.assert(fc.property(yaml('coordinator'), config(loadCoordinatorConfig)), cases(100));
  });
});

describe('a value of etcd', () => {
  const wanted = fc.record({ uid: fc.constant(vmUid('u')), spec, wanted: fc.constantFrom('running', 'stopped'), protect: fc.boolean() });
  const named = {
    host: 'a',
    hostId: '1',
    agentAddress: 'a:1',
    replicationAddress: '10.0.0.1',
    qemuVersion: '1',
    agentVersion: '1',
    format: 1,
  };
  const codecs: readonly { readonly what: string; readonly codec: Codec<unknown>; readonly good: fc.Arbitrary<string> }[] = [
    { what: 'record', codec: vmRecordCodec as Codec<unknown>, good: record.map((each) => vmRecordCodec.encode(each)) },
    { what: 'wish', codec: vmWantedCodec as Codec<unknown>, good: wanted.map((each) => vmWantedCodec.encode(each as never)) },
    { what: 'history entry', codec: historyCodec as Codec<unknown>, good: history.map((each) => historyCodec.encode(each)) },
    { what: 'host', codec: hostKeyCodec as Codec<unknown>, good: fc.constant(JSON.stringify(named)) },
    { what: 'cluster', codec: clusterCodec as Codec<unknown>, good: fc.constant('{"format":1,"name":"t","incarnation":"i","termBase":7}') },
    {
      what: 'coordinator',
      codec: coordinatorKeyCodec as Codec<unknown>,
      good: fc.constant('{"format":1,"name":"a","address":"a:1","session":"s"}'),
    },
  ];
  it.each(codecs)('any $what -> read as it can be written again, or refused by its key', { timeout: patienceMs }, ({ codec, good }) => {
    fc.assert(
      fc.property(fc.oneof({ weight: 6, arbitrary: mutated(good) }, json, fc.string()), (text) => {
        const read = codec.decode('/colo/t/key', text);
        if (read.ok) expect(codec.decode('/colo/t/key', codec.encode(read.value))).toEqual(read);
        else expect(read.error.detail).toMatch(/^\/colo\/t\/key: ./);
      }),
      cases(150),
    );
  });
});

describe('what comes from other processes', () => {
  const heartbeat = encodeHeartbeat({
    version: 1,
    cluster: 'c',
    host: 'a',
    session: 's',
    sequence: 3,
    sentAtMs: 12.5,
    heard: { session: 'us', sentAtMs: 1, agoMs: 2 },
    hung: ['u'],
  });

  it('any datagram -> a heartbeat that leaves the contact sane, or none', { timeout: patienceMs }, () => {
    fc.assert(
      fc.property(
        fc.array(fc.oneof({ weight: 6, arbitrary: mutated(fc.constant(heartbeat)) }, json), { minLength: 1, maxLength: 4 }),
        (texts) => {
          let contact = newContact;
          for (const text of texts) {
            const heard = decodeHeartbeat(text, 'c');
            if (heard !== null) contact = hearHeartbeat(contact, heard, 'us', instant(10_000));
          }
          // A peer can at most say that it has just heard us, never that it will.
          expect(contact.contactAt ?? 0).toBeLessThanOrEqual(10_000);
          expect(Number.isNaN(contact.contactAt)).toBe(false);
          expect(Number.isNaN(contact.rttMs)).toBe(false);
        },
      ),
      cases(300),
    );
  });

  const line = fc.oneof(
    mutated(fc.constant("qemu-system-x86_64: error while loading state for instance 0x0 of device 'virtio-net'\n")),
    mutated(fc.constant('qemu-system-x86_64: load device state failed: -22\n')),
    fc.string({ unit: 'binary', maxLength: 200 }),
  );
  it('any log of QEMU -> a line of it, or nothing', { timeout: patienceMs }, () => {
    fc.assert(
      fc.property(fc.array(line, { maxLength: 5 }), (lines) => {
        const text = lines.join('');
        const found = saysUnpromotable(text);
        expect(found === null || text.includes(found)).toBe(true);
        expect((lastWords(text) ?? '').length).toBeLessThanOrEqual(200);
      }),
      cases(200),
    );
  });

  it('a log of QEMU that is one endless line -> is judged in a moment', () => {
    const began = performance.now();
    saysUnpromotable('error while loading state for instance '.repeat(50_000));
    lastWords(' '.repeat(2_000_000));
    expect(performance.now() - began).toBeLessThan(2_000);
  });

  it('any line of QMP -> a message, never an exception', { timeout: patienceMs }, () => {
    const good = fc.constantFrom(
      '{"QMP": {"version": {"qemu": {"micro": 2, "minor": 1, "major": 11}}, "capabilities": ["oob"]}}',
      '{"event": "RESUME", "data": {"a": 1}, "timestamp": {"seconds": 1}}',
      '{"return": {}, "id": "x-1"}',
      '{"error": {"class": "GenericError", "desc": "no"}, "id": "x-1"}',
    );
    fc.assert(
      fc.property(fc.oneof({ weight: 6, arbitrary: mutated(good) }, json, fc.string()), (text) => {
        const message = parseMessage(text);
        if (message.kind === 'event') expect(message.data).toBeInstanceOf(Object);
        if (message.kind === 'error') expect(typeof message.description).toBe('string');
      }),
      cases(300),
    );
  });

  it("any line of the lab's guest, any sector of its disk -> whole numbers, or nothing", { timeout: patienceMs }, () => {
    const good = fc.constantFrom('7 0000000a 0 q1', 'stat 7 0000000a up=1.000 wall=2.000', 'N 7 0000000a q1');
    fc.assert(
      fc.property(fc.oneof({ weight: 6, arbitrary: mutated(good) }, fc.string()), (text) => {
        for (const read of [parseAnswer(text), parseState(text), parseRecord(Buffer.from(text))])
          expect(read === null || (Number.isSafeInteger(read.counter) && read.boot.length === 8)).toBe(true);
      }),
      cases(300),
    );
  });
});
