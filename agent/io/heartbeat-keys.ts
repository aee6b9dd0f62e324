// The keys of the heartbeats over time: looks at their file, and takes it up when it has changed and is whole; until then the keys of before go on.
// It relies on nothing but `stat`, like the certificates' keeper.

import { createHash } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { keysFrom } from '../core/heartbeat-seals.js';
import { messageOf } from './files.js';
import { fail, ok, type Result } from '../../shared/core/result.js';
import type { Clock, Log } from '../../shared/ports.js';

const LOOK_MS = 1_000;
const ID_DIGITS = 8;

export interface HeartbeatKeys {
  current(): readonly Uint8Array[];
  /** Names of the keys, which tell nothing of them: the beginning of their hash. */
  ids(): readonly string[];
  close(): void;
}

/** The first look must succeed: a host that seals wrongly would never be heard. */
export function keepHeartbeatKeys(
  { clock, log }: { readonly clock: Clock; readonly log: Log },
  file: string,
  lookMs = LOOK_MS,
): Result<HeartbeatKeys, string> {
  let seen = stampOf(file);
  const first = read(file);
  if (!first.ok) return first;
  let keys = first.value;
  let problem: string | null = null;

  function look(): void {
    const stamp = stampOf(file);
    // While it is refused it is read each time: it may have been looked at in the middle of being written.
    if (stamp !== seen || problem !== null) {
      seen = stamp;
      take(read(file));
    }
    cancel = clock.after(lookMs, look);
  }

  function take(found: Result<readonly Uint8Array[], string>): void {
    if (!found.ok) {
      if (found.error !== problem) log.error({ detail: found.error, inUse: keys.map(idOf) }, 'heartbeat-keys-refused');
      problem = found.error;
      return;
    }
    const changed = keys.map(idOf).join() !== found.value.map(idOf).join();
    keys = found.value;
    if (changed || problem !== null) log.info({ keys: keys.map(idOf) }, 'heartbeat-keys-changed');
    problem = null;
  }

  let cancel = clock.after(lookMs, look);
  return ok({ current: () => keys, ids: () => keys.map(idOf), close: () => cancel() });
}

function read(file: string): Result<readonly Uint8Array[], string> {
  try {
    const keys = keysFrom(readFileSync(file));
    return typeof keys === 'string' ? fail(`${file} ${keys}`) : ok(keys);
  } catch (error) {
    return fail(`cannot read ${file}: ${messageOf(error)}`);
  }
}

function idOf(key: Uint8Array): string {
  return createHash('sha256').update(key).digest('hex').slice(0, ID_DIGITS);
}

function stampOf(file: string): string {
  try {
    const { ino, size, mtimeMs, ctimeMs } = statSync(file);
    return `${ino}:${size}:${mtimeMs}:${ctimeMs}`;
  } catch {
    return 'none';
  }
}
