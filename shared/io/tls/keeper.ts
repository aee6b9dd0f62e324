// A daemon's certificate over time: looks at its files, takes up a new pair once it is whole and good, keeps the old one while it is not,
// and says early that it will expire. It never changes whose certificate it is: a pair of another identity is refused like a broken one.

import { statSync } from 'node:fs';
import { AUTHORITY_EXPIRES_MS, CERTIFICATE_EXPIRES_MS } from '../../core/limits.js';
import { describeIdentity, type Identity } from '../../core/access.js';
import { fail, ok, type Result } from '../../core/result.js';
import type { CertificateReport } from '../../core/model.js';
import type { Clock, Log } from '../../ports.js';
import { readMaterial, type TlsFiles, type TlsMaterial } from './material.js';

/** Files are looked at so often: three calls of stat. */
const LOOK_MS = 1_000;
const DAY_MS = 24 * 3_600_000;

export interface TlsKeeper {
  current(): TlsMaterial;
  /** Grows by one with each pair that is taken up. */
  version(): number;
  report(): CertificateReport;
  /** Calls back after each pair that is taken up; the answer ends it. */
  onChange(callback: (material: TlsMaterial) => void): () => void;
  close(): void;
}

/** `expected`: who this daemon is by its configuration; a certificate of somebody else ends the start. */
export function keepTls(
  ports: { readonly clock: Clock; readonly log: Log },
  files: TlsFiles,
  expected: Identity,
  lookMs = LOOK_MS,
): Result<TlsKeeper, string> {
  const { clock, log } = ports;
  const first = readOurs(files, expected);
  if (!first.ok) return first;
  let material = first.value;
  let version = 1;
  let seen = fingerprintOf(files);
  let problem: string | null = null;
  let warnedAtMs = -Infinity;
  const listeners = new Set<(material: TlsMaterial) => void>();

  function look(): void {
    const found = fingerprintOf(files);
    // While they are refused they are read each time: the second file may come a moment after the first.
    if (found !== seen || problem !== null) {
      seen = found;
      take(usable(readOurs(files, expected)));
    }
    warn();
    cancel = clock.after(lookMs, look);
  }

  /** At the start an expired pair is better than none, because a good one can still be put in its place; later it is not. */
  function usable(read: Result<TlsMaterial, string>): Result<TlsMaterial, string> {
    if (!read.ok) return read;
    const { notBeforeMs, notAfterMs } = read.value;
    const now = clock.wallMs();
    if (notAfterMs <= now && notAfterMs < material.notAfterMs) return fail(`${files.certificate} has expired`);
    return notBeforeMs > now ? fail(`${files.certificate} is not valid yet`) : read;
  }

  function take(read: Result<TlsMaterial, string>): void {
    if (!read.ok) {
      if (read.error !== problem) log.error({ detail: read.error, inUse: material.serial }, 'certificate-refused');
      problem = read.error;
      return;
    }
    if (problem !== null) log.info({}, 'certificate-files-whole');
    problem = null;
    const isSame = (['ca', 'certificate', 'key'] as const).every((part) => material[part].equals(read.value[part]));
    if (isSame) return;
    material = read.value;
    version += 1;
    warnedAtMs = -Infinity;
    log.info({ serial: material.serial, notAfter: new Date(material.notAfterMs).toISOString() }, 'certificate-changed');
    for (const each of listeners) each(material);
  }

  function warn(): void {
    const now = clock.wallMs();
    if (now - warnedAtMs < DAY_MS) return;
    const dying = material.authorities.filter((each) => each.notAfterMs - now <= AUTHORITY_EXPIRES_MS);
    const expires = material.notAfterMs - now <= CERTIFICATE_EXPIRES_MS;
    if (expires || dying.length > 0) warnedAtMs = now;
    for (const { name, notAfterMs } of dying)
      log.warn({ authority: name, notAfter: new Date(notAfterMs).toISOString() }, 'authority-expires');
    if (!expires) return;
    const fields = { identity: describeIdentity(material.identity), notAfter: new Date(material.notAfterMs).toISOString() };
    if (material.notAfterMs <= now) log.error(fields, 'certificate-expired');
    else log.warn(fields, 'certificate-expires');
  }

  warn();
  let cancel = clock.after(lookMs, look);
  return ok({
    current: () => material,
    version: () => version,
    report: () => ({
      identity: describeIdentity(material.identity),
      notAfterMs: material.notAfterMs,
      serial: material.serial,
      problem,
    }),
    onChange: (callback) => {
      listeners.add(callback);
      return () => listeners.delete(callback);
    },
    close: () => cancel(),
  });
}

function readOurs(files: TlsFiles, expected: Identity): Result<TlsMaterial, string> {
  const read = readMaterial(files);
  if (!read.ok) return read;
  const { identity } = read.value;
  if (identity.role === expected.role && identity.name === expected.name) return read;
  return fail(`${files.certificate} is the certificate of ${describeIdentity(identity)}, and this is ${describeIdentity(expected)}`);
}

/** Changes whenever a file is written or replaced. */
function fingerprintOf(files: TlsFiles): string {
  return [files.ca, files.certificate, files.key]
    .map((file) => {
      try {
        const { ino, size, mtimeMs, ctimeMs } = statSync(file);
        return `${ino}:${size}:${mtimeMs}:${ctimeMs}`;
      } catch {
        return 'none';
      }
    })
    .join(' ');
}
