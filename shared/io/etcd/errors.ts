// What an error of an etcd call means for the caller. The one that matters most is `unknown`: a write that left this process and whose
// answer never came may have been carried out, or may still be. Everything that is not surely otherwise is therefore unknown for a write.

import type { StoreError } from '../../ports.js';
import { neverSent } from '../rpc/errors.js';

export type CallKind = 'read' | 'write';

/** etcd answers these before it proposes anything to its raft log. */
const NOT_PROPOSED = /etcdserver: (no leader|too many requests|not capable|server is not ready)/;
/** gRPC status codes that only a server gives, having looked at the request: repeating does not mend it. */
const REFUSALS = new Set([3, 5, 6, 7, 8, 9, 11, 12, 16]);
/** etcd3 wraps grpc-js errors in classes without a code; the code is left at the beginning of the message. */
const CODED = /(?:^|\s)(\d{1,2}) [A-Z_]{2,}: (.*)$/s;

export function storeErrorOf(error: unknown, kind: CallKind): StoreError {
  const message = error instanceof Error ? error.message : String(error);
  const coded = CODED.exec(message);
  const code = coded === null ? null : Number(coded[1]);
  const detail = (coded?.[2] ?? message).slice(0, 300);
  if (NOT_PROPOSED.test(message) || neverSent(message)) return { kind: 'unavailable', detail };
  if (code !== null && REFUSALS.has(code)) return { kind: 'refused', detail };
  return { kind: kind === 'read' ? 'unavailable' : 'unknown', detail };
}
