// The cluster's own certificate authority: makes its certificate, and signs those of hosts, coordinators and people. Elliptic keys (P-256),
// because handshakes with them are cheap. Files are for whoever calls; keys leave this only as PEM.

import 'reflect-metadata';
import { createPrivateKey, X509Certificate as NodeCertificate, type webcrypto } from 'node:crypto';
import {
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  PemConverter,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509Certificate,
  X509CertificateGenerator,
  type JsonGeneralName,
} from '@peculiar/x509';

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256' } as const;
const SIGNATURE = { name: 'ECDSA', hash: 'SHA-256' } as const;
const DAY_MS = 24 * 3_600_000;
/** Clocks of a cluster may differ a little. */
const EARLIER_MS = 3_600_000;

export interface PemPair {
  readonly certificate: string;
  readonly key: string;
}

export interface Subject {
  readonly commonName: string;
  readonly uris: readonly string[];
  readonly dnsNames: readonly string[];
  readonly addresses: readonly string[];
  readonly isServer: boolean;
  readonly isClient: boolean;
  /** QEMU before 11 refuses a certificate that may not encipher keys, though nothing does that with keys like ours. */
  readonly isQemu?: boolean;
}

export async function makeAuthority(name: string, nowMs: number, days: number): Promise<PemPair> {
  const keys = await crypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
  const certificate = await X509CertificateGenerator.createSelfSigned({
    name: `CN=${name}`,
    serialNumber: serial(),
    notBefore: new Date(nowMs - EARLIER_MS),
    notAfter: new Date(nowMs + days * DAY_MS),
    signingAlgorithm: SIGNATURE,
    keys,
    extensions: [
      new BasicConstraintsExtension(true, 0, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
      await SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { certificate: pem(certificate), key: await pemOfKey(keys.privateKey) };
}

export async function issue(authority: PemPair, subject: Subject, nowMs: number, days: number): Promise<PemPair> {
  const issuer = new X509Certificate(authority.certificate);
  const keys = await crypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
  const names: readonly JsonGeneralName[] = [
    ...subject.uris.map((value) => ({ type: 'url' as const, value })),
    ...subject.dnsNames.map((value) => ({ type: 'dns' as const, value })),
    ...subject.addresses.map((value) => ({ type: 'ip' as const, value })),
  ];
  const certificate = await X509CertificateGenerator.create({
    serialNumber: serial(),
    subject: `CN=${subject.commonName}`,
    issuer: issuer.subject,
    notBefore: new Date(nowMs - EARLIER_MS),
    // No certificate outlives its authority.
    notAfter: new Date(Math.min(nowMs + days * DAY_MS, issuer.notAfter.getTime())),
    signingAlgorithm: SIGNATURE,
    publicKey: keys.publicKey,
    signingKey: await signingKey(authority.key),
    extensions: [
      new BasicConstraintsExtension(false, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.digitalSignature | (subject.isQemu === true ? KeyUsageFlags.keyEncipherment : 0), true),
      new ExtendedKeyUsageExtension([
        ...(subject.isServer ? [ExtendedKeyUsage.serverAuth] : []),
        ...(subject.isClient ? [ExtendedKeyUsage.clientAuth] : []),
      ]),
      new SubjectAlternativeNameExtension([...names]),
    ],
  });
  return { certificate: pem(certificate), key: await pemOfKey(keys.privateKey) };
}

/** Why this pair cannot sign; null = it can. */
export function authorityProblem({ certificate, key }: PemPair, nowMs: number): string | null {
  try {
    const parsed = new NodeCertificate(certificate);
    if (!parsed.checkPrivateKey(createPrivateKey(key))) return 'the key is not that of the certificate';
    return Date.parse(parsed.validTo) > nowMs ? null : `the authority has expired: ${parsed.validTo}`;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

async function signingKey(text: string): Promise<webcrypto.CryptoKey> {
  const [der] = PemConverter.decode(text);
  if (der === undefined) throw new Error('the file of the authority holds no key');
  return crypto.subtle.importKey('pkcs8', der, ALGORITHM, false, ['sign']);
}

async function pemOfKey(key: webcrypto.CryptoKey): Promise<string> {
  return `${PemConverter.encode(await crypto.subtle.exportKey('pkcs8', key), 'PRIVATE KEY')}\n`;
}

function pem(certificate: X509Certificate): string {
  return `${certificate.toString('pem')}\n`;
}

/** 16 random bytes, positive. */
function serial(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40;
  return Buffer.from(bytes).toString('hex');
}
