// What daemons say of their certificates, between the model and the wire.

import type { CertificateReport } from '../../core/model.js';
import type { Certificate } from '../../gen/colo/v1/common.js';
import { uint64 } from './reader.js';

export function certificateToWire({ identity, notAfterMs, serial, problem }: CertificateReport): Certificate {
  return { identity, notAfterMs: uint64(notAfterMs), serial, problem: problem ?? '' };
}

export function certificateFromWire({ identity, notAfterMs, serial, problem }: Certificate): CertificateReport {
  return { identity, notAfterMs, serial, problem: problem === '' ? null : problem };
}
