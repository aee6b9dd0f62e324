// Values as the store keeps them: what is written is read back, what is newer in part is read, what is newer in kind or broken is refused
// by name.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  clusterCodec,
  coordinatorKeyCodec,
  historyCodec,
  hostKeyCodec,
  vmRecordCodec,
  vmWantedCodec,
  type Codec,
} from '../../../shared/core/codec.js';
import { hostId, incarnation, vmUid } from '../../../shared/core/ids.js';
import { history, record, spec } from './arbitrary.js';

const KEY = '/colo/t/vms/web/record';

function roundTrip<T>(codec: Codec<T>, values: fc.Arbitrary<T>): void {
  fc.assert(
    fc.property(values, (value) => {
      expect(codec.decode(KEY, codec.encode(value))).toEqual({ ok: true, value });
    }),
  );
}

function change(text: string, edit: (value: Record<string, unknown>) => void): string {
  const value = JSON.parse(text) as Record<string, unknown>;
  edit(value);
  return JSON.stringify(value);
}

const aRecord = vmRecordCodec.encode(fc.sample(record, { seed: 1, numRuns: 1 })[0] as never);

describe('stored values', () => {
  it('any record -> read back as it was', () => roundTrip(vmRecordCodec, record));
  it('any definition -> read back as it was', () =>
    roundTrip(
      vmWantedCodec,
      fc.record({
        uid: fc.constant(vmUid('u')),
        spec,
        wanted: fc.constantFrom('running', 'stopped', 'deleted'),
        protect: fc.boolean(),
      }),
    ));
  it('any history entry -> read back as it was', () => roundTrip(historyCodec, history));

  it('the keys of hosts, clusters and coordinators -> read back as they were', () => {
    const host = {
      host: 'a',
      hostId: hostId('1'),
      agentAddress: 'a:1',
      replicationAddress: '10.0.0.1',
      qemuVersion: '11.1',
      agentVersion: '0.1',
    };
    expect(hostKeyCodec.decode('k', hostKeyCodec.encode(host))).toEqual({ ok: true, value: host });
    const cluster = { name: 'demo', incarnation: incarnation('i') };
    expect(clusterCodec.decode('k', clusterCodec.encode(cluster))).toEqual({ ok: true, value: cluster });
    const coordinator = { name: 'a', address: 'a:1', session: 's' };
    expect(coordinatorKeyCodec.decode('k', coordinatorKeyCodec.encode(coordinator))).toEqual({ ok: true, value: coordinator });
  });

  it('a field that this version does not know -> ignored', () => {
    const newer = change(aRecord, (value) => (value['moonPhase'] = 'full'));
    expect(vmRecordCodec.decode(KEY, newer)).toEqual(vmRecordCodec.decode(KEY, aRecord));
  });

  it.each([
    [
      'another format',
      (value: Record<string, unknown>) => (value['format'] = 2),
      'unknown-format',
      /format 2, and this program reads format 1/,
    ],
    ['no format', (value: Record<string, unknown>) => delete value['format'], 'unknown-format', /no format version/],
    ['a missing field', (value: Record<string, unknown>) => delete value['epoch'], 'invalid', /epoch: /],
    ['a wrong type', (value: Record<string, unknown>) => (value['reason'] = 7), 'invalid', /reason: /],
    ['an unknown phase', (value: Record<string, unknown>) => (value['phase'] = 'dreaming'), 'invalid', /phase: /],
    [
      'a wrong field deep inside',
      (value: Record<string, unknown>) => (value['ports'] = { migration: 'x' }),
      'invalid',
      /ports\.migration: /,
    ],
    ['an epoch below zero', (value: Record<string, unknown>) => (value['epoch'] = -1), 'invalid', /epoch: /],
  ])('%s -> refused, naming the key and the field', (_case, edit, kind, detail) => {
    const decoded = vmRecordCodec.decode(
      KEY,
      change(aRecord, (value) => void edit(value)),
    );
    expect(decoded).toMatchObject({ ok: false, error: { kind } });
    if (decoded.ok) return;
    expect(decoded.error.detail).toMatch(detail);
    expect(decoded.error.detail.startsWith(`${KEY}: `)).toBe(true);
  });

  it.each(['', '{', 'null', '7', '"text"', '[]'])('text that is no such value (%j) -> refused, not thrown', (text) => {
    expect(vmRecordCodec.decode(KEY, text).ok).toBe(false);
  });
});
