// Certificates for tests: an authority and pairs for whoever a test needs, in a folder that is gone afterwards.

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { roleUri, type Identity } from '../../shared/core/access.js';
import { issue, makeAuthority, type PemPair } from '../../shared/io/pki/authority.js';
import type { TlsFiles } from '../../shared/io/tls/material.js';

const YEAR_DAYS = 365;
/** An authority outlives what it signs by far. */
const AUTHORITY_DAYS = 10 * YEAR_DAYS;

export interface TestAuthority {
  readonly pair: PemPair;
  /** A pair with these URIs; by default valid from now on for a year. */
  sign(uris: readonly string[], days?: number, nowMs?: number): Promise<PemPair>;
  /** The files of a pair of this identity, in a folder of their own. */
  files(identity: Identity, days?: number): Promise<TlsFiles>;
  /** Writes a pair over the files of another. */
  write(files: TlsFiles, pair: PemPair): void;
}

export async function aTestAuthority(folder: string, name = 'test', days = AUTHORITY_DAYS): Promise<TestAuthority> {
  const pair = await makeAuthority(`authority ${name}`, Date.now(), days);
  const sign = (uris: readonly string[], days = YEAR_DAYS, nowMs = Date.now()): Promise<PemPair> =>
    issue(pair, { commonName: 'test', uris, dnsNames: [], addresses: [], isServer: true, isClient: true }, nowMs, days);
  const write = (files: TlsFiles, made: PemPair): void => {
    writeFileSync(files.ca, pair.certificate);
    writeFileSync(files.certificate, made.certificate);
    writeFileSync(files.key, made.key);
  };
  return {
    pair,
    sign,
    write,
    files: async (identity, days) => {
      const place = join(folder, `${identity.role}-${identity.name}-${name}`);
      mkdirSync(place, { recursive: true });
      const files = { ca: join(place, 'ca.crt'), certificate: join(place, 'own.crt'), key: join(place, 'own.key') };
      write(files, await sign([roleUri(identity)], days));
      return files;
    },
  };
}
