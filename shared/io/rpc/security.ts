// How connections are secured, on both ends: mutual TLS 1.3 with certificates of the cluster's own authority, or nothing at all in a lab that
// says so. A server is known by the role in its certificate and not by its address, so that an address that was given to another machine,
// or an agent that answers for another host, is found out in the handshake.

import { credentials as grpcCredentials, type ChannelCredentials } from '@grpc/grpc-js';
import { constants } from 'node:crypto';
import { createSecureContext, type PeerCertificate, type TlsOptions } from 'node:tls';
import { describeIdentity, identityOf, type Identity, type Role } from '../../core/access.js';
import { certificateMetrics, type Metric } from '../../core/metrics.js';
import { fail, ok, type Result } from '../../core/result.js';
import type { CertificateReport } from '../../core/model.js';
import type { Clock, Log } from '../../ports.js';
import { keepTls, type TlsKeeper } from '../tls/keeper.js';
import { readMaterial, urisOf, type TlsFiles, type TlsMaterial } from '../tls/material.js';
import type { EtcdSecurity } from '../etcd/member.js';
import type { Link } from './client.js';

export type Security = { readonly kind: 'insecure-lab' } | { readonly kind: 'tls'; readonly keeper: TlsKeeper };

export const insecureLab: Security = { kind: 'insecure-lab' };

/** As the configuration says. Certificates are read and looked after from now on; an error is one that ends the start. */
export function securityOf(
  ports: { readonly clock: Clock; readonly log: Log },
  config: { readonly tls?: TlsFiles | undefined },
  self: Identity,
): Result<Security, string> {
  if (config.tls === undefined) {
    ports.log.warn({}, 'insecure-lab');
    return ok(insecureLab);
  }
  const kept = keepTls(ports, config.tls, self);
  return kept.ok ? ok({ kind: 'tls', keeper: kept.value }) : fail(`tls: ${kept.error}`);
}

/** For a program that ends before its certificate could change. */
export function fixedTls(files: TlsFiles): Result<Security, string> {
  const read = readMaterial(files);
  if (!read.ok) return read;
  const material = read.value;
  const report = (): CertificateReport => ({
    identity: describeIdentity(material.identity),
    notAfterMs: material.notAfterMs,
    serial: material.serial,
    problem: null,
  });
  const nothing = (): void => undefined;
  return ok({
    kind: 'tls',
    keeper: { current: () => material, version: () => 1, report, onChange: () => nothing, close: nothing },
  });
}

/** For reports; null = without certificates. */
export function certificateOf(security: Security): CertificateReport | null {
  return security.kind === 'tls' ? security.keeper.report() : null;
}

/** The same as figures. `other`: one more certificate that this daemon looks after. */
export function securityMetrics(security: Security, other: CertificateReport | null = null): readonly Metric[] {
  const certificates = [certificateOf(security), other].filter((each) => each !== null);
  return certificateMetrics(certificates, security.kind === 'tls' ? security.keeper.current().authorities : []);
}

/** Who must answer: anybody of a role, or one holder of it. */
export interface Expected {
  readonly role: Role;
  /** Null = any. */
  readonly name: string | null;
}

/** For `dial`: connections to a server that must be the expected one. */
export function linkTo(security: Security, expected: Expected): Link {
  if (security.kind === 'insecure-lab') return { credentials: () => grpcCredentials.createInsecure(), version: () => 0 };
  const { keeper } = security;
  return { credentials: () => secured(keeper.current(), expected), version: () => keeper.version() };
}

function secured({ ca, certificate, key }: Pick<TlsMaterial, 'ca' | 'certificate' | 'key'>, expected: Expected): ChannelCredentials {
  const context = createSecureContext({ ca, cert: certificate, key, minVersion: 'TLSv1.3' });
  return grpcCredentials.createFromSecureContext(context, {
    checkServerIdentity: (_name, peer) => {
      const problem = unexpected(peer, expected);
      return problem === null ? undefined : new Error(problem);
    },
  });
}

function unexpected(peer: PeerCertificate, expected: Expected): string | null {
  const found = identityOfPeer(peer);
  const wanted = expected.name === null ? `a ${expected.role}` : `${expected.role}/${expected.name}`;
  if (!found.ok) return `${wanted} was dialled, and ${found.error}`;
  const { role, name } = found.value;
  if (role === expected.role && (expected.name === null || expected.name === name)) return null;
  return `${wanted} was dialled, and ${describeIdentity(found.value)} answered`;
}

/** Whose certificate came with a handshake that has succeeded. */
export function identityOfPeer(peer: PeerCertificate | null | undefined): Result<Identity, string> {
  if (peer === null || peer === undefined || Object.keys(peer).length === 0) return fail('no certificate was given');
  return identityOf(urisOf(peer.subjectaltname));
}

/** For the store: the daemon's certificate is its name in etcd as well. */
export function etcdSecurity(security: Security, serverName: string | undefined): EtcdSecurity | null {
  if (security.kind === 'insecure-lab') return null;
  const { keeper } = security;
  return {
    serverName: serverName ?? null,
    credentials: () => {
      const { ca, certificate, key } = keeper.current();
      return { rootCertificate: ca, certChain: certificate, privateKey: key };
    },
  };
}

/** For a TLS server, also to be set again after a change of certificates. */
export function serverTlsOptions(keeper: Pick<TlsKeeper, 'current'>): TlsOptions {
  const { ca, certificate, key } = keeper.current();
  return {
    ca,
    cert: certificate,
    key,
    requestCert: true,
    rejectUnauthorized: true,
    minVersion: 'TLSv1.3',
    ALPNProtocols: ['h2'],
    // A session that is resumed skips the check of the certificate's validity.
    secureOptions: constants.SSL_OP_NO_TICKET,
  };
}
