// Procedures and command lines of a pair under TLS: everything on the replication network has credentials, and without them all is as in the open.

import { describe, expect, test } from 'vitest';
import { primaryFailover, secondaryFailover } from '../../../agent/core/procedures/failover.js';
import type { ProcedureContext } from '../../../agent/core/procedures/context.js';
import {
  liveResumeReplication,
  primaryResumeReplication,
  rollbackProtection,
  secondaryResumeReplication,
  switchoverResumeReplication,
} from '../../../agent/core/procedures/resume.js';
import { primaryStart, secondaryStart } from '../../../agent/core/procedures/start.js';
import type { Procedure, Step } from '../../../agent/core/procedures/step.js';
import { aContext } from './procedure-context.js';

const tls = { folder: '/etc/colo-ha/qemu-tls' };
const PROCEDURES: readonly (readonly [string, (context: ProcedureContext) => Procedure])[] = [
  primaryResumeReplication,
  secondaryResumeReplication,
  liveResumeReplication,
  switchoverResumeReplication,
  rollbackProtection,
  primaryStart,
  secondaryStart,
  primaryFailover,
  secondaryFailover,
].map((make) => [make.name, make]);

/** What a step says, without its credentials; null for one that is there for them alone. */
function withoutCredentials(step: Step): unknown {
  if (/object-(add|del) tls-/.test(step.name)) return null;
  const text = JSON.stringify({ ...step, deviations: step.deviations.filter((id) => id !== 'tls') })
    .replace(/json:\{.*?"host\\":\\"([^\\]+)\\",\\"port\\":\\"(\d+)\\"\},\\"export\\":\\"([^\\]+)\\".*?\}\}/, 'nbd://$1:$2/$3')
    .replaceAll(/,?"tls-(creds|authz)":"[^"]*"/g, '')
    .replaceAll(',file.tls-creds=tls-client', '')
    .replaceAll('{,', '{');
  const plain = JSON.parse(text) as { readonly kind: string; readonly command?: string; readonly args?: object };
  return plain.command === 'migrate-set-parameters' && Object.keys(plain.args ?? {}).length === 0 ? null : plain;
}

describe('under TLS', () => {
  test.each(PROCEDURES)('%s without its credentials -> the one in the open', (_name, make) => {
    const secured = make(aContext({ tls }));
    const open = make(aContext());
    expect(secured.steps.map(withoutCredentials).filter((step) => step !== null)).toEqual(JSON.parse(JSON.stringify(open.steps)));
  });

  test.each(PROCEDURES)('%s -> nothing listens or connects on the network without credentials', (_name, make) => {
    const bare = make(aContext({ tls })).steps.filter((step) => {
      const text = JSON.stringify(step);
      const isNetwork = /"type":"inet"|nbd:\/\/|driver=nbd|\\"inet\\"/.test(text);
      return isNetwork && !text.includes('tls-creds');
    });
    expect(bare.map((step) => step.name)).toEqual([]);
  });

  test('a migration -> credentials of a client where it goes out, those of a server and a list of who may come where it comes in', () => {
    const parameters = (procedure: Procedure): readonly unknown[] =>
      procedure.steps.flatMap((step) => (step.kind === 'command' && step.command === 'migrate-set-parameters' ? [step.args] : []));
    expect(parameters(liveResumeReplication(aContext({ tls })))[0]).toMatchObject({ 'tls-creds': 'tls-client' });
    expect(parameters(secondaryStart(aContext({ tls })))).toEqual([{ 'tls-creds': 'tls-server', 'tls-authz': 'tls-peers' }]);
  });
});
