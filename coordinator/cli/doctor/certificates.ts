// What the doctor makes of a daemon's certificate and of the secrets beside it: what would end its start, be refused by its peers, or expire
// soon. Pure; look-tls.ts finds the facts.

import { AUTHORITY_EXPIRES_MS, CERTIFICATE_EXPIRES_MS } from '../../../shared/core/limits.js';
import type { Authority } from '../../../shared/io/tls/material.js';
import { doubtful, good, missing, type Finding } from './finding.js';

/** A file that holds a secret. */
export interface SecretFact {
  readonly file: string;
  /** `open`: more people than its owner can read it. `closed`: the daemon cannot. `empty`: it says nothing. */
  readonly state: 'good' | 'absent' | 'empty' | 'open' | 'closed';
  /** Who must be able to read it. */
  readonly reader: string;
}

export interface CertificateFact {
  readonly certificate: string;
  /** `agent/host1`: who the daemon is by its configuration. */
  readonly expected: string;
  /** The file with the authorities. */
  readonly ca: string;
  readonly found:
    | {
        readonly kind: 'read';
        readonly identity: string;
        readonly notBeforeMs: number;
        readonly notAfterMs: number;
        readonly authorities: readonly Authority[];
      }
    | { readonly kind: 'broken'; readonly problem: string }
    /** Only root may look. */
    | { readonly kind: 'forbidden' };
  /** Its key and, of an agent, the heartbeats' key. */
  readonly secrets: readonly SecretFact[];
}

const ABOUT = 'certificates';
const DAY_MS = 24 * 3_600_000;
const REPLACE = 'make another authority and bring it to every machine; "Another authority" in the handbook';
const RENEW = 'coloctl certs renew in the folder of the cluster; copy hosts/NAME of it here and run its install.sh';

export function certificateFindings(facts: readonly CertificateFact[], nowMs: number): readonly Finding[] {
  // Both daemons of a machine have one file of authorities, which is told of once.
  const first = (fact: CertificateFact, at: number): boolean => facts.findIndex((each) => each.ca === fact.ca) === at;
  return facts.flatMap((fact, at) => [
    ...certificate(fact, nowMs),
    ...(first(fact, at) ? authorities(fact, nowMs) : []),
    ...fact.secrets.flatMap(secret),
  ]);
}

function authorities({ ca, found }: CertificateFact, nowMs: number): readonly Finding[] {
  if (found.kind !== 'read') return [];
  return found.authorities.flatMap(({ name, notAfterMs, isOurs }) => {
    const days = Math.floor((notAfterMs - nowMs) / DAY_MS);
    if (notAfterMs > nowMs)
      return notAfterMs - nowMs < AUTHORITY_EXPIRES_MS
        ? [doubtful(ABOUT, `the authority "${name}" in ${ca} expires in ${days} days, and with it all that it signed`, REPLACE)]
        : [];
    const said = `the authority "${name}" in ${ca} has expired on ${iso(notAfterMs)}`;
    // One that only stays there beside its successor hurts nobody.
    return isOurs ? [missing(ABOUT, `${said}: no peer believes this machine`, REPLACE)] : [doubtful(ABOUT, said, `take it out of ${ca}`)];
  });
}

function certificate({ certificate: file, expected, found }: CertificateFact, nowMs: number): readonly Finding[] {
  switch (found.kind) {
    case 'forbidden':
      return [doubtful(ABOUT, `${file} and its key could not be looked at`, 'run coloctl doctor as root')];
    case 'broken':
      return [missing(ABOUT, found.problem, `run install.sh of this machine's folder again; if that does not help: ${RENEW}`)];
    case 'read':
      break;
  }
  const { identity, notBeforeMs, notAfterMs } = found;
  if (identity !== expected)
    return [missing(ABOUT, `${file} is the certificate of ${identity}, and this is ${expected}`, "install this machine's own folder")];
  if (notBeforeMs > nowMs)
    return [
      missing(ABOUT, `${file} is valid only from ${iso(notBeforeMs)} on`, 'set the clock of this machine, or of the one that made it'),
    ];
  if (notAfterMs <= nowMs) return [missing(ABOUT, `${file} has expired on ${iso(notAfterMs)}`, RENEW)];
  const days = Math.floor((notAfterMs - nowMs) / DAY_MS);
  if (notAfterMs - nowMs < CERTIFICATE_EXPIRES_MS) return [doubtful(ABOUT, `${file} expires in ${days} days`, RENEW)];
  return [good(ABOUT, `${identity}, for ${days} more days`)];
}

function secret({ file, state, reader }: SecretFact): readonly Finding[] {
  switch (state) {
    case 'good':
      return [];
    case 'absent':
      return [missing(ABOUT, `there is no ${file}`, "run install.sh of this machine's folder")];
    case 'empty':
      return [missing(ABOUT, `${file} is empty`, "run install.sh of this machine's folder")];
    case 'closed':
      return [missing(ABOUT, `${reader} cannot read ${file}`, `chown ${reader} ${file}`)];
    case 'open':
      return [doubtful(ABOUT, `${file} can be read by others than ${reader}`, `chmod 600 ${file}; who has read it can be this host`)];
  }
}

const iso = (ms: number): string => new Date(ms).toISOString().slice(0, 16);
