// What one QEMU can and wants, from its own answers. Only two things cannot be asked and follow from the version: whether a
// secondary must have x-colo set (from 10.0) and whether x-colo requires return-path (from 11.0).

import { fail, ok, type Result } from '../../shared/core/result.js';
import { at } from './procedures/condition.js';
import type { Json, JsonObject, QemuVersion } from './procedures/port.js';

export interface QemuCapabilities {
  readonly version: QemuVersion;
  /** The secondary sets x-colo as well. */
  readonly coloOnSecondary: boolean;
  /** x-colo is accepted only together with return-path. */
  readonly returnPath: boolean;
  /** `pause-before-switchover` goes together with COLO (on 7.2 it turns COLO into an ordinary migration). */
  readonly pauseBeforeSwitchover: boolean;
}

/** Asked once per connection; the answers go to `capabilitiesFrom` in this order. */
export const CAPABILITY_QUERIES: readonly { readonly command: string; readonly args: JsonObject }[] = [
  { command: 'query-version', args: {} },
  { command: 'query-migrate-capabilities', args: {} },
  { command: 'qom-list-types', args: { abstract: false } },
];

const NEEDED_TYPES = ['colo-compare', 'filter-mirror', 'filter-redirector', 'filter-rewriter'];

/** Says what is missing when this QEMU was built without COLO. */
export function capabilitiesFrom(answers: readonly Json[]): Result<QemuCapabilities, string> {
  const [versionAnswer, migration, types] = answers;
  const version = versionFrom(versionAnswer ?? null);
  if (version === null) return fail('query-version gave no version');
  const known = (list: Json | undefined, key: string): ReadonlySet<Json | undefined> =>
    new Set(Array.isArray(list) ? list.map((item: Json) => at(item, [key])) : []);
  const migrationCapabilities = known(migration, 'capability');
  const typeNames = known(types, 'name');
  const missing = [
    ...['x-colo', 'events'].filter((name) => !migrationCapabilities.has(name)),
    ...NEEDED_TYPES.filter((name) => !typeNames.has(name)),
  ];
  if (missing.length > 0) return fail(`this QEMU lacks ${missing.join(', ')}: it was built without COLO`);
  return ok({
    version,
    coloOnSecondary: atLeast(version, 10, 0),
    returnPath: atLeast(version, 11, 0) && migrationCapabilities.has('return-path'),
    pauseBeforeSwitchover: atLeast(version, 10, 0) && migrationCapabilities.has('pause-before-switchover'),
  });
}

/** From query-version's answer or from the `QMP.version` of a greeting; both have the same shape. */
export function versionFrom(answer: Json): QemuVersion | null {
  const [major, minor, micro] = ['major', 'minor', 'micro'].map((key) => at(answer, ['qemu', key]));
  if (typeof major !== 'number' || typeof minor !== 'number' || typeof micro !== 'number') return null;
  return { major, minor, micro };
}

/** From the first line of `qemu-system-x86_64 --version`, for the command line, which must be built before there is a monitor. */
export function versionFromText(text: string): QemuVersion | null {
  const found = /version (\d+)\.(\d+)\.(\d+)/.exec(text);
  if (found === null) return null;
  return { major: Number(found[1]), minor: Number(found[2]), micro: Number(found[3]) };
}

export function atLeast(version: QemuVersion, major: number, minor: number): boolean {
  return version.major > major || (version.major === major && version.minor >= minor);
}
