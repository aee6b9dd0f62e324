// What may go wrong with a gRPC call, as a closed list that keeps apart the calls that surely never left, those whose outcome nobody knows,
// and those that the other side answered with a refusal.

import { status, type ServiceError } from '@grpc/grpc-js';

/** `unavailable`: surely not carried out. `lost` and `deadline`: it may have been. `refused`: the server's own answer. */
export type RpcError =
  | { readonly kind: 'unavailable'; readonly detail: string }
  | { readonly kind: 'lost'; readonly detail: string }
  | { readonly kind: 'deadline'; readonly detail: string }
  | { readonly kind: 'refused'; readonly code: RefusalCode; readonly detail: string };

export type RefusalCode = Exclude<keyof typeof status, 'OK' | 'CANCELLED' | 'DEADLINE_EXCEEDED' | 'UNAVAILABLE'>;

/** grpc-js says so in its own words when a call was given up before any connection carried it. Words not listed here count as sent. */
const NEVER_SENT =
  /No connection established|Waiting for LB pick|waiting for name resolution|waiting for metadata filters|Name resolution failed|Channel closed before call started/i;

export function neverSent(detail: string): boolean {
  return NEVER_SENT.test(detail);
}

export function rpcErrorOf(error: ServiceError): RpcError {
  const detail = (error.details === '' ? error.message : error.details).replace(/\. Resolution note:.*$/s, '');
  switch (error.code) {
    case status.UNAVAILABLE:
      return { kind: neverSent(detail) ? 'unavailable' : 'lost', detail };
    case status.DEADLINE_EXCEEDED:
      return { kind: neverSent(detail) ? 'unavailable' : 'deadline', detail };
    case status.CANCELLED:
    case status.OK:
      return { kind: 'lost', detail };
    default: {
      const code = status[error.code] as RefusalCode | undefined;
      return { kind: 'refused', code: code ?? 'UNKNOWN', detail };
    }
  }
}

export function describeRpcError(error: RpcError): string {
  return error.kind === 'refused' ? `${error.code}: ${error.detail}` : `${error.kind}: ${error.detail}`;
}
