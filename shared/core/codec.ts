// The values that the store and the disks keep: JSON with a format version. A reader ignores fields that it does not know, because a newer
// program of the same format may have added some, and refuses a format that it does not know, because guessing at a record can lose a guest.

import { z } from 'zod';
import { diskId, epoch, hostId, incarnation, vmUid } from './ids.js';
import {
  PHASES,
  type Cluster,
  type HistoryEntry,
  type HostKey,
  type Ports,
  type Side,
  type ValidDisk,
  type Verdict,
  type VmRecord,
  type VmSpec,
  type VmWanted,
} from './model.js';
import { fail, ok, type Result } from './result.js';

/** The value of `<prefix>/leader` and of each coordinator's member key. `session` is random per process, so that a restart is told from a survivor. */
export interface CoordinatorKey {
  readonly name: string;
  /** `address:port` of the coordinator's gRPC server. */
  readonly address: string;
  readonly session: string;
}

/** `detail` names the key, the field and what is wrong with it, ready for an operator. */
export type CodecError =
  | { readonly kind: 'not-json'; readonly detail: string }
  | { readonly kind: 'unknown-format'; readonly detail: string }
  | { readonly kind: 'invalid'; readonly detail: string };

export interface Codec<T> {
  encode(value: T): string;
  /** `key` is only for the error's text. */
  decode(key: string, text: string): Result<T, CodecError>;
}

export const FORMAT = 1;

const count = z.number().int().nonnegative();
const text = z.string();
const epochs = count.transform(epoch);
const hostIds = text.min(1).transform(hostId);
const diskIds = text.min(1).transform(diskId);
const vmUids = text.min(1).transform(vmUid);
const incarnations = text.min(1).transform(incarnation);
const phase = z.enum(PHASES);

const spec: z.ZodType<VmSpec> = z.object({
  name: text.min(1),
  memoryMiB: count,
  cpus: count,
  machine: text,
  cpuModel: text,
  accel: z.enum(['kvm', 'tcg', 'auto']),
  disks: z.array(z.object({ sizeBytes: count, path: text.nullable(), source: text.nullable() })),
  nics: z.array(z.object({ mac: text, bridge: text.nullable() })),
  boot: z.discriminatedUnion('kind', [
    z.object({ kind: z.literal('kernel'), kernel: text, initrd: text.nullable(), append: text }),
    z.object({ kind: z.literal('disk') }),
  ]),
  extraArgs: z.array(text),
  hosts: z.array(text),
  launch: z.discriminatedUnion('kind', [
    z.object({ kind: z.literal('managed') }),
    z.object({ kind: z.literal('external'), qmpSockets: z.array(text), startSecondary: z.array(text).nullable() }),
  ]),
  method: z.enum(['stop-copy', 'live', 'identical-images']),
  checkpointDelayMs: count,
  compareTimeoutMs: count,
  expiredScanCycleMs: count,
  maxBandwidthBytes: count,
  onPoweroff: z.enum(['stop', 'restart']),
  restart: z.enum(['always', 'never']),
  shutdownGraceMs: count,
});

const wanted: z.ZodType<VmWanted> = z.object({
  uid: vmUids,
  spec,
  wanted: z.enum(['running', 'stopped', 'deleted']),
  protect: z.boolean(),
  releasedAtMs: z.number().optional(),
  asked: count.optional(),
});

const side: z.ZodType<Side> = z.object({ host: text.min(1), hostId: hostIds, born: epochs });
const ports: z.ZodType<Ports> = z.object({ migration: count, nbd: count, mirror: z.array(count), compare: z.array(count) });

const verdict: z.ZodType<Verdict> = z.object({
  row: text,
  kind: z.enum(['solo-primary', 'promote-secondary']),
  winner: side,
  loser: side.nullable(),
  evidence: z.array(text),
  atMs: z.number(),
  loserLacks: text.optional(),
});

const disk: z.ZodType<ValidDisk> = z.object({
  host: text.min(1),
  diskId: diskIds,
  epoch: epochs,
  state: z.enum(['clean', 'merging', 'stale']),
  images: z.array(text),
});

const record: z.ZodType<VmRecord> = z.object({
  vm: text.min(1),
  uid: vmUids,
  epoch: epochs,
  phase,
  reason: text,
  row: text,
  sinceMs: z.number(),
  primary: side.nullable(),
  secondary: side.nullable(),
  ports: ports.nullable(),
  verdict: verdict.nullable(),
  disk: disk.nullable(),
  lastError: text.nullable(),
  failedAttempts: count,
  failoversAtMs: z.array(z.number()),
});

const history: z.ZodType<HistoryEntry> = z.object({
  atMs: z.number(),
  vm: text.min(1),
  epoch: epochs,
  row: text,
  from: phase,
  to: phase,
  primary: text.nullable(),
  secondary: text.nullable(),
  evidence: z.array(text),
  by: text,
  durationsMs: z.record(text, z.number()),
});

const host: z.ZodType<HostKey> = z.object({
  host: text.min(1),
  hostId: hostIds,
  agentAddress: text.min(1),
  replicationAddress: text.min(1),
  qemuVersion: text,
  agentVersion: text,
});

const cluster: z.ZodType<Cluster> = z.object({ name: text.min(1), incarnation: incarnations, termBase: count.optional() });
const coordinator: z.ZodType<CoordinatorKey> = z.object({ name: text.min(1), address: text.min(1), session: text.min(1) });

function codecOf<T extends object>(schema: z.ZodType<T>): Codec<T> {
  return {
    encode: (value) => JSON.stringify({ format: FORMAT, ...value }),
    decode: (key, value) => {
      let parsed: unknown;
      try {
        parsed = JSON.parse(value);
      } catch {
        return fail({ kind: 'not-json', detail: `${key}: the value is not JSON` });
      }
      const format = typeof parsed === 'object' && parsed !== null && 'format' in parsed ? parsed.format : undefined;
      if (format !== FORMAT) {
        const found = format === undefined ? 'no format version' : `format ${JSON.stringify(format)}`;
        return fail({ kind: 'unknown-format', detail: `${key}: the value has ${found}, and this program reads format ${FORMAT}` });
      }
      const checked = schema.safeParse(parsed);
      if (checked.success) return ok(checked.data);
      const problems = checked.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`);
      return fail({ kind: 'invalid', detail: `${key}: ${problems.join('; ')}` });
    },
  };
}

export const vmWantedCodec: Codec<VmWanted> = codecOf(wanted);
export const vmRecordCodec: Codec<VmRecord> = codecOf(record);
export const historyCodec: Codec<HistoryEntry> = codecOf(history);
export const hostKeyCodec: Codec<HostKey> = codecOf(host);
export const clusterCodec: Codec<Cluster> = codecOf(cluster);
export const coordinatorKeyCodec: Codec<CoordinatorKey> = codecOf(coordinator);
