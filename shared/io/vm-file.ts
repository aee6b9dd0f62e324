// The VM file: what an operator writes to define a VM. YAML, strict: an unknown key, a wrong type or a value that COLO cannot keep is
// refused with file, line and key. `deploy/examples/vm.yaml` shows every key. Reading performs no effect; the caller reads the file.

import { stringify } from 'yaml';
import { z } from 'zod';
import type { VmSpec } from '../core/model.js';
import { specProblems, type SpecProblem } from '../core/spec-rules.js';
import { parseYaml, type ConfigProblem } from './config.js';
import type { Result } from '../core/result.js';

const UNITS = { K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 } as const;
type Unit = keyof typeof UNITS;

/** `64M`, `1.5G`, `2TiB`: binary multiples, and never without a unit, because 96 may be bytes to one reader and MiB to the next. */
const size = (example: string) =>
  z
    .string({ error: wants(`a size with its unit, for example ${example}`) })
    .regex(/^\d+(\.\d+)?[KMGT](iB)?$/, `must be a number and K, M, G or T, for example ${example}`)
    .transform(bytesOf);

const text = (what: string) => z.string({ error: wants(what) });
const whole = (what: string) => z.number({ error: wants(what) });
const words = (what: string) => z.array(text('text (put it in quotes if it looks like a number)'), { error: wants(what) });
const choice = <T extends string>(...values: readonly [T, ...T[]]) => z.enum(values, { error: () => `must be ${values.join(' or ')}` });

const disk = z.strictObject(
  {
    size: size('64M'),
    path: text('an absolute path').nullable().default(null),
    source: text('an absolute path').nullable().default(null),
  },
  { error: wants('a disk: `size`, and `path` and `source` if needed') },
);

const nic = z.strictObject(
  { mac: text('a MAC address, for example 52:54:00:12:34:56'), bridge: text('the name of a bridge').nullable().default(null) },
  { error: wants('a card: `mac`, and `bridge` if needed') },
);

const boot = z.strictObject(
  {
    kernel: text('the absolute path of a kernel'),
    initrd: text('the absolute path of an initrd').nullable().default(null),
    append: text('the kernel command line').default(''),
  },
  { error: wants('`kernel`, `initrd` and `append`; without `boot` the guest boots from its first disk') },
);

const external = z.strictObject({
  qmpSockets: words('a list of socket paths'),
  startSecondary: words('a command as a list of words').nullable().default(null),
});

const schema = z.strictObject(
  {
    name: text("the VM's name"),
    memory: size('2G'),
    cpus: whole('a number of processors').default(1),
    machine: text('a QEMU machine type with its version, for example pc-i440fx-11.1 (both sides must be the same machine)'),
    cpuModel: text('a CPU model').default('qemu64'),
    accel: choice('auto', 'kvm', 'tcg').default('auto'),
    disks: z.array(disk, { error: wants('a list of disks, each with its `size`') }),
    nics: z.array(nic, { error: wants('a list of network cards, each with its `mac`') }),
    boot: boot.optional(),
    extraArgs: words('a list of QEMU options').default([]),
    hosts: words('a list of host names').default([]),
    launch: choice('managed', 'external').default('managed'),
    external: external.optional(),
    method: choice('stop-copy', 'live', 'identical-images').default('stop-copy'),
    checkpointDelayMs: whole('milliseconds').default(1_000),
    compareTimeoutMs: whole('milliseconds').default(300),
    expiredScanCycleMs: whole('milliseconds').default(100),
    maxBandwidth: size('1G').prefault('1G'),
    onPoweroff: choice('stop', 'restart').default('stop'),
    restart: choice('always', 'never').default('always'),
    shutdownGraceMs: whole('milliseconds').default(30_000),
  },
  { error: wants('the keys of a VM: see deploy/examples/vm.yaml') },
);

type VmFile = z.infer<typeof schema>;

const checked = schema.transform((file, context): VmSpec => {
  if (file.launch === 'external' && file.external === undefined)
    refuse(['launch'], 'external needs the key `external` with its `qmpSockets`');
  if (file.launch === 'managed' && file.external !== undefined)
    refuse(['external'], 'has no meaning with `launch: managed`: remove it, or set `launch: external`');
  const spec = specOf(file);
  for (const each of specProblems(spec)) refuse(each.path, each.problem);
  return spec;

  function refuse(path: readonly (string | number)[], message: string): void {
    context.addIssue({ code: 'custom', path: [...path], message, input: file });
  }
});

/** Reads a VM definition. `file` is only a name for messages. */
export function parseVmFile(file: string, content: string): Result<VmSpec, readonly ConfigProblem[]> {
  return parseYaml(file, content, checked);
}

/** Gives file and line to problems that somebody else found, for example a coordinator that knows the other VMs. */
export function locateProblems(file: string, content: string, problems: readonly SpecProblem[]): readonly ConfigProblem[] {
  const reporting = z.unknown().superRefine((_, context) => {
    for (const each of problems) context.addIssue({ code: 'custom', path: [...each.path], message: each.problem });
  });
  const located = parseYaml(file, content, reporting);
  return located.ok ? [] : located.error;
}

/** A definition as a VM file: what `parseVmFile` reads back as the same definition. */
export function writeVmFile(spec: VmSpec): string {
  return stringify({
    name: spec.name,
    memory: sizeOf(spec.memoryMiB * UNITS.M),
    cpus: spec.cpus,
    machine: spec.machine,
    cpuModel: spec.cpuModel,
    accel: spec.accel,
    disks: spec.disks.map((each) => ({ size: sizeOf(each.sizeBytes), ...given('path', each.path), ...given('source', each.source) })),
    nics: spec.nics.map((each) => ({ mac: each.mac, ...given('bridge', each.bridge) })),
    ...(spec.boot.kind === 'kernel'
      ? { boot: { kernel: spec.boot.kernel, ...given('initrd', spec.boot.initrd), append: spec.boot.append } }
      : {}),
    extraArgs: spec.extraArgs,
    hosts: spec.hosts,
    launch: spec.launch.kind,
    ...(spec.launch.kind === 'external'
      ? { external: { qmpSockets: spec.launch.qmpSockets, ...given('startSecondary', spec.launch.startSecondary) } }
      : {}),
    method: spec.method,
    checkpointDelayMs: spec.checkpointDelayMs,
    compareTimeoutMs: spec.compareTimeoutMs,
    expiredScanCycleMs: spec.expiredScanCycleMs,
    maxBandwidth: sizeOf(spec.maxBandwidthBytes),
    onPoweroff: spec.onPoweroff,
    restart: spec.restart,
    shutdownGraceMs: spec.shutdownGraceMs,
  });
}

function specOf(file: VmFile): VmSpec {
  return {
    name: file.name,
    memoryMiB: file.memory / UNITS.M,
    cpus: file.cpus,
    machine: file.machine,
    cpuModel: file.cpuModel,
    accel: file.accel,
    disks: file.disks.map((each) => ({ sizeBytes: each.size, path: each.path, source: each.source })),
    nics: file.nics.map((each) => ({ mac: each.mac.toLowerCase(), bridge: each.bridge })),
    boot: file.boot === undefined ? { kind: 'disk' } : { kind: 'kernel', ...file.boot },
    extraArgs: file.extraArgs,
    hosts: file.hosts,
    launch: file.launch === 'external' && file.external !== undefined ? { kind: 'external', ...file.external } : { kind: 'managed' },
    method: file.method,
    checkpointDelayMs: file.checkpointDelayMs,
    compareTimeoutMs: file.compareTimeoutMs,
    expiredScanCycleMs: file.expiredScanCycleMs,
    maxBandwidthBytes: file.maxBandwidth,
    onPoweroff: file.onPoweroff,
    restart: file.restart,
    shutdownGraceMs: file.shutdownGraceMs,
  };
}

/** One message for a key that is missing and one for a key of the wrong type. */
function wants(what: string): (issue: { readonly input?: unknown }) => string {
  return (issue) => (issue.input === undefined || issue.input === null ? `required: ${what}` : `must be ${what}`);
}

function bytesOf(written: string): number {
  const unit = /[KMGT]/.exec(written)?.[0] as Unit;
  return Math.round(Number.parseFloat(written) * UNITS[unit]);
}

function sizeOf(bytes: number): string {
  for (const unit of ['T', 'G', 'M', 'K'] as const) {
    if (bytes >= UNITS[unit] && bytes % UNITS[unit] === 0) return `${bytes / UNITS[unit]}${unit}`;
  }
  return `${bytes / UNITS.K}K`;
}

function given<K extends string, V>(key: K, value: V | null): { readonly [each in K]?: V } {
  return value === null ? {} : ({ [key]: value } as { readonly [each in K]: V });
}
