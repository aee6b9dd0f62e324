// Contexts for tests of procedures, so that a case shows only what differs. The usual one has the addresses and ports of QEMU's manual.

import { procedureContext, type ProcedureContext } from '../../../agent/core/procedures/context.js';
import type { QemuCapabilities } from '../../../agent/core/capabilities.js';
import { aSpec } from '../../support/spec.js';

export const CAPABILITIES: QemuCapabilities = {
  version: { major: 11, minor: 1, micro: 2 },
  coloOnSecondary: true,
  returnPath: true,
  pauseBeforeSwitchover: true,
};

export function aContext(change: Partial<ProcedureContext> = {}): ProcedureContext {
  const usual = procedureContext(
    aSpec(),
    {
      ports: { migration: 9998, nbd: 9999, mirror: [9003], compare: [9004] },
      peer: { host: 'b', address: '127.0.0.2' },
      bindAddress: '127.0.0.1',
      runtimeDir: '/run/colo-ha/web',
      capabilities: CAPABILITIES,
      tls: null,
    },
    { rewriters: [], coloExited: false },
  );
  return { ...usual, ...change };
}
