// What a prober writes, one JSON object a line: every exchange with its times, and every connection that began or broke. `monoMs` is
// CLOCK_MONOTONIC of the machine, which all namespaces and processes share, so that it can be set against a fault injected elsewhere.

export const PROBE_KINDS = ['closed-loop', 'upload', 'download', 'new-connection', 'read', 'dns'] as const;
export type ProbeKind = (typeof PROBE_KINDS)[number];

export type ProbeLine =
  | { readonly kind: 'begin'; readonly probe: ProbeKind; readonly monoMs: number; readonly wallMs: number }
  | { readonly kind: 'connected'; readonly monoMs: number; readonly wallMs: number }
  /** A request of the closed loop, of a connection of its own, or to read is about to be sent. Without a line that tells its end, nobody knows it. */
  | { readonly kind: 'asked'; readonly monoMs: number; readonly question: string }
  /** The counter as it is, without a change to it. */
  | {
      readonly kind: 'value';
      readonly sentMonoMs: number;
      readonly monoMs: number;
      readonly counter: number;
      readonly boot: string;
      /** The guest's own clock: it stands still while its QEMU is stopped. */
      readonly upMs: number;
    }
  /** A request of the closed loop, or of a connection of its own. */
  | {
      readonly kind: 'answer';
      readonly sentMonoMs: number;
      readonly monoMs: number;
      readonly wallMs: number;
      readonly counter: number;
      readonly boot: string;
      readonly diskErrno: number;
    }
  /** An upload that the guest has acknowledged with the right hash, or a download whose every byte was right. */
  | { readonly kind: 'transfer'; readonly sentMonoMs: number; readonly monoMs: number; readonly wallMs: number; readonly bytes: number }
  /** Bytes of a download have come: shows where in a transfer the stall was. At most one line in 10 ms. */
  | { readonly kind: 'progress'; readonly monoMs: number; readonly bytes: number }
  /** A question that the guest itself asked. Null = it gave up. */
  | {
      readonly kind: 'guest-query';
      readonly sentMonoMs: number;
      readonly monoMs: number;
      readonly wallMs: number;
      readonly elapsedMs: number | null;
      readonly tries: number;
    }
  /** The peer's words made no sense: a wrong hash, a wrong byte, an answer to something else. Never a mere delay. */
  | { readonly kind: 'wrong'; readonly monoMs: number; readonly wallMs: number; readonly detail: string }
  /** The connection broke, or could not be made. */
  | { readonly kind: 'broken'; readonly monoMs: number; readonly wallMs: number; readonly detail: string }
  | { readonly kind: 'end'; readonly monoMs: number; readonly wallMs: number };

/** Lines of a log that may still be written: a last line that is cut off is left out. */
export function parseProbeLog(text: string): readonly ProbeLine[] {
  const lines = text.split('\n');
  if (!text.endsWith('\n')) lines.pop();
  return lines.filter((line) => line !== '').map((line) => JSON.parse(line) as ProbeLine);
}
