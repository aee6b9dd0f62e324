// Bounds of the procedures, in milliseconds, each with its reason.

/** An ordinary command; measured below 40 ms. QEMU that needs longer hangs, and is judged by the out-of-band probe. */
export const COMMAND_MS = 5_000;
/** Commands that open a connection to the peer from inside QEMU's main loop. */
export const CONNECT_MS = 10_000;
/** One yank; measured 2-4 ms for four of them. */
export const YANK_MS = 1_000;
/** COLO_EXIT of a secondary after the yank; measured 4-37 ms. Without it there is no promotion. */
export const COLO_EXIT_MS = 1_000;
/** From x-colo-lost-heartbeat to the guest running; measured 11-30 ms. */
export const RELEASE_MS = 5_000;
/** Time for the secondary to connect to mirror0 and compare1; it tries every 100 ms (every second before QEMU 9.2). */
export const PEER_MS = 10_000;
/** A copy without any progress for so long has failed. */
export const STALL_MS = 10_000;
/** From `migrate` to COLO with a running guest: bounded by the RAM size, see `migrationMs`. */
export const MIGRATION_FLOOR_MS = 60_000;
/** The first RESUME after COLO was reported; includes loading the device state on the secondary. */
export const FIRST_RESUME_MS = 10_000;
/** A forced checkpoint: asked again every FORCE_AGAIN_MS, because QEMU forgets a wish that comes in the middle of a checkpoint. */
export const CHECKPOINT_MS = 10_000;
export const FORCE_AGAIN_MS = 1_500;
/** An ended migration's state machine, after migrate_cancel. */
export const CANCEL_MS = 10_000;
/** Upper bound of the guest's stop at the end of a live RAM copy. */
export const DOWNTIME_LIMIT_MS = 300;

/** Polls: short while the guest stands still, longer while it runs. */
export const POLL_STOPPED_MS = 2;
export const POLL_RUNNING_MS = 20;
