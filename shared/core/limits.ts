// Every default with its unit and its reason. A limit that is configurable has its floor beside it.

/** Agents report at least so often; the silence of a stream is judged against it. */
export const REPORT_INTERVAL_MS = 100;
/** A stream without a report for so long is silent. Below 250 ms a busy Node process is late often enough to be wrong. It moves no VM by itself. */
export const STREAM_SILENT_AFTER_MS = 300;
/** etcd lease of a host and of the leader. etcd grants no less than about 1.5 election timeouts. */
export const LEASE_TTL_MS = 3_000;
export const LEASE_TTL_FLOOR_MS = 2_000;
/** One call to one etcd member. Measured: with 300 ms and rotation a dead etcd leader costs 260-500 ms. */
export const STORE_CALL_MS = 300;
/** A store operation over all members and retries. */
export const STORE_OPERATION_MS = 2_000;
/** A watch that says nothing (not even progress) for so long is opened again on the next member. */
export const WATCH_SILENT_MS = 400;
/** One order to an agent, answered when it is journalled. */
export const ORDER_MS = 1_000;
/** A question to an agent whose last report is older than the trouble. */
export const PROBE_MS = 200;
/** Reconcile of all VMs even when nothing woke it. */
export const RECONCILE_INTERVAL_MS = 250;
/** An order that has shown no effect is sent again after so long. */
export const ORDER_REPEAT_MS = 500;
/** One that was refused or lost is sent again after so long at first, then after twice that, up to ORDER_REPEAT_MS. */
export const ORDER_AGAIN_FIRST_MS = 30;
/** A tick later than this makes the loop distrust this round's silences. */
export const LATE_TICK_MS = 150;
/** A QEMU that stays `unknown` (agent adopting) counts as hung after so long (SAFETY 9, row 17). */
export const UNKNOWN_COUNTS_AS_HUNG_MS = 2_000;
/** An agent that was only started again is heard by then, also where starting Node.js takes seconds; before, nobody is told to give its QEMU up. */
export const AGENT_RESTARTED_WITHIN_MS = 10_000;
/** Starting a QEMU and having it answer. TCG on a busy machine needs seconds. */
export const START_MS = 30_000;
/** One protection attempt, from ordering the secondary to the proof. Copies of big guests need longer: see the spec's bandwidth. */
export const PROTECT_FLOOR_MS = 60_000;
/** Failed protection attempts back off from the first to the last of these, doubling. */
export const PROTECT_BACKOFF_FIRST_MS = 1_000;
export const PROTECT_BACKOFF_LAST_MS = 60_000;
/** More failovers of one VM than this within an hour, and it is not protected anew by itself. Configurable: `failoversPerHour`. */
export const FAILOVERS_PER_HOUR = 12;
/** So many failovers are remembered in a record; a budget above that is no limit. */
export const FAILOVERS_KEPT = 100;
/** Once a quarter of the budget is spent, re-protection pauses, from the first to the last of these, doubling with each failover. */
export const HOLD_DOWN_FIRST_MS = 5_000;
export const HOLD_DOWN_LAST_MS = 60_000;
/**
 * Bytes kept free on a secondary's host for the overlays of one disk (or the disk's size, if that is less). They hold what a guest writes
 * between two checkpoints: one second at a gigabit, twice.
 */
export const OVERLAY_RESERVE_BYTES = 256 * 1024 * 1024;
/** History entries kept in etcd per VM. */
export const HISTORY_PER_VM = 200;
/** Longest line that QMP may send, bytes. The largest answers (query-qmp-schema) are near 1 MiB. */
export const QMP_LINE_BYTES = 16 * 1024 * 1024;
/** gRPC messages; a full status of hundreds of VMs is far below. */
export const RPC_MESSAGE_BYTES = 4 * 1024 * 1024;

/** Heartbeats between hosts that share a VM, on the replication network. */
export const HEARTBEAT_PORT = 7401;
export const HEARTBEAT_INTERVAL_MS = 50;
/** Below this an idle Node process on a busy machine beats late more often than not. */
export const HEARTBEAT_INTERVAL_FLOOR_MS = 20;
/** Two-way contact that is not proven for so long makes a host suspect. Both a lost packet or two and a late process must fit in. */
export const HEARTBEAT_SUSPECT_AFTER_MS = 300;
export const HEARTBEAT_SUSPECT_FLOOR_MS = 200;
/** At least so many beats fit into the time after which a host is suspect. */
export const HEARTBEAT_SUSPECT_BEATS = 5;

/** A certificate that expires within this is warned of in the log, and again each day. */
export const CERTIFICATE_EXPIRES_MS = 30 * 24 * 3_600_000;
/** And within this it is a problem of the cluster in `coloctl status`. */
export const CERTIFICATE_URGENT_MS = 7 * 24 * 3_600_000;
/** An authority that expires within this is warned of: another one must come to every machine, beside the old, before that. */
export const AUTHORITY_EXPIRES_MS = 180 * 24 * 3_600_000;

/** Of the figures for Prometheus, where the configuration asks for them. */
export const AGENT_METRICS_PORT = 7410;
export const COORDINATOR_METRICS_PORT = 7510;
