// What a coordinator hears of one host, as the streams to the agents tell it.

import type { Instant } from '../../shared/core/ids.js';
import type { HostReport } from '../../shared/core/model.js';

/** What is known of one host over its agent's stream. */
export interface HostLink {
  readonly host: string;
  /** The stream is open and its last report is not older than the limit. */
  readonly heard: boolean;
  /** When the last report came; null = never in this process's life. */
  readonly lastReportAt: Instant | null;
  readonly report: HostReport | null;
  /** Words of the report that this version does not know and read as something safe, each with its field; empty = none. */
  readonly strange: readonly string[];
}
