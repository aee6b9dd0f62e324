// `coloctl explain VM`: the row of the table that holds now, why there is such a row, and what each side looks like to the coordinator.

import { CoordinatorServiceService as service } from '../../shared/gen/colo/v1/coordinator.js';
import { EXIT } from './exit-codes.js';
import type { Session } from './session.js';
import { paintPhase, wantedOf } from './status-view.js';
import { coloursOf, orDash } from './text.js';
import type { CliWorld, Failure } from './world.js';

export async function explainVm(world: CliWorld, session: Session, name: string): Promise<number | Failure> {
  const answer = await session.read(service.explainVm, { name });
  if (!answer.ok) return answer.error;
  const { status, row, why, reason, orders } = answer.value;
  const colours = coloursOf(world.colour);
  const lines: (readonly [string, string])[] = [];
  if (status !== undefined) {
    lines.push(
      ['Phase', `${paintPhase(status, colours)}, epoch ${status.epoch}, by row ${orDash(status.row)}`],
      ['Wanted', wantedOf(status)],
    );
  }
  lines.push(['Row now', row], ['Why', why], ['Says', orDash(reason)]);
  if (status?.lastError) lines.push(['Last error', status.lastError]);
  for (const side of status?.sides ?? []) {
    lines.push([
      side.role === '' ? 'Stray' : side.role === 'primary' ? 'Primary' : 'Secondary',
      `${side.host}: qemu ${side.qemu}, pair ${side.pair}`,
    ]);
    lines.push(...side.evidence.map((line) => ['', line] as const));
  }
  if (status !== undefined && status.diskHost !== '') lines.push(['Valid disk', `on ${status.diskHost}, ${status.diskState}`]);
  for (const order of orders) lines.push(['Ordered', order]);
  const width = Math.max(...lines.map(([title]) => title.length));
  world.out(`${lines.map(([title, text]) => `${colours.bold(title.padEnd(width))}  ${text}`.trimEnd()).join('\n')}\n`);
  return EXIT.ok;
}
