// `coloctl certs show`: one's own certificate, and those of the cluster as the daemons say. Every coordinator is asked, because each speaks
// for itself and for the agents that it hears.

import { CoordinatorServiceService as service } from '../../shared/gen/colo/v1/coordinator.js';
import { CERTIFICATE_EXPIRES_MS } from '../../shared/core/limits.js';
import type { CertificateReport } from '../../shared/core/model.js';
import { certificateFromWire } from '../../shared/io/wire/certificate.js';
import { EXIT } from './exit-codes.js';
import { describeLine, type Session } from './session.js';
import { coloursOf, iso, table } from './text.js';
import type { CliWorld, Failure } from './world.js';

export const CERTS_OUTPUTS = ['table', 'json'] as const;

const CALL_MS = 1_500;
const DAY_MS = 24 * 3_600_000;

export async function showCertificates(
  world: CliWorld,
  session: Session,
  output: (typeof CERTS_OUTPUTS)[number],
): Promise<number | Failure> {
  const own = session.certificate();
  const found = new Map<string, CertificateReport>();
  const silent: string[] = [];
  const answers = await Promise.all(
    session.lines().map(async (line) => ({ address: line.address, answer: await line.call(service.getStatus, {}, CALL_MS) })),
  );
  for (const { address, answer } of answers) {
    if (answer.ok) for (const each of answer.value.certificates) found.set(each.identity, certificateFromWire(each));
    else silent.push(`${address}: ${describeLine(answer.error)}`);
  }
  const all = [
    ...(own === null ? [] : [{ ...own, whose: 'yours' }]),
    ...[...found.values()].sort((x, y) => (x.identity < y.identity ? -1 : 1)).map((each) => ({ ...each, whose: 'daemon' })),
  ];
  const now = world.clock.wallMs();
  if (output === 'json') {
    const shapes = all.map(({ identity, serial, notAfterMs, problem, whose }) => ({
      identity,
      whose,
      serial,
      notAfter: iso(notAfterMs),
      problem,
    }));
    world.out(`${JSON.stringify(shapes, null, 2)}\n`);
  } else if (all.length === 0) world.out('This cluster runs without certificates.\n');
  else {
    const rows = all.map((each) => [each.identity, each.whose, iso(each.notAfterMs), leftOf(each, now), each.serial, each.problem ?? '-']);
    world.out(`${table(['IDENTITY', 'WHOSE', 'NOT AFTER', 'LEFT', 'SERIAL', 'PROBLEM'], rows, coloursOf(world.colour))}\n`);
  }
  for (const each of silent) world.err(`not heard: ${each}\n`);
  if (silent.length === answers.length) return EXIT.unreachable;
  return all.some((each) => each.problem !== null || each.notAfterMs - now < CERTIFICATE_EXPIRES_MS) ? EXIT.degraded : EXIT.ok;
}

function leftOf({ notAfterMs }: CertificateReport, nowMs: number): string {
  return notAfterMs <= nowMs ? 'EXPIRED' : `${Math.floor((notAfterMs - nowMs) / DAY_MS)} days`;
}
