// QEMU's own streams under TLS: the credentials that each QEMU of a pair has, and whom it lets in. Both ends have both kinds, because roles
// change. A server lets in whoever shows a certificate of a QEMU of this cluster; a client wants the certificate to name the address that it
// dialled, which for chardevs is the only name that QEMU asks for.

import type { JsonObject } from './procedures/port.js';

/** Null where it is used = in the open. */
export interface PairTls {
  /** With QEMU's names in it: ca-cert.pem, server-cert.pem, server-key.pem, client-cert.pem, client-key.pem. QEMU's user must be able to read it. */
  readonly folder: string;
}

export const TLS_SERVER = 'tls-server';
export const TLS_CLIENT = 'tls-client';
export const TLS_PEERS = 'tls-peers';

/** Common names of QEMUs' certificates begin with it; shared/io/pki makes them so. */
const QEMU_COMMON_NAME = 'qemu.';

/** In the order in which they can be made. */
export function tlsObjects({ folder }: PairTls): readonly (JsonObject & { readonly id: string })[] {
  const credentials = (id: string, endpoint: 'server' | 'client'): JsonObject & { readonly id: string } => ({
    'qom-type': 'tls-creds-x509',
    id,
    dir: folder,
    endpoint,
    'verify-peer': true,
  });
  return [
    credentials(TLS_SERVER, 'server'),
    credentials(TLS_CLIENT, 'client'),
    {
      'qom-type': 'authz-list',
      id: TLS_PEERS,
      policy: 'deny',
      rules: [{ match: `CN=${QEMU_COMMON_NAME}*`, policy: 'allow', format: 'glob' }],
    },
  ];
}

/** What a socket that listens, or connects, is told beside its address; nothing without TLS. */
export function listening(tls: PairTls | null): JsonObject {
  return tls === null ? {} : { 'tls-creds': TLS_SERVER, 'tls-authz': TLS_PEERS };
}

export function connecting(tls: PairTls | null): JsonObject {
  return tls === null ? {} : { 'tls-creds': TLS_CLIENT };
}
