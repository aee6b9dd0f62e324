// The agent's loop in virtual time: what is written before what is done, what is told at once, and what gives way to what.

import { describe, expect, it } from 'vitest';
import { clusterCodec, vmRecordCodec } from '../../../shared/core/codec.js';
import { epoch, incarnation, term } from '../../../shared/core/ids.js';
import type { Goal, HostReport, VmReport } from '../../../shared/core/model.js';
import type { AgentLoop } from '../../../agent/loop.js';
import type { VmJournal } from '../../../agent/core/journal.js';
import { aJournal, anOrder, aQemu, aRecord, PEER, PORTS } from './builders.js';
import { FakeWorld, SECONDARY } from './fake-world.js';

const secondary = (): VmJournal =>
  aJournal({
    goal: { kind: 'start-secondary', born: epoch(2), ports: PORTS, peer: PEER },
    qemu: aQemu({
      startedAs: 'secondary',
      readyFor: epoch(2),
      provenFor: epoch(2),
      promised: epoch(2),
      attempt: { epoch: epoch(2), ports: PORTS, peer: PEER },
    }),
  });
const releaseSecondary: Goal = { kind: 'release-secondary', born: epoch(2), ports: PORTS };
const releasePrimary: Goal = { kind: 'release-primary', born: epoch(2), acceptLoss: false };
const protect: Goal = { kind: 'protect', born: epoch(2), ports: PORTS, peer: PEER, method: 'stop-copy' };

const vmOf = (report: HostReport): VmReport => {
  const [vm] = report.vms;
  if (vm === undefined) throw new Error('no VM in the report');
  return vm;
};

/** An agent that has adopted its QEMU and looked at it. */
async function adopted(world: FakeWorld, journal: VmJournal): Promise<AgentLoop> {
  const agent = world.start([journal]);
  await world.clock.until('the QEMU to be seen', 2_000, () => vmOf(agent.report()).qemu.kind === 'alive');
  world.takeDoings();
  return agent;
}

describe('an order to release', () => {
  it('-> is on disk before QEMU hears of it, and the first that QEMU hears is a yank out of band', async () => {
    const world = new FakeWorld();
    world.answers = { ...SECONDARY };
    const agent = await adopted(world, secondary());
    world.emit('COLO_EXIT', { mode: 'secondary', reason: 'error' });
    await world.clock.settle();
    world.takeDoings();
    expect(await agent.order(anOrder(releaseSecondary))).toEqual({ kind: 'accepted' });
    expect(world.takeDoings().slice(0, 2)).toEqual(['journal release-secondary', 'oob yank']);
  });

  it('when the journal cannot be written -> refused, and QEMU hears nothing', async () => {
    const world = new FakeWorld();
    world.answers = { ...SECONDARY };
    const agent = await adopted(world, secondary());
    world.journalError = 'disk full';
    expect(await agent.order(anOrder(releaseSecondary))).toMatchObject({ refusal: 'not-permitted-now', detail: 'disk full' });
    await world.clock.advance(100);
    expect(world.takeDoings()).toEqual([]);
  });

  it('for a secondary that did not load its last checkpoint -> refused', async () => {
    const world = new FakeWorld();
    world.answers = { ...SECONDARY };
    const journal = secondary();
    const agent = await adopted(world, { ...journal, qemu: aQemu({ ...journal.qemu, unpromotable: 'load failed' }) });
    expect(await agent.order(anOrder(releaseSecondary))).toMatchObject({ refusal: 'not-permitted-now' });
  });

  it('to an agent that has not looked at its QEMU yet -> is carried out as soon as it has, and not after a bound', async () => {
    const world = new FakeWorld();
    world.answers = { ...SECONDARY };
    const agent = world.start([secondary()]);
    void agent.order(anOrder(releaseSecondary));
    const isYank = (doing: (typeof world.doings)[number]): boolean => doing.what === 'oob' && doing.name === 'yank';
    await world.clock.until('a yank', 2_000, () => world.doings.some(isYank));
  });

  it('whose predecessor had released it and died before the stamps were written -> the disk is claimed before it is called alone', async () => {
    const world = new FakeWorld();
    world.stamped = 'stale';
    const agent = await adopted(world, secondary());
    expect(await agent.order(anOrder(releaseSecondary))).toEqual({ kind: 'accepted' });
    await world.clock.until('the word that it runs alone', 2_000, () => vmOf(agent.report()).aloneSince === epoch(3));
    expect(vmOf(agent.report()).disk.state).not.toBe('stale');
    expect(world.stamped).not.toBe('stale');
  });

  it('without COLO_EXIT and with a guest that stands still -> ends unreleased after its bound, and says so', async () => {
    const world = new FakeWorld();
    world.answers = { ...SECONDARY, 'query-status': { status: 'colo', running: false } };
    const agent = await adopted(world, secondary());
    world.emit('MIGRATION', { status: 'colo' });
    await agent.order(anOrder(releaseSecondary));
    await world.clock.advance(1_500);
    const report = vmOf(agent.report());
    expect(report.aloneSince).toBeNull();
    expect(report.task).toMatchObject({ kind: 'failed', goal: 'release-secondary', step: expect.stringContaining('COLO_EXIT') as string });
    expect(world.takeDoings()).not.toContain('command x-colo-lost-heartbeat');
  });

  it('while a protect hangs -> the protect is broken off at once', async () => {
    const world = new FakeWorld();
    const agent = await adopted(world, aJournal({ qemu: aQemu({ aloneSince: epoch(2) }) }));
    world.hanging.add('chardev-remove');
    await agent.order(anOrder(protect));
    await world.clock.advance(10);
    expect(vmOf(agent.report()).task).toMatchObject({ kind: 'running', goal: 'protect' });
    world.takeDoings();
    await agent.order(anOrder(releasePrimary, { epoch: epoch(4) }));
    await world.clock.advance(10);
    expect(vmOf(agent.report())).toMatchObject({ aloneSince: 4, task: { kind: 'idle' } });
  });
});

describe('a death', () => {
  it('-> is told in the very tick in which the monitor ends', async () => {
    const world = new FakeWorld();
    const agent = await adopted(world, aJournal());
    const told: string[] = [];
    agent.subscribe(() => told.push(vmOf(agent.report()).qemu.kind));
    world.process = 'exiting';
    world.endMonitor();
    expect(told).toEqual(['dead']);
  });

  it('of a QEMU in a pair -> is told although its monitor is still open', async () => {
    const world = new FakeWorld();
    world.answers = { ...SECONDARY };
    const agent = await adopted(world, secondary());
    world.process = 'exiting';
    await world.clock.advance(25);
    expect(vmOf(agent.report()).qemu).toMatchObject({ kind: 'dead', guestShutdown: false });
  });

  it('while no agent watched -> is told by the next one at its start', async () => {
    const world = new FakeWorld();
    world.process = 'gone';
    const agent = world.start([aJournal()]);
    expect(vmOf(agent.report()).qemu.kind).toBe('unknown');
    await world.clock.settle();
    expect(vmOf(agent.report())).toMatchObject({ qemu: { kind: 'dead', born: 2 }, disk: { state: 'clean' } });
  });

  it('after the guest powered off -> carries that with it', async () => {
    const world = new FakeWorld();
    const agent = await adopted(world, aJournal());
    world.emit('SHUTDOWN', { guest: true, reason: 'guest-shutdown' });
    world.process = 'gone';
    world.endMonitor();
    expect(vmOf(agent.report()).qemu).toMatchObject({ kind: 'dead', guestShutdown: true });
    await world.clock.settle();
  });

  it('whose monitor ended while the process runs on -> is none; the agent connects again', async () => {
    const world = new FakeWorld();
    const agent = await adopted(world, aJournal());
    world.endMonitor();
    await world.clock.until('the QEMU to be seen again', 2_000, () => vmOf(agent.report()).qemu.kind === 'alive');
  });
});

describe('a QEMU', () => {
  it('that does not answer out of band -> hung', async () => {
    const world = new FakeWorld();
    const agent = await adopted(world, aJournal());
    world.hanging.add('yank');
    await world.clock.until('hung', 1_000, () => vmOf(agent.report()).qemu.kind === 'hung');
  });

  it('that answers again -> alive from that moment on, and not taken for hung once more by what its answer woke', async () => {
    const world = new FakeWorld();
    const agent = await adopted(world, aJournal());
    world.hanging.add('yank');
    world.hanging.add('query-status');
    await world.clock.until('hung', 1_000, () => vmOf(agent.report()).qemu.kind === 'hung');
    const told: string[] = [];
    agent.subscribe(() => told.push(`${vmOf(agent.report()).qemu.kind} ${vmOf(agent.report()).pair.evidence.join()}`));
    world.answerAll();
    await world.clock.advance(2_000);
    expect(told.filter((each) => /hung|does not answer/.test(each))).toEqual([]);
    expect(vmOf(agent.report()).qemu.kind).toBe('alive');
  });

  it('whose pair broke -> is told at once, with the evidence', async () => {
    const world = new FakeWorld();
    world.answers = { ...SECONDARY };
    const agent = await adopted(world, secondary());
    let told = 0;
    agent.subscribe(() => (told += 1));
    world.emit('COLO_EXIT', { mode: 'secondary', reason: 'error' });
    expect(told).toBeGreaterThan(0);
    expect(vmOf(agent.report())).toMatchObject({
      coloExited: true,
      pair: { state: 'hard', evidence: ['COLO_EXIT secondary error 0 ms ago'] },
    });
  });
});

describe('an order that comes before the agent knows what is here', () => {
  it('-> waits for that, and starts no second QEMU', async () => {
    const world = new FakeWorld();
    const journal = aJournal({ outcome: { kind: 'open' } });
    const agent = world.start([journal]);
    expect(await agent.order(anOrder(journal.goal, { epoch: epoch(2) }))).toEqual({ kind: 'accepted' });
    await world.clock.advance(500);
    expect(vmOf(agent.report())).toMatchObject({ aloneSince: 2, qemu: { kind: 'alive', role: 'alone' } });
    expect(world.takeDoings().filter((each) => each.startsWith('launch'))).toEqual([]);
  });
});

describe('an agent without a journal', () => {
  const start: Goal = { kind: 'start-alone', born: epoch(3), images: null, create: true };

  it('and without a store -> obeys nothing', async () => {
    const world = new FakeWorld();
    const agent = world.start([]);
    world.store.cut(true);
    const answer = agent.order(anOrder(start));
    await world.clock.advance(5_000);
    expect(await answer).toMatchObject({ refusal: 'unknown-journal' });
    expect(world.takeDoings()).toEqual([]);
  });

  it('whose store has the record -> obeys, and has journalled it first', async () => {
    const world = new FakeWorld();
    world.etcd.put('/colo/test/cluster', clusterCodec.encode({ name: 'test', incarnation: incarnation('one') }));
    world.etcd.put('/colo/test/vms/web/record', vmRecordCodec.encode(aRecord()));
    const agent = world.start([]);
    const answer = agent.order(anOrder(start));
    await world.clock.advance(50);
    expect(await answer).toEqual({ kind: 'accepted' });
    expect(world.takeDoings()[0]).toBe('journal start-alone');
  });
});

describe('an order to destroy', () => {
  it('when the store cannot be read -> refused, and nothing is killed', async () => {
    const world = new FakeWorld();
    const agent = await adopted(world, aJournal());
    world.store.cut(true);
    const answer = agent.order(anOrder({ kind: 'destroy' }, { epoch: epoch(9), term: term(9) }));
    await world.clock.advance(5_000);
    expect(await answer).toMatchObject({ refusal: 'not-permitted-now' });
    expect(world.takeDoings()).toEqual([]);
  });

  it('that the record permits -> kills, and leaves nothing', async () => {
    const world = new FakeWorld();
    const agent = await adopted(world, aJournal());
    world.etcd.put('/colo/test/vms/web/record', vmRecordCodec.encode(aRecord({ epoch: epoch(9) })));
    const answer = agent.order(anOrder({ kind: 'destroy' }, { epoch: epoch(9) }));
    await world.clock.advance(100);
    expect(await answer).toEqual({ kind: 'accepted' });
    expect(vmOf(agent.report()).qemu).toEqual({ kind: 'absent' });
    expect(world.takeDoings().filter((each) => each.startsWith('kill'))).toHaveLength(1);
  });
});

describe('a hold', () => {
  it('-> takes the tap down, touches QEMU in no way, and is told', async () => {
    const world = new FakeWorld();
    const agent = await adopted(world, aJournal());
    await agent.order(anOrder({ kind: 'hold', born: epoch(2) }));
    await world.clock.advance(10);
    expect(vmOf(agent.report()).held).toBe(true);
    expect(world.takeDoings()).toEqual(['journal hold', 'tap tap down', 'journal hold', 'journal hold']);
  });
});
