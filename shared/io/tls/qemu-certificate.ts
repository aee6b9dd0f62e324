// The certificate of a host's QEMUs, in the files that QEMU reads. QEMU would refuse a bad one only when a pair is made, so it is looked at before,
// with a peer's eyes: of the authority, with its own key, and for the address that the other side dials.

import { X509Certificate, createPrivateKey } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fail, ok, type Result } from '../../core/result.js';
import { authoritiesFor, type Authority } from './material.js';

/** As `subject` has it; `qemu.HOST` is shown as `qemu/HOST`, like the names of daemons. */
const COMMON_NAME = /^CN=qemu\.(.+)$/m;

export interface QemuCertificate {
  readonly file: string;
  /** `qemu/HOST`. */
  readonly identity: string;
  /** Milliseconds since 1970. */
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  readonly authorities: readonly Authority[];
}

export function qemuKeyFiles(folder: string): readonly string[] {
  return [join(folder, 'server-key.pem'), join(folder, 'client-key.pem')];
}

/** Both ends have the same certificate, and the earlier one to expire counts where they do not. */
export function readQemuCertificate(folder: string, replicationAddress: string): Result<QemuCertificate, string> {
  const server = readEnd(folder, 'server', replicationAddress);
  if (!server.ok) return server;
  const client = readEnd(folder, 'client', replicationAddress);
  if (!client.ok) return client;
  return client.value.notAfterMs < server.value.notAfterMs ? client : server;
}

function readEnd(folder: string, end: 'server' | 'client', replicationAddress: string): Result<QemuCertificate, string> {
  const file = join(folder, `${end}-cert.pem`);
  try {
    const own = new X509Certificate(readFileSync(file));
    const authorities = authoritiesFor(own, readFileSync(join(folder, 'ca-cert.pem')));
    const key = createPrivateKey(readFileSync(join(folder, `${end}-key.pem`)));
    const name = COMMON_NAME.exec(own.subject)?.[1];
    if (name === undefined) return fail(`${file} is no certificate of a QEMU`);
    if (!own.checkPrivateKey(key)) return fail(`${end}-key.pem is not the key of ${file}`);
    if (!authorities.some((each) => each.isOurs)) return fail(`${file} is not signed by an authority in ${join(folder, 'ca-cert.pem')}`);
    if (own.checkIP(replicationAddress) === undefined) return fail(`${file} is not for ${replicationAddress}, which the other side dials`);
    const [notBeforeMs, notAfterMs] = [Date.parse(own.validFrom), Date.parse(own.validTo)];
    return ok({ file, identity: `qemu/${name}`, notBeforeMs, notAfterMs, authorities });
  } catch (error) {
    return fail(`${file}: ${error instanceof Error ? error.message : String(error)}`);
  }
}
