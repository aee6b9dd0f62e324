// Certificates from files: read, and checked before anything uses them, so that a broken or half-written pair is found here and not at the
// next handshake. The checks are what a peer would check, and that key and certificate belong together.

import { X509Certificate, createPrivateKey } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createSecureContext } from 'node:tls';
import { identityOf, type Identity } from '../../core/access.js';
import { fail, ok, type Result } from '../../core/result.js';

/** Absolute paths of PEM files. */
export interface TlsFiles {
  /** Certificates of the authorities that peers' certificates must be signed by; two while one replaces the other. */
  readonly ca: string;
  /** Our own, with intermediate ones below it if there are any. */
  readonly certificate: string;
  readonly key: string;
}

/** A certificate that other certificates are believed by. */
export interface Authority {
  readonly name: string;
  /** Milliseconds since 1970. */
  readonly notAfterMs: number;
  /** Our own certificate is signed by it. */
  readonly isOurs: boolean;
}

export interface TlsMaterial {
  readonly ca: Buffer;
  /** What is in `ca`, in its order. */
  readonly authorities: readonly Authority[];
  readonly certificate: Buffer;
  readonly key: Buffer;
  readonly identity: Identity;
  /** Milliseconds since 1970. */
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  readonly serial: string;
}

export function readMaterial(files: TlsFiles): Result<TlsMaterial, string> {
  const read = (file: string): Buffer => {
    try {
      return readFileSync(file);
    } catch (error) {
      throw new Error(`cannot read ${file}: ${codeOf(error)}`);
    }
  };
  try {
    return checkMaterial(files, { ca: read(files.ca), certificate: read(files.certificate), key: read(files.key) });
  } catch (error) {
    return fail(messageOf(error));
  }
}

function checkMaterial(
  files: TlsFiles,
  { ca, certificate, key }: Pick<TlsMaterial, 'ca' | 'certificate' | 'key'>,
): Result<TlsMaterial, string> {
  const own = inFile(files.certificate, () => new X509Certificate(certificate));
  const authorities = inFile(files.ca, () => certificatesOf(ca));
  const privateKey = inFile(files.key, () => createPrivateKey(key));
  if (authorities.length === 0) return fail(`${files.ca} has no certificate in it`);
  if (!own.checkPrivateKey(privateKey)) return fail(`${files.key} is not the key of ${files.certificate}`);
  // With intermediate certificates the topmost one that we send must be signed by an authority.
  const chain = inFile(files.certificate, () => certificatesOf(certificate));
  const top = chain.at(-1) ?? own;
  const signed = (authority: X509Certificate): boolean => top.checkIssued(authority) && top.verify(authority.publicKey);
  if (!authorities.some(signed)) return fail(`${files.certificate} is not signed by an authority in ${files.ca}`);
  const identity = identityOf(urisOf(own.subjectAltName));
  if (!identity.ok) return fail(`${files.certificate}: ${identity.error}`);
  // What Node would refuse at each handshake is refused now.
  inFile(files.certificate, () => createSecureContext({ ca, cert: certificate, key }));
  return ok({
    ca,
    authorities: authorities.map((each) => authorityOf(each, top)),
    certificate,
    key,
    identity: identity.value,
    notBeforeMs: Date.parse(own.validFrom),
    notAfterMs: Date.parse(own.validTo),
    serial: own.serialNumber,
  });
}

/** The URIs among alternative names as Node prints them: `URI:a, DNS:b`; a value with a comma or quote in it comes as a JSON string. */
export function urisOf(alternativeNames: string | undefined): readonly string[] {
  const uris: string[] = [];
  let rest = alternativeNames ?? '';
  while (rest !== '') {
    const match = /^([A-Za-z ]+):("(?:[^"\\]|\\.)*"|[^,"]*)(?:, |$)/.exec(rest);
    // Not understood is not trusted.
    if (match === null) return [];
    if (match[1] === 'URI') uris.push(match[2]?.startsWith('"') === true ? String(JSON.parse(match[2])) : (match[2] ?? ''));
    rest = rest.slice(match[0].length);
  }
  return uris;
}

function certificatesOf(pem: Buffer): readonly X509Certificate[] {
  const blocks = pem.toString('latin1').match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  return blocks.map((each) => new X509Certificate(each));
}

/** The authorities in a file, with the eyes of the holder of `own`. Throws when the file cannot be read as certificates. */
export function authoritiesFor(own: X509Certificate, pem: Buffer): readonly Authority[] {
  return certificatesOf(pem).map((each) => authorityOf(each, own));
}

function authorityOf(authority: X509Certificate, own: X509Certificate): Authority {
  return { name: nameOf(authority), notAfterMs: Date.parse(authority.validTo), isOurs: signed(authority, own) };
}

function signed(authority: X509Certificate, own: X509Certificate): boolean {
  return own.checkIssued(authority) && own.verify(authority.publicKey);
}

function nameOf({ subject }: X509Certificate): string {
  return /^CN=(.*)$/m.exec(subject)?.[1] ?? subject.replaceAll('\n', ', ');
}

function inFile<T>(file: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw new Error(`${file}: ${messageOf(error)}`);
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : messageOf(error);
}
