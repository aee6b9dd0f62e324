// Where the time of a failover went: the moments that the daemons' logs tell, from the fault on. Pure, so that it can be held against
// hand-made logs. A moment that did not come is left out.

import type { LogEvent } from './logs.js';

/** In the order in which they are printed. Each is milliseconds since the fault. */
export const MOMENTS = [
  /** The first doubt of an agent: contact not proven for the suspect time, a QEMU that does not answer. */
  'doubt',
  /** The evidence is enough: a pair judged silent or broken, a QEMU dead or hung. The latest that came before the decision. */
  'evidence',
  /** The coordinator that decided found the struck host's stream silent. */
  'unheard',
  /** Another coordinator took over, if the leader was struck. */
  'led',
  'decided',
  'saved',
  'journalled',
  /** The guest runs alone and is heard. */
  'released',
  /** The verdict is saved as executed. */
  'executed',
  /** The next pair is proven. */
  'protected',
] as const;
export type Moment = (typeof MOMENTS)[number];
export type Timeline = Readonly<Partial<Record<Moment, number>>>;

export interface Release {
  readonly host: string;
  readonly epoch: number;
}

/** `atMs`: of the fault, on the wall clock of the logs. `struck`: the host. */
export function timelineOf(events: readonly LogEvent[], atMs: number, struck: string): Timeline {
  const after = events.filter((each) => each.atMs >= Math.floor(atMs));
  const verdict = after.find(isEdgeTo('verdict'));
  const decidedMs = verdict === undefined ? Infinity : verdict.atMs - Number(verdict.fields['tookMs'] ?? 0);
  const epoch = verdict?.fields['epoch'];
  const evidence = after.filter((each) => isEvidence(each) && each.atMs <= decidedMs + 1);
  const own = (each: LogEvent): boolean => each.fields['epoch'] === epoch;
  const found: Readonly<Record<Moment, number | undefined>> = {
    doubt: after.find((each) => isEvidence(each) || isDoubt(each))?.atMs,
    evidence: evidence.at(-1)?.atMs,
    unheard: after.find((each) => each.event === 'agent-unheard' && each.fields['host'] === struck && each.host === verdict?.host)?.atMs,
    led: after.find((each) => each.event === 'leadership-won')?.atMs,
    decided: verdict === undefined ? undefined : decidedMs,
    saved: verdict?.atMs,
    journalled: after.find((each) => each.event === 'order-journalled' && own(each) && String(each.fields['goal']).startsWith('release-'))
      ?.atMs,
    released: after.find((each) => each.event === 'released' && own(each))?.atMs,
    executed: after.find(isEdgeTo('executed'))?.atMs,
    protected: after.find(isEdgeTo('protected'))?.atMs,
  };
  return Object.fromEntries(MOMENTS.flatMap((moment) => (found[moment] === undefined ? [] : [[moment, found[moment] - atMs]])));
}

export function isEdgeTo(phase: string): (event: LogEvent) => boolean {
  return (each) => each.event === 'edge' && each.fields['to'] === phase;
}

/** Every side that was let run alone. */
export function releasesOf(events: readonly LogEvent[]): readonly Release[] {
  return events.flatMap((each) => (each.event === 'released' ? [{ host: each.host, epoch: Number(each.fields['epoch']) }] : []));
}

/** Epochs in which more than one host let its side run: never one. */
export function splitEpochs(releases: readonly Release[]): readonly number[] {
  const hosts = new Map<number, Set<string>>();
  for (const { host, epoch } of releases) hosts.set(epoch, (hosts.get(epoch) ?? new Set()).add(host));
  return [...hosts].flatMap(([epoch, each]) => (each.size > 1 ? [epoch] : []));
}

function isEvidence({ event, fields }: LogEvent): boolean {
  if (event === 'qemu-dead' || event === 'qemu-hung') return true;
  return event === 'pair-judged' && (fields['pair'] === 'silent' || fields['pair'] === 'hard');
}

function isDoubt({ event, fields }: LogEvent): boolean {
  return event === 'main-loop-silent' || (event === 'pair-judged' && fields['pair'] === 'unknown');
}
