// The clients of a chaos: several of each kind, in the client's namespace, from the beginning to the end. Their logs are the evidence.

import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import type { LabPlan } from '../../deploy/lab/plan.js';
import { parseProbeLog, type ProbeLine } from '../../deploy/lab/probe-log.js';
import { startProber, type Prober, type ProberOptions } from '../../deploy/lab/prober.js';
import type { ClientLog } from './operations.js';

/** A long-lived connection that stands still for so long is given up: an upload or a download may wedge at a failover (SAFETY 10). */
const STANDSTILL_MS = 20_000;
/**
 * A guest that begins anew knows nothing of a request that the one before had received and not answered, and the client's kernel has nothing
 * to send again: such a client has to give up by itself. No fault of a plan keeps a guest that runs on from answering for so long.
 */
const GIVE_UP_MS = 60_000;
const BULK_BYTES = 64 * 1024;

const CLIENTS: Readonly<Record<string, ProberOptions>> = {
  'counter 1': { probe: 'closed-loop', periodMs: 50, reconnect: true, answerBoundMs: GIVE_UP_MS },
  'counter 2': { probe: 'closed-loop', periodMs: 70, reconnect: true, answerBoundMs: GIVE_UP_MS },
  'new connections': { probe: 'new-connection', periodMs: 200, reconnect: true },
  reader: { probe: 'read', periodMs: 60, reconnect: true, answerBoundMs: GIVE_UP_MS },
  upload: { probe: 'upload', periodMs: 400, bytes: BULK_BYTES, reconnect: true, answerBoundMs: STANDSTILL_MS },
  download: { probe: 'download', periodMs: 400, bytes: BULK_BYTES, reconnect: true, answerBoundMs: STANDSTILL_MS },
};

/** Whose first connection must live through every fault after which the guest runs on. */
export const LASTING: readonly string[] = ['counter 1', 'counter 2', 'reader'];

export interface Clients {
  /** Those that have not been answered since that instant. */
  unanswered(sinceMs: number): readonly string[];
  /** Ends them all. */
  stop(): Promise<readonly ClientLog[]>;
}

export function startClients(plan: LabPlan): Clients {
  const probers = Object.entries(CLIENTS).map(([client, options]) => ({ client, prober: startProber(plan, options) }));
  return {
    unanswered: (sinceMs) => probers.filter(({ prober }) => lastAnswerMs(prober) < sinceMs).map(({ client }) => client),
    stop: async () => {
      const logs: ClientLog[] = [];
      for (const { client, prober } of probers) logs.push({ client, lines: await prober.stop() });
      return logs;
    },
  };
}

const TAIL_BYTES = 8 * 1024;

/** Reads only the end of the log, which grows all the time. */
function lastAnswerMs(prober: Prober): number {
  const file = openSync(prober.file, 'r');
  try {
    const { size } = fstatSync(file);
    const bytes = Buffer.alloc(Math.min(size, TAIL_BYTES));
    readSync(file, bytes, 0, bytes.length, size - bytes.length);
    const text = bytes.toString('utf8');
    const whole = size > TAIL_BYTES ? text.slice(text.indexOf('\n') + 1) : text;
    return parseProbeLog(whole).findLast(isAnswer)?.monoMs ?? -Infinity;
  } finally {
    closeSync(file);
  }
}

const isAnswer = (line: ProbeLine): boolean => line.kind === 'answer' || line.kind === 'value' || line.kind === 'transfer';
