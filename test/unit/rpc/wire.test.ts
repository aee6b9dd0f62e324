// The model on the wire: everything survives the way there and back, through real bytes; everything strange is refused by its field's name.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { OrderReply, OrderRequest, HostReport as HostMessage } from '../../../shared/gen/colo/v1/agent.js';
import { VmSpec as SpecMessage } from '../../../shared/gen/colo/v1/common.js';
import { HistoryEntry as EntryMessage } from '../../../shared/gen/colo/v1/coordinator.js';
import { historyFromWire, historyToWire } from '../../../shared/io/wire/history.js';
import { answerFromWire, answerToWire, orderFromWire, orderToWire } from '../../../shared/io/wire/order.js';
import { reportFromWire, reportToWire } from '../../../shared/io/wire/report.js';
import { specFromWire, specToWire } from '../../../shared/io/wire/spec.js';
import { epoch } from '../../../shared/core/ids.js';
import type { VmReport } from '../../../shared/core/model.js';
import type { Result } from '../../../shared/core/result.js';
import { answer, history, hostReport, order, spec } from '../shared/arbitrary.js';
import { aReport, aVmReport } from './support.js';

function assertOk<T>(result: Result<T, readonly string[]>): T {
  if (!result.ok) throw new Error(result.error.join('; '));
  return result.value;
}

describe('the wire', () => {
  it('any spec -> the same spec', () => {
    fc.assert(
      fc.property(spec, (value) => {
        const bytes = SpecMessage.encode(specToWire(value)).finish();
        expect(specFromWire(SpecMessage.decode(bytes))).toEqual({ ok: true, value });
      }),
    );
  });

  it('any order -> the same order', () => {
    fc.assert(
      fc.property(order, (value) => {
        const bytes = OrderRequest.encode(orderToWire(value)).finish();
        expect(orderFromWire(OrderRequest.decode(bytes))).toEqual({ ok: true, value });
      }),
    );
  });

  it('any answer to an order -> the same answer', () => {
    fc.assert(
      fc.property(answer, (value) => {
        const bytes = OrderReply.encode(answerToWire(value)).finish();
        expect(answerFromWire(OrderReply.decode(bytes))).toEqual({ ok: true, value });
      }),
    );
  });

  it('any report -> the same report', () => {
    fc.assert(
      fc.property(hostReport, (value) => {
        const bytes = HostMessage.encode(reportToWire(value)).finish();
        expect(reportFromWire(HostMessage.decode(bytes))).toEqual({ ok: true, value: { report: value, strange: [] } });
      }),
    );
  });

  it('any history entry -> the same entry', () => {
    fc.assert(
      fc.property(history, (value) => {
        const bytes = EntryMessage.encode(historyToWire(value)).finish();
        expect(historyFromWire(EntryMessage.decode(bytes))).toEqual({ ok: true, value });
      }),
    );
  });

  it('times with fractions, below zero or endless -> whole milliseconds within range, never an encoder that throws', () => {
    const report = aReport({ latenessMs: 12.6, etcdSilentMs: -3.2, peersSilentMs: { b: Infinity }, freeDiskBytes: 10.4 });
    const bytes = HostMessage.encode(reportToWire(report)).finish();
    const read = reportFromWire(HostMessage.decode(bytes));
    expect(read).toMatchObject({
      ok: true,
      value: { report: { latenessMs: 13, etcdSilentMs: 0, peersSilentMs: { b: 0xffff_ffff }, freeDiskBytes: 10 } },
    });
  });

  const aSpec = fc.sample(spec, { seed: 3, numRuns: 1 })[0] as never;
  const anOrder = orderToWire({ ...(fc.sample(order, { seed: 3, numRuns: 1 })[0] as never as object), spec: aSpec } as never);

  it.each([
    ['no goal', { goal: undefined }, /^goal: /],
    ['no spec', { spec: undefined }, /^spec: is missing$/],
    ['no uid', { uid: '' }, /^uid: is missing$/],
    ['no incarnation', { incarnation: '' }, /^incarnation: is missing$/],
    ['a goal without its epoch of birth', { goal: { $case: 'hold', value: { born: 0 } } }, /^hold\.born: is missing$/],
    [
      'a meeting without ports',
      { goal: { $case: 'startSecondary', value: { born: 3, ports: undefined, peer: { host: 'b', address: '1' } } } },
      /^startSecondary\.ports: is missing$/,
    ],
    [
      'a port of 0',
      { goal: { $case: 'releaseSecondary', value: { born: 3, ports: { migration: 0, nbd: 1, mirror: [], compare: [] } } } },
      /^releaseSecondary\.ports\.migration: 0 is not a TCP port$/,
    ],
    [
      'an unknown method',
      {
        goal: {
          $case: 'protect',
          value: { born: 3, ports: { migration: 1, nbd: 1, mirror: [], compare: [] }, peer: { host: 'b', address: '1' }, method: 'magic' },
        },
      },
      /^protect\.method: unknown word "magic", must be one of /,
    ],
  ])('an order with %s -> refused, naming it', (_case, change, problem) => {
    const read = orderFromWire({ ...anOrder, ...(change as object) });
    expect(read.ok ? [] : read.error).toEqual([expect.stringMatching(problem)]);
  });

  type Vm = HostMessage['vms'][number];
  const words: readonly [string, (vm: Vm) => unknown, Partial<VmReport>, RegExp][] = [
    [
      'a kind of QEMU',
      (vm) => Object.assign(vm.qemu ?? {}, { kind: 'new' }),
      { qemu: { kind: 'unknown', born: epoch(2), pid: 4711 } },
      /qemu\.kind/,
    ],
    [
      'a role',
      (vm) => Object.assign(vm.qemu ?? {}, { role: 'new' }),
      { qemu: { kind: 'alive', born: epoch(2), pid: 4711, role: 'none', runstate: 'colo' } },
      /qemu\.role/,
    ],
    [
      'a state of the pair',
      (vm) => Object.assign(vm.pair ?? {}, { state: 'new' }),
      { pair: { state: 'unknown', evidence: ['checkpoint 12 ms ago'] } },
      /pair\.state/,
    ],
    [
      'a kind of task',
      (vm) => (vm.task = { kind: 'new', goal: 'protect', epoch: 3, procedure: 'p', step: 's', error: '' }),
      { task: { kind: 'running', goal: 'protect', epoch: epoch(3), procedure: 'p', step: 's' } },
      /task\.kind/,
    ],
    [
      'a goal',
      (vm) => (vm.task = { kind: 'failed', goal: 'new', epoch: 3, procedure: '', step: 's', error: 'e' }),
      { task: { kind: 'failed', goal: 'unknown', epoch: epoch(3), step: 's', error: 'e' } },
      /task\.goal/,
    ],
    [
      'a state of the disk',
      (vm) => Object.assign(vm.disk ?? {}, { state: 'new' }),
      { disk: { ...aVmReport().disk, state: 'missing' } },
      /disk\.state/,
    ],
    [
      'a state of replication',
      (vm) => Object.assign(vm.disk ?? {}, { replication: 'new' }),
      { disk: { ...aVmReport().disk, replication: 'error' } },
      /disk\.replication/,
    ],
  ];
  it.each(words)(
    'a report of a newer agent with %s that is not known -> read as what permits nothing, and told of',
    (_what, change, read, field) => {
      const message = reportToWire(aReport({ vms: [aVmReport()] }));
      for (const vm of message.vms) change(vm);
      const { report, strange } = assertOk(reportFromWire(message));
      expect(report.vms).toEqual([aVmReport(read)]);
      expect(strange).toEqual([expect.stringMatching(field)]);
      expect(strange[0]).toMatch(/^vms\[0\]\..*unknown word "new", read as /);
    },
  );

  it('a report in which a word is missing -> refused, because that is no newer version', () => {
    const message = reportToWire(aReport({ vms: [aVmReport()] }));
    for (const vm of message.vms) Object.assign(vm.qemu ?? {}, { kind: '' });
    const read = reportFromWire(message);
    expect(read.ok ? [] : read.error).toEqual(['vms[0].qemu.kind: is missing']);
  });

  it('messages of nothing but defaults -> refused, not thrown', () => {
    expect(reportFromWire(HostMessage.create()).ok).toBe(false);
    expect(orderFromWire(OrderRequest.create()).ok).toBe(false);
    expect(specFromWire(SpecMessage.create()).ok).toBe(false);
    expect(historyFromWire(EntryMessage.create()).ok).toBe(false);
    expect(answerFromWire(OrderReply.create()).ok).toBe(false);
  });
});
