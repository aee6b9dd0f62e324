// Where coordinators are and with which certificate they are called: from the command line, else the environment, else a file of the person
// or of the machine. Without a certificate nothing is called, unless somebody says that this is a lab.

import { dirname, isAbsolute, join } from 'node:path';
import { z } from 'zod';
import { fail, ok, type Result } from '../../shared/core/result.js';
import { describeProblems, parseYaml } from '../../shared/io/config.js';
import type { TlsFiles } from '../../shared/io/tls/material.js';
import { DEFAULT_ENDPOINTS, parseEndpoints } from './session.js';
import type { CliWorld } from './world.js';

export interface AccessFlags {
  readonly config?: string;
  readonly endpoints?: string;
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
  readonly insecureLab?: boolean;
}

export interface Access {
  readonly endpoints: readonly string[];
  /** Null = a lab without certificates. */
  readonly tls: TlsFiles | null;
}

const MACHINE_FILE = '/etc/colo-ha/coloctl.yaml';

/** Paths are relative to the file, so that its folder can be put anywhere. */
const schema = z.strictObject({
  /** `ADDRESS:PORT` of each coordinator. */
  endpoints: z.array(z.string()).min(1).optional(),
  tls: z.strictObject({ ca: z.string().min(1), certificate: z.string().min(1), key: z.string().min(1) }).optional(),
  insecureLab: z.boolean().default(false),
});

export function resolveAccess(world: CliWorld, flags: AccessFlags): Result<Access, string> {
  const { environment } = world;
  const given = (flag: string | undefined, variable: string): string | undefined => flag ?? orAbsent(environment[variable]);
  const file = readConfig(world, given(flags.config, 'COLO_CONFIG') ?? null);
  if (!file.ok) return file;
  const listed = given(flags.endpoints, 'COLO_ENDPOINTS') ?? file.value.endpoints?.join(',') ?? DEFAULT_ENDPOINTS;
  const endpoints = parseEndpoints(listed);
  if (!endpoints.ok) return endpoints;
  const ca = given(flags.ca, 'COLO_CA') ?? file.value.tls?.ca;
  const certificate = given(flags.cert, 'COLO_CERT') ?? file.value.tls?.certificate;
  const key = given(flags.key, 'COLO_KEY') ?? file.value.tls?.key;
  const isLab = flags.insecureLab === true || environment['COLO_INSECURE_LAB'] === '1' || file.value.insecureLab;
  if (isLab) {
    if (ca === undefined && certificate === undefined && key === undefined) return ok({ endpoints: endpoints.value, tls: null });
    return fail('--insecure-lab contradicts a certificate: there are certificates, or there is no protection');
  }
  const missing = [
    ...(ca === undefined ? ['the authority (--ca, COLO_CA)'] : []),
    ...(certificate === undefined ? ['your certificate (--cert, COLO_CERT)'] : []),
    ...(key === undefined ? ['its key (--key, COLO_KEY)'] : []),
  ];
  if (ca === undefined || certificate === undefined || key === undefined)
    return fail(
      `not given: ${missing.join(', ')}. Put them into ${personFile(world) ?? MACHINE_FILE} (coloctl cluster init makes one), ` +
        'or say --insecure-lab where coordinators run without certificates',
    );
  return ok({ endpoints: endpoints.value, tls: { ca, certificate, key } });
}

type FileConfig = z.infer<typeof schema>;

function readConfig(world: CliWorld, named: string | null): Result<FileConfig, string> {
  const person = personFile(world);
  const candidates = named === null ? [...(person === null ? [] : [person]), MACHINE_FILE] : [named];
  for (const path of candidates) {
    let text: string;
    try {
      text = world.readFile(path);
    } catch (error) {
      // A default that is not there is no error; one that may not be read is.
      if (named === null && error instanceof Error && 'code' in error && error.code === 'ENOENT') continue;
      return fail(`cannot read ${path}: ${error instanceof Error ? error.message : String(error)}`);
    }
    const parsed = parseYaml(path, text, schema);
    if (!parsed.ok) return fail(describeProblems(parsed.error));
    const beside = (name: string): string => (isAbsolute(name) ? name : join(dirname(path), name));
    const { tls, ...rest } = parsed.value;
    if (tls === undefined) return ok(rest);
    return ok({ ...rest, tls: { ca: beside(tls.ca), certificate: beside(tls.certificate), key: beside(tls.key) } });
  }
  return ok({ insecureLab: false });
}

function personFile(world: CliWorld): string | null {
  const { XDG_CONFIG_HOME: folder, HOME: home } = world.environment;
  if (folder !== undefined && folder !== '') return join(folder, 'colo/coloctl.yaml');
  return home === undefined || home === '' ? null : join(home, '.config/colo/coloctl.yaml');
}

function orAbsent(value: string | undefined): string | undefined {
  return value === '' ? undefined : value;
}
