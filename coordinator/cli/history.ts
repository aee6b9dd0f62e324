// `coloctl history`: what happened to VMs, why, and how long it took. Oldest first, so that the end of the screen is the present.

import { CoordinatorServiceService as service, type HistoryEntry } from '../../shared/gen/colo/v1/coordinator.js';
import { EXIT } from './exit-codes.js';
import type { Session } from './session.js';
import { historyShape } from './shapes.js';
import { coloursOf, iso, orDash, table } from './text.js';
import type { CliWorld, Failure } from './world.js';

export const HISTORY_OUTPUTS = ['table', 'wide', 'json'] as const;
export type HistoryOutput = (typeof HISTORY_OUTPUTS)[number];

export interface HistoryQuery {
  readonly vm: string | null;
  /** Milliseconds back from now; null = from the beginning. */
  readonly sinceMs: number | null;
  /** Newest so many; null = as the coordinator chooses. */
  readonly limit: number | null;
  readonly output: HistoryOutput;
}

export async function showHistory(world: CliWorld, session: Session, query: HistoryQuery): Promise<number | Failure> {
  const sinceMs = query.sinceMs === null ? 0 : Math.max(0, Math.floor(world.clock.wallMs() - query.sinceMs));
  const answer = await session.read(service.listHistory, { vm: query.vm ?? '', limit: query.limit ?? 0, sinceMs });
  if (!answer.ok) return answer.error;
  const { entries } = answer.value;
  if (query.output === 'json') world.out(`${JSON.stringify(entries.map(historyShape), null, 2)}\n`);
  else if (entries.length === 0)
    world.out(`Nothing has happened${query.vm === null ? '' : ` to ${query.vm}`}${sinceMs === 0 ? ' yet' : ' in that time'}.\n`);
  else world.out(renderHistory(entries, query.output === 'wide', world.colour));
  return EXIT.ok;
}

export function renderHistory(entries: readonly HistoryEntry[], wide: boolean, colour: boolean): string {
  const head = ['TIME (UTC)', 'VM', 'EPOCH', 'FROM -> TO', 'ROW', 'PRIMARY', 'SECONDARY', 'TOOK', 'BY', 'WHY'];
  const rows = entries.flatMap((entry) => [
    [
      iso(entry.atMs).replace('T', ' ').replace('Z', ''),
      entry.vm,
      String(entry.epoch),
      `${entry.from} -> ${entry.to}`,
      entry.row,
      orDash(entry.primary),
      orDash(entry.secondary),
      orDash(durations(entry.durationsMs)),
      orDash(entry.by),
      orDash(entry.evidence[0]),
    ],
    ...(wide ? entry.evidence.slice(1).map((line) => ['', '', '', '', '', '', '', '', '', line]) : []),
  ]);
  return `${table(head, rows, coloursOf(colour))}\n`;
}

function durations(named: Readonly<Record<string, number>>): string {
  return Object.entries(named)
    .map(([name, ms]) => `${name} ${ms >= 10_000 ? `${(ms / 1_000).toFixed(1)} s` : `${Math.round(ms)} ms`}`)
    .join(', ');
}
