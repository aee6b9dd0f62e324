// Definitions and wishes as transactions: what is refused, and what holds when two operators, or a lost answer, come in between.

import { describe, expect, it } from 'vitest';
import { createDefinitions, type CurrentVm, type Refusal } from '../../../coordinator/io/definitions.js';
import { historyCodec, hostKeyCodec, vmRecordCodec, vmWantedCodec } from '../../../shared/core/codec.js';
import { HISTORY_PER_VM } from '../../../shared/core/limits.js';
import type { VmSpec } from '../../../shared/core/model.js';
import type { Result } from '../../../shared/core/result.js';
import { fakeClock, fakeRandom } from '../../fakes/clock.js';
import { fakeEtcd } from '../../fakes/store.js';
import { aHost, aRecord, aWish, KEYS } from '../../support/cluster.js';
import { aSpec } from '../../support/spec.js';

const UID = '0123456789abcdef0123456789abcdef';

function aStore() {
  const clock = fakeClock();
  const etcd = fakeEtcd(clock);
  for (const name of ['a', 'b', 'c']) etcd.put(KEYS.inventoryOf(name), hostKeyCodec.encode(aHost(name)));
  const connect = (seed: number) => {
    const store = etcd.connect();
    return { store, definitions: createDefinitions(store, KEYS, fakeRandom(seed)) };
  };
  async function done<T>(...work: readonly Promise<T>[]): Promise<readonly T[]> {
    let all: readonly T[] | null = null;
    void Promise.all(work).then((values) => (all = values));
    await clock.until('the calls end', 60_000, () => all !== null);
    return all ?? [];
  }
  const stored = (name: string) => {
    const kv = etcd.read(KEYS.spec(name));
    const decoded = kv === null ? null : vmWantedCodec.decode(kv.key, kv.value);
    return decoded?.ok === true ? decoded.value : null;
  };
  return { clock, etcd, connect, done, stored };
}

const request = (change: Partial<VmSpec> = {}, uid: string | null = null) => ({ spec: aSpec(change), uid, start: false, dryRun: false });

function outcome(result: Result<CurrentVm, Refusal> | undefined): string {
  if (result === undefined) return 'nothing';
  return result.ok ? 'ok' : `${result.error.code} ${result.error.detail}`;
}

const nic = (mac: string) => ({ nics: [{ mac, bridge: null }] });

describe('a definition', () => {
  it('that is new -> stored, stopped, to be protected, with a uid', async () => {
    const { connect, done, stored } = aStore();
    const [defined] = await done(connect(1).definitions.define(request()));
    expect(outcome(defined)).toBe('ok');
    expect(stored('web')).toMatchObject({ wanted: 'stopped', protect: true, spec: aSpec() });
    expect(stored('web')?.uid).toMatch(/^[0-9a-f]{32}$/);
  });

  it('of a name that exists -> refused at `name`, and nothing is changed', async () => {
    const { connect, done, etcd } = aStore();
    const { definitions } = connect(1);
    await done(definitions.define(request()));
    const before = etcd.revision();
    const [second] = await done(definitions.define(request(nic('52:54:00:00:00:99'))));
    expect(outcome(second)).toMatch(/^ALREADY_EXISTS name: VM "web" exists/);
    expect(etcd.revision()).toBe(before);
  });

  it.each([
    [
      'a host that does not exist',
      { name: 'db', ...nic('52:54:00:00:00:99'), hosts: ['a', 'zz'] },
      /^FAILED_PRECONDITION hosts\.1: host "zz" does not exist in this cluster: the cluster has a, b, c$/,
    ],
    [
      'the MAC address of another VM',
      { name: 'db', ...nic('52:54:00:12:34:56') },
      /^FAILED_PRECONDITION nics\.0\.mac: .*belongs to VM "web"/,
    ],
    [
      'the image of another VM',
      { name: 'db', ...nic('52:54:00:00:00:99'), disks: [{ sizeBytes: 2 ** 20, path: '/w.raw', source: null }] },
      /disks\.0\.path: .*image of VM "web"/,
    ],
    [
      'a machine newer than its hosts',
      { name: 'db', ...nic('52:54:00:00:00:99'), machine: 'pc-q35-12.0', hosts: ['a', 'b'] },
      /machine: .*a has QEMU 11\.1\.2, b has/,
    ],
    ['something that is wrong in itself', { machine: 'pc' }, /^INVALID_ARGUMENT machine: .*version/],
  ])('with %s -> refused at its key, and nothing is changed', async (_, change, refusal) => {
    const { connect, done, etcd } = aStore();
    const { definitions } = connect(1);
    await done(definitions.define(request({ disks: [{ sizeBytes: 2 ** 20, path: '/w.raw', source: null }] })));
    const before = etcd.revision();
    const [refused] = await done(definitions.define(request(change)));
    expect(outcome(refused)).toMatch(refusal);
    expect(etcd.revision()).toBe(before);
  });

  it('beside another one with the same MAC at the same instant -> exactly one is stored', async () => {
    const { connect, done, stored } = aStore();
    const outcomes = await done(
      connect(1).definitions.define(request({ name: 'web' })),
      connect(2).definitions.define(request({ name: 'db' })),
    );
    expect(outcomes.map((each) => outcome(each).split(' ')[0]).sort()).toEqual(['FAILED_PRECONDITION', 'ok']);
    expect([stored('web'), stored('db')].filter((each) => each !== null)).toHaveLength(1);
  });

  it.each([0, 1, 2, 3, 4, 5, 6, 7])('that another one overtakes by %i ms -> MAC addresses stay different', async (lead) => {
    const { clock, connect, done, stored } = aStore();
    const [slow, quick] = [connect(1), connect(2)];
    slow.store.delayMs = 3;
    const first = slow.definitions.define(request({ name: 'web' }));
    await clock.advance(lead);
    await done(first, quick.definitions.define(request({ name: 'db' })));
    expect([stored('web'), stored('db')].filter((each) => each !== null)).toHaveLength(1);
  });

  it.each(['unknown-done', 'unknown-undone'] as const)('whose answer is lost (%s) -> read again, and stored once', async (fault) => {
    const { connect, done, stored } = aStore();
    const { store, definitions } = connect(1);
    store.nextTxn(fault);
    const [defined] = await done(definitions.define(request({}, UID)));
    expect(outcome(defined)).toBe('ok');
    expect(stored('web')?.uid).toBe(UID);
  });

  it('repeated with the same uid -> the same definition, and no error', async () => {
    const { connect, done } = aStore();
    const { definitions } = connect(1);
    await done(definitions.define(request({}, UID)));
    const [again] = await done(definitions.define(request({}, UID)));
    expect(outcome(again)).toBe('ok');
  });

  it('tried dry -> judged and not stored', async () => {
    const { connect, done, etcd } = aStore();
    const before = etcd.revision();
    const [dry] = await done(connect(1).definitions.define({ ...request(), dryRun: true }));
    expect(outcome(dry)).toBe('ok');
    expect(etcd.revision()).toBe(before);
  });

  it('without an etcd quorum -> says so, and that nothing was changed', async () => {
    const { connect, done, etcd } = aStore();
    etcd.down(true);
    const [refused] = await done(connect(1).definitions.define(request()));
    expect(outcome(refused)).toMatch(/^UNAVAILABLE no etcd quorum, nothing was changed/);
  });
});

describe('a wish', () => {
  it.each([
    ['start', aWish({ wanted: 'stopped' }), null, { wanted: 'running' }],
    ['stop', aWish(), aRecord(), { wanted: 'stopped' }],
    ['protect', aWish({ protect: false }), aRecord({ phase: 'solo' }), { protect: true }],
    ['unprotect', aWish(), aRecord(), { protect: false }],
    ['delete', aWish({ wanted: 'stopped' }), aRecord({ phase: 'stopped', primary: null, secondary: null }), { wanted: 'deleted' }],
    ['delete', aWish({ wanted: 'stopped' }), null, { wanted: 'deleted' }],
  ] as const)('to %s -> is in the spec key', async (wish, wanted, record, expected) => {
    const { connect, done, etcd, stored } = aStore();
    etcd.put(KEYS.spec('web'), vmWantedCodec.encode(wanted));
    if (record !== null) etcd.put(KEYS.record('web'), vmRecordCodec.encode(record));
    const [changed] = await done(connect(1).definitions.change('web', wish, false));
    expect(outcome(changed)).toBe('ok');
    expect(stored('web')).toMatchObject(expected);
  });

  it.each([
    ['delete', aWish(), aRecord(), /^FAILED_PRECONDITION .*protected and wanted running: stop it first/],
    ['delete', aWish({ wanted: 'stopped' }), aRecord({ phase: 'stopping' }), /stopping: stop it first/],
    ['delete', aWish(), aRecord({ phase: 'stopped' }), /wanted running/],
    ['start', aWish(), aRecord({ phase: 'failed', reason: 'both disks are gone' }), /is failed: both disks are gone.*vm stop web/],
    ['start', aWish({ wanted: 'deleted' }), null, /being deleted/],
    ['stop', aWish({ wanted: 'deleted' }), null, /being deleted/],
  ] as const)('to %s that cannot be -> refused with what to do', async (wish, wanted, record, refusal) => {
    const { connect, done, etcd } = aStore();
    etcd.put(KEYS.spec('web'), vmWantedCodec.encode(wanted));
    if (record !== null) etcd.put(KEYS.record('web'), vmRecordCodec.encode(record));
    const before = etcd.revision();
    const [refused] = await done(connect(1).definitions.change('web', wish, false));
    expect(outcome(refused)).toMatch(refusal);
    expect(etcd.revision()).toBe(before);
  });

  it('to delete, while the VM is started by somebody else -> one of the two is refused', async () => {
    const { connect, done, etcd, stored } = aStore();
    etcd.put(KEYS.spec('web'), vmWantedCodec.encode(aWish({ wanted: 'stopped' })));
    const outcomes = await done(
      connect(1).definitions.change('web', 'delete', false),
      connect(2).definitions.change('web', 'start', false),
    );
    expect(outcomes.filter((each) => each.ok)).toHaveLength(1);
    expect(stored('web')?.wanted).not.toBe('stopped');
  });

  it('again and again -> each is in the history with who asked, in a ring that does not grow without end', async () => {
    const { connect, done, etcd, stored } = aStore();
    etcd.put(KEYS.spec('web'), vmWantedCodec.encode(aWish({ asked: HISTORY_PER_VM - 2 })));
    const { definitions } = connect(1);
    await done(definitions.change('web', 'unprotect', false, 'operator/alice'));
    await done(definitions.change('web', 'protect', false, 'operator/bob'));
    const { uid } = aWish();
    const entry = (place: number) => {
      const kv = etcd.read(KEYS.askedOf('web', uid, place));
      const decoded = kv === null ? null : historyCodec.decode(kv.key, kv.value);
      return decoded?.ok === true ? `${decoded.value.row} ${decoded.value.by}` : null;
    };
    expect([entry(HISTORY_PER_VM - 1), entry(0)]).toEqual(['asked-unprotect operator/alice', 'asked-protect operator/bob']);
    expect(stored('web')?.asked).toBe(0);
  });

  it('that is already so -> no write', async () => {
    const { connect, done, etcd } = aStore();
    etcd.put(KEYS.spec('web'), vmWantedCodec.encode(aWish()));
    const before = etcd.revision();
    const [again] = await done(connect(1).definitions.change('web', 'start', false));
    expect(outcome(again)).toBe('ok');
    expect(etcd.revision()).toBe(before);
  });

  it.each(['nothing', 'a/b', ''])('about a VM that is not there (%j) -> NOT_FOUND', async (name) => {
    const { connect, done } = aStore();
    const [refused] = await done(connect(1).definitions.change(name, 'start', false));
    expect(outcome(refused)).toMatch(/^NOT_FOUND there is no VM/);
  });

  it('about a value of a newer format -> refused, never guessed at', async () => {
    const { connect, done, etcd } = aStore();
    etcd.put(KEYS.spec('web'), '{"format":99}');
    const [refused] = await done(connect(1).definitions.change('web', 'start', false));
    expect(outcome(refused)).toMatch(/^INTERNAL .*format 99/);
  });
});
