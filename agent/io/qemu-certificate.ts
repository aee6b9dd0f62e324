// Looks after the certificate of this host's QEMUs: says early that it expires, and that something is wrong with it, which otherwise the next pair would
// be the first to tell. QEMU reads it by itself.

import { CERTIFICATE_EXPIRES_MS } from '../../shared/core/limits.js';
import type { CertificateReport } from '../../shared/core/model.js';
import { readQemuCertificate } from '../../shared/io/tls/qemu-certificate.js';
import type { Clock, Log } from '../../shared/ports.js';

const LOOK_MS = 60_000;
const DAY_MS = 24 * 3_600_000;

export interface QemuCertificateWatch {
  /** Null = it has never been read. */
  report(): CertificateReport | null;
  close(): void;
}

export function watchQemuCertificate(
  { clock, log }: { readonly clock: Clock; readonly log: Log },
  folder: string,
  replicationAddress: string,
): QemuCertificateWatch {
  let seen: CertificateReport | null = null;
  let problem: string | null = null;
  let warnedAtMs = -Infinity;
  let cancel: () => void = () => undefined;

  function look(): void {
    const found = readQemuCertificate(folder, replicationAddress);
    const now = clock.wallMs();
    if (found.ok) {
      const { identity, notAfterMs } = found.value;
      if (problem !== null) log.info({ identity }, 'certificate-files-whole');
      problem = null;
      seen = { identity, notAfterMs, serial: '', problem };
      if (notAfterMs - now <= CERTIFICATE_EXPIRES_MS && now - warnedAtMs >= DAY_MS) {
        warnedAtMs = now;
        const fields = { identity, notAfter: new Date(notAfterMs).toISOString() };
        if (notAfterMs <= now) log.error(fields, 'certificate-expired');
        else log.warn(fields, 'certificate-expires');
      }
    } else {
      if (found.error !== problem) log.error({ detail: found.error }, 'certificate-refused');
      problem = found.error;
      seen = seen === null ? null : { ...seen, problem };
    }
    cancel = clock.after(LOOK_MS, look);
  }

  look();
  return { report: () => seen, close: () => cancel() };
}
