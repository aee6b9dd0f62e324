// Bounds of the agent's own loop, in milliseconds unless said otherwise, each with its reason. Those of the procedures are in
// procedures/bounds.ts.

/** Facts are read so often: four times a second is what SAFETY 1 asks for the replication status. */
export const LOOK_INTERVAL_MS = 250;
/** Half of a pair is probed out of band so often: a hung QEMU costs this and PROBE_SILENT_MS. It passes the main loop and costs one message. */
export const PAIR_PROBE_INTERVAL_MS = 100;
/** While overlays are merged the end is looked for more often: until it is written down, the images alone cannot tell it. */
export const MERGE_LOOK_INTERVAL_MS = 50;
/** One round of queries. Far longer than a healthy answer, so that a main loop that hangs is asked once and not again and again. */
export const LOOK_MS = 30_000;
/** The ordinary monitor that has not answered a round of queries for so long is called silent. */
export const MAIN_LOOP_SILENT_MS = 400;
/** A main loop that is silent for so long is hung, although out-of-band commands are answered. */
export const MAIN_LOOP_HUNG_MS = 3_000;
/** An out-of-band probe passes the main loop; measured below 4 ms. So long without an answer on a busy machine means hung. */
export const PROBE_SILENT_MS = 400;
/** One attempt to connect and be greeted. */
export const CONNECT_MS = 1_000;
/** Between attempts to connect to a QEMU that is being started. */
export const CONNECT_AGAIN_MS = 10;
/** Between attempts to connect to one that should be there. */
export const RECONNECT_MS = 100;
/**
 * The process of a QEMU in a pair is looked at so often: the kernel frees a guest's memory before it closes the monitors, so a death shows
 * in /proc first, by milliseconds for a small guest and by seconds for a big one. One look costs some twenty microseconds.
 */
export const EXIT_POLL_MS = 20;
/** After both monitors ended: how long the kernel may need to show that the process is exiting. */
export const EXIT_SHOWN_MS = 200;
export const EXIT_LOOK_AGAIN_MS = 2;
/** After SIGKILL. Freeing a guest's memory takes time. */
export const KILL_MS = 5_000;
/** From `quit` to the end of QEMU. */
export const QUIT_MS = 5_000;
/** One ordinary command outside a procedure. */
export const COMMAND_MS = 5_000;
/** A plan that needs more actions than this for one order goes in a circle. */
export const MAX_ACTIONS = 8;
/** An operator's command that starts an external secondary. */
export const EXTERNAL_START_MS = 60_000;
/** The proof waits so long for the facts to agree after the last checkpoint. */
export const PROOF_MS = 3_000;
export const PROOF_AGAIN_MS = 20;
/** A guest that stands still because its disk failed is let go on so often: soon after the disk is well, and rarely enough for a log. */
export const FAILED_WRITE_AGAIN_MS = 2_000;
/** How long a merge of overlays may hold up an order to stop. */
export const MERGE_MS = 600_000;
/**
 * QEMU holds back events of some kinds (QUORUM_REPORT_BAD among them) for up to a second after the last one. What the last pair left
 * behind must be out before the next one is made, or it would speak against it.
 */
export const EVENT_HELD_BACK_MS = 1_100;
/**
 * COLO_EXIT is written down so much after it was seen, unless an order is written before: a release follows on its heels, and must not
 * wait for the disk twice.
 */
export const COLO_EXIT_NOTED_MS = 50;
