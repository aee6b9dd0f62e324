// The store on a real etcd. Every call goes to one member with a deadline and, when that is safe, on to the next one; nothing throws.

import { CompareResult, CompareTarget, type ICompare, type IRequestOp } from 'etcd3';
import { fail, ok } from '../../core/result.js';
import type { Clock, Compare, Log, Store, Write } from '../../ports.js';
import { Member, type EtcdMember, type EtcdSecurity } from './member.js';
import { createMembers } from './members.js';
import { openMirror } from './mirror.js';
import { readKey, readPrefix } from './read.js';

/** What `etcdctl endpoint health` reads as well; it need not be there. */
const HEALTH_KEY = 'health';
/** A member that has failed is trusted again when it answers well within the time that a call has. */
const WELL_MS = 100;

export interface StoreOptions {
  /** Default: plaintext. */
  readonly security?: EtcdSecurity | null;
}

/** A store that can be put away; mirrors are closed with it. */
export interface OpenStore extends Store {
  close(): void;
}

/** `endpoints` are `http://address:port`, the preferred one first. Connects at the first use. */
export function openStore(endpoints: readonly string[], clock: Clock, log: Log, options: StoreOptions = {}): OpenStore {
  if (endpoints.length === 0) throw new Error('etcd needs at least one endpoint');
  return storeOver(
    endpoints.map((each) => new Member(each, clock, options.security ?? null)),
    clock,
    log,
  );
}

/** The store on these members, the preferred one first. */
export function storeOver(all: readonly EtcdMember[], clock: Clock, log: Log): OpenStore {
  const members = createMembers(clock, all, async (member) => {
    const read = await member.call('read', WELL_MS, (client, callOptions) => readKey(client, HEALTH_KEY, callOptions));
    // Whoever says that we may not read this key has answered all the same.
    return read.ok || read.error.kind === 'refused';
  });
  const mirrors = new Set<{ close(): void }>();

  return {
    get: async (key) => {
      const read = await members.run('read', (member, deadlineMs) =>
        member.call('read', deadlineMs, (client, callOptions) => readKey(client, key, callOptions)),
      );
      if (read.ok) members.answered(read.value.revision);
      return read;
    },

    list: async (prefix) => {
      const read = await members.run('read', (member, deadlineMs) =>
        member.call('read', deadlineMs, (client, callOptions) => readPrefix(client, prefix, () => callOptions)),
      );
      if (read.ok) members.answered(read.value.revision);
      return read;
    },

    txn: async (compares, writes) => {
      const request = { compare: compares.map(compareOf), success: writes.map(requestOf), failure: [] };
      const done = await members.run('write', (member, deadlineMs) =>
        member.call('write', deadlineMs, (client, callOptions) => client.kv.txn(request, callOptions)),
      );
      if (!done.ok) return done;
      const revision = Number(done.value.header.revision);
      members.answered(revision);
      return ok({ succeeded: done.value.succeeded, revision });
    },

    mirror: (prefix, handlers) => {
      const mirror = openMirror({ clock, log }, members, prefix, handlers);
      mirrors.add(mirror);
      return {
        close: () => {
          mirrors.delete(mirror);
          mirror.close();
        },
      };
    },

    // Granted twice is harmless: the lease that nobody keeps alive ends by itself. So it counts as a read, and is tried again.
    grantLease: async (ttlMs) => {
      const granted = await members.run('read', (member, deadlineMs) =>
        member.call('read', deadlineMs, (client, callOptions) =>
          client.leaseClient.leaseGrant({ TTL: Math.ceil(ttlMs / 1_000) }, callOptions),
        ),
      );
      return granted.ok ? ok({ lease: granted.value.ID, ttlMs: Number(granted.value.TTL) * 1_000 }) : granted;
    },

    keepAlive: async (lease) => {
      const kept = await members.run('read', (member, deadlineMs) => member.keepAlive(lease, deadlineMs));
      return kept.ok ? ok({ alive: kept.value > 0, ttlMs: kept.value * 1_000 }) : kept;
    },

    revokeLease: async (lease) => {
      const revoked = await members.run('read', (member, deadlineMs) =>
        member.call('read', deadlineMs, (client, callOptions) => client.leaseClient.leaseRevoke({ ID: lease }, callOptions)),
      );
      if (revoked.ok) return ok(null);
      // Gone already is what was wanted.
      return /lease not found/.test(revoked.error.detail) ? ok(null) : fail(revoked.error);
    },

    lastAnswerAt: members.lastAnswerAt,

    close: () => {
      for (const each of mirrors) each.close();
      mirrors.clear();
      for (const each of all) each.close();
    },
  };
}

function compareOf(compare: Compare): ICompare {
  const key = Buffer.from(compare.key, 'utf8');
  return compare.kind === 'mod'
    ? { result: CompareResult.Equal, target: CompareTarget.Mod, key, mod_revision: compare.revision }
    : { result: CompareResult.Equal, target: CompareTarget.Create, key, create_revision: compare.revision };
}

function requestOf(write: Write): IRequestOp {
  const key = Buffer.from(write.key, 'utf8');
  return write.kind === 'delete'
    ? { request_delete_range: { key } }
    : { request_put: { key, value: Buffer.from(write.value, 'utf8'), ...(write.lease === null ? {} : { lease: write.lease }) } };
}
