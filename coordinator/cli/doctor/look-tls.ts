// Finds the facts about certificates and secrets, and asks etcd its version with them. It changes nothing.

import { statSync } from 'node:fs';
import { request } from 'node:https';
import { join } from 'node:path';
import { describeIdentity } from '../../../shared/core/access.js';
import { qemuKeyFiles, readQemuCertificate } from '../../../shared/io/tls/qemu-certificate.js';
import { readMaterial, type TlsFiles, type TlsMaterial } from '../../../shared/io/tls/material.js';
import type { EtcdFact } from './checks.js';
import type { CertificateFact, SecretFact } from './certificates.js';

const ETCD_MS = 2_000;
/** More than a version is no answer of an etcd. */
const MOST_ANSWER_BYTES = 64 * 1024;

export interface DaemonTls {
  readonly files: TlsFiles;
  readonly expected: string;
  /** Who the daemon runs as; a null uid = there is no such user here, so nobody can say what it may read. */
  readonly user: { readonly name: string; readonly uid: number | null };
  readonly otherSecrets: readonly string[];
}

export interface LookedAt {
  readonly fact: CertificateFact;
  /** Null: it cannot be used. */
  readonly material: TlsMaterial | null;
}

export function lookAtCertificate({ files, expected, user, otherSecrets }: DaemonTls): LookedAt {
  const { certificate, ca } = files;
  const read = readMaterial(files);
  // Every daemon's key is for its owner alone, so without root it is not known whether anything is wrong.
  const forbidden = !read.ok && process.getuid?.() !== 0 && /: E(ACCES|PERM)$/.test(read.error);
  if (forbidden) return { fact: { certificate, expected, ca, found: { kind: 'forbidden' }, secrets: [] }, material: null };
  const secrets = [...(read.ok ? [files.key] : []), ...otherSecrets].map((file) => secretFact(file, user));
  if (!read.ok) return { fact: { certificate, expected, ca, found: { kind: 'broken', problem: read.error }, secrets }, material: null };
  const { identity, notBeforeMs, notAfterMs, authorities } = read.value;
  return {
    fact: {
      certificate,
      expected,
      ca,
      found: { kind: 'read', identity: describeIdentity(identity), notBeforeMs, notAfterMs, authorities },
      secrets,
    },
    material: read.value,
  };
}

/** `user`: whom QEMU runs as. */
export function lookAtQemuCertificate(folder: string, host: string, replicationAddress: string, user: DaemonTls['user']): CertificateFact {
  const read = readQemuCertificate(folder, replicationAddress);
  const secrets = qemuKeyFiles(folder).map((file) => secretFact(file, user));
  const common = { certificate: folder, expected: `qemu/${host}`, ca: join(folder, 'ca-cert.pem') };
  if (!read.ok && process.getuid?.() !== 0 && /EACCES|EPERM/.test(read.error))
    return { ...common, found: { kind: 'forbidden' }, secrets: [] };
  if (!read.ok) return { ...common, found: { kind: 'broken', problem: read.error }, secrets };
  const { file, identity, notBeforeMs, notAfterMs, authorities } = read.value;
  return { ...common, certificate: file, found: { kind: 'read', identity, notBeforeMs, notAfterMs, authorities }, secrets };
}

function secretFact(file: string, { name, uid }: DaemonTls['user']): SecretFact {
  const fact = (state: SecretFact['state']): SecretFact => ({ file, reader: name, state });
  try {
    const found = statSync(file);
    if (found.size === 0) return fact('empty');
    // Root's capabilities let it read everything; whoever else must be the owner, or be given it by the group.
    if (uid !== null && uid !== 0 && found.uid !== uid && (found.mode & 0o044) === 0) return fact('closed');
    return fact((found.mode & 0o004) !== 0 ? 'open' : 'good');
  } catch {
    return fact('absent');
  }
}

/** `material` null: in the open. */
export async function askEtcd(endpoint: string, material: TlsMaterial | null, serverName: string | null): Promise<EtcdFact> {
  try {
    const text = await (material === null ? plain(endpoint) : secured(endpoint, material, serverName));
    const version = (JSON.parse(text) as { readonly etcdserver?: string }).etcdserver;
    return { endpoint, version: version ?? null, problem: version === undefined ? 'it says no version' : '' };
  } catch (error) {
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
    return { endpoint, version: null, problem: cause instanceof Error ? cause.message : String(cause) };
  }
}

async function plain(endpoint: string): Promise<string> {
  return (await fetch(new URL('/version', endpoint), { signal: AbortSignal.timeout(ETCD_MS) })).text();
}

function secured(endpoint: string, { ca, certificate, key }: TlsMaterial, serverName: string | null): Promise<string> {
  return new Promise((resolve, reject) => {
    const asked = request(
      new URL('/version', endpoint),
      {
        ...{ ca, cert: certificate, key, minVersion: 'TLSv1.2', agent: false, signal: AbortSignal.timeout(ETCD_MS) },
        ...(serverName === null ? {} : { servername: serverName }),
      },
      (answer) => {
        let text = '';
        answer.setEncoding('utf8');
        answer.on('data', (part: string) => {
          text += part;
          if (text.length > MOST_ANSWER_BYTES) answer.destroy(new Error('it answers as no etcd does'));
        });
        answer.once('end', () => resolve(text));
        answer.once('error', reject);
      },
    );
    asked.once('error', reject);
    asked.end();
  });
}
