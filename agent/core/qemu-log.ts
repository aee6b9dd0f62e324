// What QEMU's standard error says that its monitor does not.

/**
 * A checkpoint that was received whole and did not load: RAM and devices of that QEMU are of two different moments (SAFETY 2). An error of
 * device 'ram' is none of these: RAM comes into a cache first, and a stream that is cut there is an ordinary break.
 */
const FAILED_LOAD = [/load device state failed/i, /error while loading state for instance \S+ of device '(?!ram')/i];

/** The first line that makes a secondary unfit to run the guest; null = none. */
export function saysUnpromotable(text: string): string | null {
  return text.split('\n').find((line) => FAILED_LOAD.some((pattern) => pattern.test(line))) ?? null;
}

/**
 * Why a secondary has left the loop that takes checkpoints in: each of these is written as it is left, right before COLO_EXIT (migration/colo.c). The
 * first was read on real QEMU 11.1 after a SIGKILL of the primary.
 */
const LEFT_COLO = [
  /Can't (receive|send) COLO message/,
  /Got unknown COLO message/,
  /Unexpected COLO message/,
  /Failed to get value for COLO message/,
  /error while loading state for instance \S+ of device 'ram'/i,
];

/** A QEMU that has been a secondary from its start has left COLO, and no checkpoint is half loaded. */
export function saysColoLeft(text: string): boolean {
  return LEFT_COLO.some((pattern) => pattern.test(text));
}

/** The last line that QEMU wrote, cut to a readable length; null = it wrote nothing. */
export function lastWords(text: string): string | null {
  const line = text
    .split('\n')
    .map((each) => each.trim())
    .filter((each) => each !== '')
    .at(-1);
  return line === undefined ? null : line.slice(0, 200);
}
