// The order in which etcd's members are asked: the first that has not failed lately, and back to the preferred one once it is well.

import { describe, expect, it } from 'vitest';
import { fail, ok } from '../../../shared/core/result.js';
import { Member, type EtcdMember } from '../../../shared/io/etcd/member.js';
import { createMembers } from '../../../shared/io/etcd/members.js';
import { fakeClock } from '../../fakes/clock.js';

function stage() {
  const clock = fakeClock();
  const all = ['own', 'second', 'third'].map((each) => new Member(`http://${each}`, clock));
  const down = new Set<string>();
  const nameOf = (member: EtcdMember): string => member.endpoint.replace('http://', '');
  const members = createMembers(clock, all, (member) => Promise.resolve(!down.has(nameOf(member))));
  /** Who was asked, in order. */
  const call = async (kind: 'read' | 'write' = 'read'): Promise<string> => {
    const asked: string[] = [];
    await members.run(kind, (member) => {
      asked.push(nameOf(member));
      const lost = fail({ kind: kind === 'read' ? ('unavailable' as const) : ('unknown' as const), detail: 'down' });
      return Promise.resolve(down.has(nameOf(member)) ? lost : ok(null));
    });
    return asked.join(' ');
  };
  return { clock, down, members, call, all };
}

describe('the members of etcd', () => {
  it('all well -> the preferred one is asked', async () => {
    const { call } = stage();
    expect([await call(), await call('write')]).toEqual(['own', 'own']);
  });

  it('the preferred one fails -> the next one, until it is well again, and then the preferred one: no call stays where it once went', async () => {
    const { clock, call, down } = stage();
    down.add('own');
    expect(await call()).toBe('own second');
    expect(await call()).toBe('second');
    await clock.advance(600);
    expect(await call()).toBe('second');
    down.delete('own');
    await clock.advance(600);
    await call();
    await clock.settle();
    expect(await call()).toBe('own');
  });

  it('a write whose outcome is lost -> not tried again, and the member is avoided', async () => {
    const { call, down } = stage();
    down.add('own');
    expect(await call('write')).toBe('own');
    expect(await call('write')).toBe('second');
  });

  it('all doubted -> each is asked in turn', async () => {
    const { members, call, all } = stage();
    for (const each of all) members.doubt(each);
    const asked = new Set([await call()]);
    expect(asked.size).toBe(1);
    expect(await call()).toBe([...asked][0]);
  });

  it('a stream whose member is well -> begins with it again; else with the next', () => {
    const { members, all } = stage();
    const [own, second] = all;
    expect(members.next(null)).toBe(own);
    expect(members.next(own ?? null)).toBe(own);
    if (own !== undefined) members.doubt(own);
    expect(members.next(own ?? null)).toBe(second);
  });
});
