// Certificates for the QEMUs of the two hosts, as QEMU wants them named.

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { issue, makeAuthority, type Subject } from '../../../shared/io/pki/authority.js';
import { qemuSubject, subjectOf } from '../../../shared/io/pki/cluster-plan.js';
import { REPLICATION } from './stage.js';

export async function makeCertificates(folder: string): Promise<void> {
  const now = Date.now();
  const authority = await makeAuthority('procedures', now, 10);
  const write = async (place: string, subject: Subject): Promise<void> => {
    mkdirSync(place);
    const { certificate, key } = await issue(authority, subject, now, 1);
    writeFileSync(join(place, 'ca-cert.pem'), authority.certificate);
    for (const end of ['server', 'client']) {
      writeFileSync(join(place, `${end}-cert.pem`), certificate);
      writeFileSync(join(place, `${end}-key.pem`), key, { mode: 0o600 });
    }
  };
  for (const host of ['a', 'b'] as const) {
    await write(join(folder, host, 'tls'), qemuSubject(host, REPLICATION[host]));
    // Of the same authority, and of no QEMU.
    await write(join(folder, host, 'tls-of-agent'), subjectOf({ role: 'agent', name: host }));
  }
}
