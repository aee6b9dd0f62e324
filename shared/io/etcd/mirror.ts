// Follows a prefix: a linearizable list, then a watch from its revision on, over a connection of its own. A member that falls silent,
// knows no leader, lags behind or has compacted what was asked is left, and the next one begins with a list again, so that no event can be
// missed. What is handed on never goes back in revision.

import type { IDuplexStream, IWatchRequest, IWatchResponse } from 'etcd3';
import { STORE_CALL_MS, WATCH_SILENT_MS } from '../../core/limits.js';
import type { Instant } from '../../core/ids.js';
import type { StoreLoss } from '../../core/store-loss.js';
import type { Clock, KeyValue, Log, MirrorHandlers, Snapshot } from '../../ports.js';
import { watchSilence } from '../../silence.js';
import { storeErrorOf } from './errors.js';
import { callOptions, type EtcdMember } from './member.js';
import type { Members } from './members.js';
import { endOfPrefix, keyValueOf, readPrefix } from './read.js';

const BACKOFF_FIRST_MS = 20;
const BACKOFF_LAST_MS = 500;
/** etcd is asked to say something so often, because a quiet prefix is otherwise the same as a dead member. */
const PROGRESS_MS = WATCH_SILENT_MS / 4;

export function openMirror(
  ports: { readonly clock: Clock; readonly log: Log },
  members: Members,
  prefix: string,
  handlers: MirrorHandlers,
): { close(): void } {
  const { clock, log } = ports;
  let last: Snapshot | null = null;
  let following = false;
  let lastLoss: StoreLoss['kind'] | null = null;
  let closed = false;
  let backoffMs = BACKOFF_FIRST_MS;
  let member: EtcdMember | null = null;
  let stop: () => void = () => undefined;

  function begin(): void {
    member = members.next(member);
    stop = follow(ports, members, member, prefix, {
      listed: (snapshot) => {
        if (last !== null && snapshot.revision < last.revision) {
          return { kind: 'older', detail: `it is at revision ${snapshot.revision} and was at ${last.revision}` };
        }
        if (last === null || snapshot.revision > last.revision) show(snapshot);
        return null;
      },
      opened: () => {
        backoffMs = BACKOFF_FIRST_MS;
        if (following) return;
        following = true;
        log.info({ prefix, endpoint: member?.endpoint, revision: last?.revision }, 'mirror-following');
        handlers.health({ kind: 'following' });
      },
      events: (revision, puts, deletes) => {
        if (last === null || revision <= last.revision) return;
        const keys = new Map(last.keys);
        for (const each of deletes) keys.delete(each);
        for (const each of puts) keys.set(each.key, each);
        show({ revision, keys });
      },
      ended: (loss, sameMember) => {
        if (closed) return;
        if (member !== null && !sameMember) members.doubt(member);
        const news = following || loss.kind !== lastLoss;
        if (news && loss.kind === 'older') log.error({ prefix, endpoint: member?.endpoint, detail: loss.detail }, 'store-older');
        else if (following) log.warn({ prefix, endpoint: member?.endpoint, detail: loss.detail }, 'mirror-lost');
        following = false;
        lastLoss = loss.kind;
        stop = clock.after(backoffMs, begin);
        backoffMs = Math.min(backoffMs * 2, BACKOFF_LAST_MS);
        handlers.health(loss);
      },
    });
  }

  function show(snapshot: Snapshot): void {
    last = snapshot;
    handlers.changed(snapshot);
  }

  begin();
  return {
    close: () => {
      closed = true;
      stop();
    },
  };
}

interface Course {
  /** Answers why the list cannot be used, or null. */
  listed(snapshot: Snapshot): StoreLoss | null;
  opened(): void;
  events(revision: number, puts: readonly KeyValue[], deletes: readonly string[]): void;
  /** Once. `sameMember`: nothing is wrong with the member itself. */
  ended(loss: StoreLoss, sameMember: boolean): void;
}

/** One attempt at one member. Returns what ends it; nothing is told after that. */
function follow(ports: { readonly clock: Clock }, members: Members, member: EtcdMember, prefix: string, course: Course): () => void {
  const { clock } = ports;
  const client = member.connect();
  let over = false;
  let stream: IDuplexStream<IWatchRequest, IWatchResponse> | null = null;
  let cancelProgress: () => void = () => undefined;
  let behind: { readonly target: number; readonly since: Instant } | null = null;
  let asked = 0;
  // A list of many pages answers page by page; each counts as a sign of life.
  const silence = watchSilence(clock, WATCH_SILENT_MS, (ms) => end(`silent for ${Math.round(ms)} ms`));

  function finish(): void {
    over = true;
    silence.stop();
    cancelProgress();
    stream?.cancel();
    client.close();
  }

  function end(detail: string, sameMember = false): void {
    leave({ kind: 'lost', detail }, sameMember);
  }

  function leave(loss: StoreLoss, sameMember: boolean): void {
    if (over) return;
    finish();
    course.ended(loss, sameMember);
  }

  async function run(): Promise<void> {
    const snapshot = await readPrefix(client, prefix, () => {
      silence.heard();
      return callOptions(STORE_CALL_MS);
    });
    if (over) return;
    silence.heard();
    members.answered(snapshot.revision);
    const problem = course.listed(snapshot);
    if (problem !== null) return leave(problem, false);
    const opened = await member.watch(client);
    if (over) return opened.cancel();
    stream = opened;
    opened.on('data', (response) => {
      if (!over) read(opened, response);
    });
    opened.on('error', (error) => end(storeErrorOf(error, 'read').detail));
    opened.on('end', () => end('the member ended the watch'));
    const range = { key: Buffer.from(prefix === '' ? '\0' : prefix, 'utf8'), range_end: endOfPrefix(prefix) };
    // From the listed revision itself, though its events are known: etcd answers no progress request for a watch that begins in the future.
    opened.write({ create_request: { ...range, start_revision: snapshot.revision } });
  }

  function read(from: IDuplexStream<IWatchRequest, IWatchResponse>, response: IWatchResponse): void {
    silence.heard();
    if (response.canceled) {
      const compacted = Number(response.compact_revision) > 0;
      return end(
        compacted ? `compacted at revision ${response.compact_revision}` : response.cancel_reason || 'the watch was cancelled',
        compacted,
      );
    }
    if (response.created) {
      course.opened();
      askForProgress(from);
      return;
    }
    if (response.events.length > 0) {
      const puts: KeyValue[] = [];
      const deletes: string[] = [];
      let revision = 0;
      for (const event of response.events) {
        const kv = keyValueOf(event.kv);
        revision = Math.max(revision, kv.modRevision);
        // Several revisions may come in one message: the last event of a key is the one that stands.
        const before = puts.findIndex((each) => each.key === kv.key);
        if (before >= 0) puts.splice(before, 1);
        if (event.type === 'Delete' || String(event.type) === 'DELETE') deletes.push(kv.key);
        else puts.push(kv);
      }
      course.events(revision, puts, deletes);
    }
    judgeLag(Number(response.header.revision));
  }

  function askForProgress(from: IDuplexStream<IWatchRequest, IWatchResponse>): void {
    cancelProgress = clock.after(PROGRESS_MS, () => {
      if (over) return;
      asked = members.knownRevision();
      from.write({ progress_request: {} });
      askForProgress(from);
    });
  }

  /** A member cut off from the others may go on answering, with an old picture. Linearizable answers of other calls tell on it. */
  function judgeLag(revision: number): void {
    if (behind !== null && revision >= behind.target) behind = null;
    if (behind === null && revision < asked) behind = { target: asked, since: clock.now() };
    if (behind !== null && clock.now() - behind.since > WATCH_SILENT_MS) {
      end(`the member is behind: at revision ${revision}, others at ${behind.target}`);
    }
  }

  run().catch((error: unknown) => end(storeErrorOf(error, 'read').detail));
  return () => {
    if (!over) finish();
  };
}
