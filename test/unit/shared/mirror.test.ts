// A mirror over one member that a test plays: what a store that went back in time is told as, and that nothing of it is shown.

import { EventEmitter } from 'node:events';
import { describe, expect, it } from 'vitest';
import type { EtcdMember } from '../../../shared/io/etcd/member.js';
import { createMembers } from '../../../shared/io/etcd/members.js';
import { openMirror } from '../../../shared/io/etcd/mirror.js';
import { fakeClock, fakeLog } from '../../fakes/clock.js';

const BOUND_MS = 5_000;

function aMirror(revision: number) {
  const clock = fakeClock();
  const store = { revision };
  const watches: Watch[] = [];
  const client = {
    kv: { range: () => Promise.resolve({ header: { revision: String(store.revision) }, kvs: [], more: false }) },
    close: () => undefined,
  };
  const member = {
    endpoint: 'http://one',
    connect: () => client,
    watch: () => {
      const watch = new Watch(store);
      watches.push(watch);
      return Promise.resolve(watch);
    },
  } as unknown as EtcdMember;
  const seen: string[] = [];
  const members = createMembers(clock, [member], () => Promise.resolve(true));
  const mirror = openMirror({ clock, log: fakeLog() }, members, '/colo/', {
    changed: (snapshot) => void seen.push(`revision ${snapshot.revision}`),
    health: (state) => void seen.push(state.kind === 'following' ? 'following' : `${state.kind}: ${state.detail}`),
  });
  return { clock, store, watches, seen, mirror };
}

/** Answers what etcd answers: that the watch is made, and progress when it is asked. */
class Watch extends EventEmitter {
  readonly #store: { readonly revision: number };

  constructor(store: { readonly revision: number }) {
    super();
    this.#store = store;
  }

  write(request: { readonly create_request?: object }): void {
    const header = { revision: String(this.#store.revision) };
    queueMicrotask(() => this.emit('data', { header, events: [], created: request.create_request !== undefined, canceled: false }));
  }

  cancel(): void {
    this.removeAllListeners();
  }
}

describe('a mirror whose store', () => {
  it('is there again with a lower revision -> says that it is older, shows nothing of it, and follows it where it has caught up', async () => {
    const { clock, store, watches, seen, mirror } = aMirror(9);
    await clock.advance(100);
    expect(seen.splice(0)).toEqual(['revision 9', 'following']);
    store.revision = 3;
    watches[0]?.emit('end');
    await clock.advance(BOUND_MS);
    expect(seen[0]).toBe('lost: the member ended the watch');
    expect(new Set(seen.splice(0).slice(1))).toEqual(new Set(['older: it is at revision 3 and was at 9']));
    store.revision = 12;
    await clock.advance(BOUND_MS);
    expect(seen).toEqual(['revision 12', 'following']);
    mirror.close();
  });

  it('is there again with the same revision -> is followed again, and nothing is shown twice', async () => {
    const { clock, watches, seen, mirror } = aMirror(9);
    await clock.advance(100);
    watches[0]?.emit('end');
    await clock.advance(BOUND_MS);
    expect(seen).toEqual(['revision 9', 'following', 'lost: the member ended the watch', 'following']);
    mirror.close();
  });
});
