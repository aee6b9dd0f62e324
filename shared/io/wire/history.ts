// History entries between the model and the wire.

import { epoch } from '../../core/ids.js';
import { PHASES, type HistoryEntry, type Phase } from '../../core/model.js';
import type { Result } from '../../core/result.js';
import type { HistoryEntry as EntryMessage } from '../../gen/colo/v1/coordinator.js';
import { emptyToNull, Reader, uint64, whole, type WireProblems, type Words } from './reader.js';

const PHASE_WORDS = Object.fromEntries(PHASES.map((phase) => [phase, true])) as Words<Phase>;

export function historyToWire(entry: HistoryEntry): EntryMessage {
  return {
    atMs: uint64(entry.atMs),
    vm: entry.vm,
    epoch: entry.epoch,
    row: entry.row,
    from: entry.from,
    to: entry.to,
    primary: entry.primary ?? '',
    secondary: entry.secondary ?? '',
    evidence: [...entry.evidence],
    by: entry.by,
    durationsMs: { ...entry.durationsMs },
  };
}

export function historyFromWire(message: EntryMessage): Result<HistoryEntry, WireProblems> {
  const reader = new Reader();
  return whole(reader, {
    atMs: message.atMs,
    vm: reader.filled('vm', message.vm),
    epoch: epoch(message.epoch),
    row: message.row,
    from: reader.word('from', message.from, PHASE_WORDS),
    to: reader.word('to', message.to, PHASE_WORDS),
    primary: emptyToNull(message.primary),
    secondary: emptyToNull(message.secondary),
    evidence: message.evidence,
    by: message.by,
    durationsMs: message.durationsMs,
  });
}
