// `coloctl status`: the cluster now, or followed with -w. Its exit code says how bad it is.

import { stringify } from 'yaml';
import { CoordinatorServiceService as service, type Status } from '../../shared/gen/colo/v1/coordinator.js';
import type { RpcError } from '../../shared/io/rpc/errors.js';
import { exitCodeOf } from './exit-codes.js';
import { describeLine, type Session } from './session.js';
import { statusShape } from './shapes.js';
import { renderStatus } from './status-view.js';
import { coloursOf } from './text.js';
import type { CliWorld, Failure } from './world.js';

export const STATUS_OUTPUTS = ['table', 'wide', 'json', 'yaml'] as const;
export type StatusOutput = (typeof STATUS_OUTPUTS)[number];

/** A coordinator repeats its status each second; so long without one means that it is gone. */
const SILENT_MS = 3_000;

export async function showStatus(world: CliWorld, session: Session, output: StatusOutput): Promise<number | Failure> {
  const answer = await session.status();
  if (!answer.ok) return answer.error;
  world.out(formatted(world, answer.value, output));
  return exitCodeOf(answer.value);
}

/**
 * Follows the status until interrupted. On a terminal each status replaces the last one; elsewhere they follow one another, and JSON comes
 * as one line each. When a coordinator falls silent the next one is followed.
 */
export function watchStatus(world: CliWorld, session: Session, output: StatusOutput): Promise<never> {
  const lines = session.lines();
  let shown = '';
  const show = (text: string): void => {
    if (text === shown) return;
    shown = text;
    // Cursor home, then clear to the end: less flicker than clearing first.
    world.out(world.isTerminal && output !== 'json' ? `\u001b[H\u001b[J${text}` : text);
  };
  return new Promise(() => {
    const follow = (index: number): void => {
      const line = lines[index % lines.length];
      if (line === undefined) return;
      const stream = line.follow(
        service.watchStatus,
        {},
        { silentAfterMs: SILENT_MS, firstMessageMs: SILENT_MS },
        {
          message: (status) => show(output === 'json' ? `${JSON.stringify(statusShape(status))}\n` : formatted(world, status, output)),
          down: (error: RpcError) => {
            stream.close();
            world.err(`${line.address}: ${describeLine(error)}; following the next coordinator\n`);
            world.clock.after(500, () => follow(index + 1));
          },
        },
      );
    };
    follow(0);
  });
}

function formatted(world: CliWorld, status: Status, output: StatusOutput): string {
  switch (output) {
    case 'json':
      return `${JSON.stringify(statusShape(status), null, 2)}\n`;
    case 'yaml':
      return stringify(statusShape(status));
    case 'table':
    case 'wide':
      return renderStatus(status, { wide: output === 'wide', nowMs: world.clock.wallMs(), colours: coloursOf(world.colour) });
  }
}
