// Configuration files of the daemons: YAML, strict. An unknown key, a wrong type or a value below its floor ends the start with the
// file, line and key, because a setting that is silently ignored is found at the worst time.

import { readFileSync } from 'node:fs';
import { LineCounter, parseDocument, isNode } from 'yaml';
import { z } from 'zod';
import {
  AGENT_METRICS_PORT,
  COORDINATOR_METRICS_PORT,
  FAILOVERS_PER_HOUR,
  HEARTBEAT_INTERVAL_FLOOR_MS,
  HEARTBEAT_INTERVAL_MS,
  HEARTBEAT_PORT,
  HEARTBEAT_SUSPECT_AFTER_MS,
  HEARTBEAT_SUSPECT_BEATS,
  HEARTBEAT_SUSPECT_FLOOR_MS,
  LEASE_TTL_FLOOR_MS,
  LEASE_TTL_MS,
} from '../core/limits.js';
import { fail, ok, type Result } from '../core/result.js';

const name = z
  .string()
  .regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/, 'must be a lower-case name of letters, digits and hyphens, at most 63 long');
const address = z.string().regex(/^(\[[0-9a-f:]+\]|[^\s:]+):\d{1,5}$/i, 'must be ADDRESS:PORT');
const absolute = z.string().regex(/^\//, 'must be an absolute path');
const logLevel = z.enum(['debug', 'info', 'warn', 'error']).default('info');

const etcd = z.strictObject({
  /** `https://ADDRESS:PORT` of each member; `http` in an insecure lab only. */
  endpoints: z.array(z.url({ protocol: /^https?$/ })).min(1),
  /** The name that members' certificates must bear; absent = the address or name in the endpoint. */
  serverName: z.string().min(1).optional(),
});

/** PEM files. They are read again when they change. */
const tls = z.strictObject({
  /** Of the authorities that every certificate of the cluster must be signed by. */
  ca: absolute,
  /** This daemon's own, which names its role: `colo://role/agent/HOST` or `colo://role/coordinator/NAME`. */
  certificate: absolute,
  key: absolute,
});

/** Figures for Prometheus: HTTP, in the open, to read only. */
const metricsOn = (port: number) => z.strictObject({ listen: address.default(`127.0.0.1:${port}`) }).optional();

const clusterKeys = {
  cluster: name,
  /** All keys are under this; default `/colo/<cluster>`. */
  prefix: z
    .string()
    .regex(/^\/[^\s]*[^\s/]$/, 'must begin with / and not end with it')
    .optional(),
  etcd,
  tls: tls.optional(),
  /** Instead of `tls`: everything in the open, and whoever reaches a port may do all. */
  insecureLab: z.boolean().default(false),
  leaseTtlMs: z.number().int().min(LEASE_TTL_FLOOR_MS).default(LEASE_TTL_MS),
  logLevel,
};

const heartbeat = z
  .strictObject({
    /** UDP, and the same number of TCP stays closed: its refusal tells that the peer's kernel lives. */
    port: z.number().int().min(1024).max(65535).default(HEARTBEAT_PORT),
    intervalMs: z
      .number()
      .int()
      .min(HEARTBEAT_INTERVAL_FLOOR_MS, `must be at least ${HEARTBEAT_INTERVAL_FLOOR_MS}: a busy machine cannot keep a shorter time`)
      .default(HEARTBEAT_INTERVAL_MS),
    suspectAfterMs: z
      .number()
      .int()
      .min(HEARTBEAT_SUSPECT_FLOOR_MS, `must be at least ${HEARTBEAT_SUSPECT_FLOOR_MS}: a shorter silence happens on healthy machines`)
      .default(HEARTBEAT_SUSPECT_AFTER_MS),
    /** File with a secret that all hosts share; with it, heartbeats are signed and unsigned ones are not heard. */
    keyFile: absolute.optional(),
  })
  .refine((value) => value.suspectAfterMs >= HEARTBEAT_SUSPECT_BEATS * value.intervalMs, {
    path: ['suspectAfterMs'],
    message: `must be at least ${HEARTBEAT_SUSPECT_BEATS} times intervalMs, so that a few lost packets are no death`,
  })
  .prefault({});

/** Certificates, or an explicit word that there are none; never a bit of both. */
function securityProblems(config: {
  readonly tls?: object | undefined;
  readonly insecureLab: boolean;
  readonly etcd: { readonly endpoints: readonly string[] };
}): readonly { readonly path: (string | number)[]; readonly message: string }[] {
  if (config.tls === undefined && !config.insecureLab)
    return [
      { path: ['tls'], message: 'is missing: name ca, certificate and key; or, for a lab without any protection, set insecureLab: true' },
    ];
  if (config.tls !== undefined && config.insecureLab)
    return [{ path: ['insecureLab'], message: 'contradicts tls: there are certificates, or there is no protection' }];
  const scheme = config.tls === undefined ? 'http' : 'https';
  return config.etcd.endpoints.flatMap((each, index) =>
    each.startsWith(`${scheme}:`)
      ? []
      : [
          {
            path: ['etcd', 'endpoints', index],
            message: `must begin with ${scheme}://, because tls is ${config.tls === undefined ? 'not ' : ''}set`,
          },
        ],
  );
}

function checkSecurity<T extends Parameters<typeof securityProblems>[0]>(config: T, context: z.core.$RefinementCtx<T>): void {
  for (const { path, message } of securityProblems(config)) context.addIssue({ code: 'custom', path, message });
}

const agentSchema = z
  .strictObject({
    ...clusterKeys,
    host: name,
    metrics: metricsOn(AGENT_METRICS_PORT),
    /** Address of the gRPC server, on the management network. */
    listen: address,
    /** What coordinators dial; default `listen`. */
    advertise: address.optional(),
    /** IP address of this host on the replication network; QEMU's own streams bind to it and to nothing else. */
    replicationAddress: z.union([z.ipv4(), z.ipv6()]),
    /** Journal, images, logs. Survives a reboot. */
    stateDir: absolute.default('/var/lib/colo-ha'),
    /** Sockets. Must be short: a unix socket path has at most 107 bytes. */
    runtimeDir: absolute.default('/run/colo-ha'),
    /** Bridge for NICs that name none. */
    bridge: z.string().min(1).max(15).optional(),
    qemu: z
      .strictObject({
        system: z.string().min(1).default('qemu-system-x86_64'),
        img: z.string().min(1).default('qemu-img'),
        /** Whom QEMU runs as; default: `colo-qemu` with the launcher `systemd`, else the agent's own user. */
        user: z
          .string()
          .regex(/^[a-z_][a-z0-9_-]{0,31}$/, 'must be the name of a user')
          .optional(),
        /** QEMU's own seccomp filter. */
        sandbox: z.boolean().default(true),
        /** Folder with QEMU's own certificates; with it, the streams between the two sides of a pair are TLS. The same on all hosts. */
        tlsDir: absolute.optional(),
      })
      .prefault({}),
    /** `systemd`: each QEMU in its own transient unit. `detached`: a process of its own session, for machines without systemd. */
    launcher: z.enum(['systemd', 'detached']).default('systemd'),
    /** Heartbeats to the hosts that this one shares a VM with. */
    heartbeat,
  })
  .superRefine((config, context) => {
    checkSecurity(config, context);
    if (config.tls !== undefined && config.heartbeat.keyFile === undefined)
      context.addIssue({ code: 'custom', path: ['heartbeat', 'keyFile'], message: 'is missing: with tls, heartbeats must be signed too' });
  });

const coordinatorSchema = z
  .strictObject({
    ...clusterKeys,
    name,
    metrics: metricsOn(COORDINATOR_METRICS_PORT),
    listen: address,
    advertise: address.optional(),
    /** TCP ports on the replication network that attempts are given from. */
    ports: z
      .strictObject({ first: z.number().int().min(1024).max(65535), last: z.number().int().min(1024).max(65535) })
      .refine((range) => range.last - range.first >= 99, 'must hold at least 100 ports')
      .default({ first: 20000, last: 29999 }),
    /** More failovers of one VM within an hour, and it is not protected anew by itself; above 100 = no limit. */
    failoversPerHour: z.number().int().min(1).default(FAILOVERS_PER_HOUR),
  })
  .superRefine(checkSecurity);

export type AgentConfig = z.infer<typeof agentSchema> & { readonly prefix: string; readonly advertise: string };
export type CoordinatorConfig = z.infer<typeof coordinatorSchema> & { readonly prefix: string; readonly advertise: string };

export interface ConfigProblem {
  readonly file: string;
  readonly line: number;
  /** Dotted path of the key, '' = the whole file. */
  readonly key: string;
  readonly problem: string;
}

/** One line a problem: `file:line: key: what is wrong`. */
export function describeProblems(problems: readonly ConfigProblem[]): string {
  return problems.map((each) => `${each.file}:${each.line}: ${each.key === '' ? '' : `${each.key}: `}${each.problem}`).join('\n');
}

/** Parses YAML text against a strict schema and names file, line and key of everything wrong in it. */
export function parseYaml<T>(
  file: string,
  text: string,
  schema: z.ZodType<T>,
  overrides: Readonly<Record<string, unknown>> = {},
): Result<T, readonly ConfigProblem[]> {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, uniqueKeys: true });
  if (document.errors.length > 0) {
    return fail(
      document.errors.map((error) => ({
        file,
        line: lines.linePos(error.pos[0]).line,
        key: '',
        problem: error.message.split('\n')[0] ?? 'not YAML',
      })),
    );
  }
  const read = valueOf(document);
  if (!read.ok) return fail([{ file, line: 1, key: '', problem: read.error }]);
  const value = read.value ?? {};
  const parsed = schema.safeParse(typeof value === 'object' && !Array.isArray(value) ? { ...value, ...overrides } : value);
  if (parsed.success) return ok(parsed.data);
  const problems = parsed.error.issues.flatMap((issue) => {
    const unknown = issue.code === 'unrecognized_keys' ? issue.keys : [null];
    return unknown.map((extra) => {
      const path = extra === null ? issue.path : [...issue.path, extra];
      const problem = extra === null ? issue.message : 'unknown key: remove it or correct its spelling';
      return { file, line: lineOf(document, path, lines), key: path.join('.'), problem };
    });
  });
  return fail(problems);
}

/** An alias of nothing, of itself, or of ever more aliases is found only now, and is no less the file's fault. */
function valueOf(document: ReturnType<typeof parseDocument>): Result<unknown, string> {
  try {
    return ok(document.toJS() as unknown);
  } catch (error) {
    return fail(error instanceof Error ? error.message : String(error));
  }
}

/** Line of the key, or of the nearest parent that is in the file. */
function lineOf(document: ReturnType<typeof parseDocument>, path: readonly PropertyKey[], lines: LineCounter): number {
  for (let length = path.length; length > 0; length -= 1) {
    const parent = length === 1 ? document.contents : document.getIn(path.slice(0, length - 1), true);
    const key = path[length - 1];
    if (isNode(parent) && 'items' in parent) {
      for (const item of parent.items as { key?: { value?: unknown; range?: [number, number, number] } }[]) {
        if (item.key?.value === key && item.key?.range !== undefined) return lines.linePos(item.key.range[0]).line;
      }
    }
    const value = document.getIn(path.slice(0, length), true);
    if (isNode(value) && value.range) return lines.linePos(value.range[0]).line;
  }
  return 1;
}

/** What the command line adds to a configuration file. */
export interface ConfigOverrides {
  /** `--insecure-lab`. */
  readonly insecureLab?: true;
}

function load<T extends { cluster: string; prefix?: string | undefined; listen: string; advertise?: string | undefined }>(
  file: string,
  schema: z.ZodType<T>,
  overrides: ConfigOverrides,
): Result<T & { prefix: string; advertise: string }, readonly ConfigProblem[]> {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    return fail([{ file, line: 0, key: '', problem: error instanceof Error ? error.message : String(error) }]);
  }
  const parsed = parseYaml(file, text, schema, { ...overrides });
  if (!parsed.ok) return parsed;
  const config = parsed.value;
  return ok({ ...config, prefix: config.prefix ?? `/colo/${config.cluster}`, advertise: config.advertise ?? config.listen });
}

export function loadAgentConfig(file: string, overrides: ConfigOverrides = {}): Result<AgentConfig, readonly ConfigProblem[]> {
  return load(file, agentSchema, overrides);
}

export function loadCoordinatorConfig(file: string, overrides: ConfigOverrides = {}): Result<CoordinatorConfig, readonly ConfigProblem[]> {
  return load(file, coordinatorSchema, overrides);
}

/** What `colo-coordinator --dev` runs with. */
export function devCoordinatorConfig(listen: string, endpoint: string): CoordinatorConfig {
  const config = coordinatorSchema.parse({ cluster: 'dev', name: 'dev', listen, etcd: { endpoints: [endpoint] }, insecureLab: true });
  return { ...config, prefix: '/colo/dev', advertise: listen };
}
