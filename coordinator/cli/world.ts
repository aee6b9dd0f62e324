// What coloctl needs from the world around it, so that a test can run any command line without a terminal or a network.

import type { Line } from '../../shared/io/rpc/client.js';
import type { RefusalCode } from '../../shared/io/rpc/errors.js';
import type { Security } from '../../shared/io/rpc/security.js';
import type { TlsFiles } from '../../shared/io/tls/material.js';
import type { Result } from '../../shared/core/result.js';
import type { Clock } from '../../shared/ports.js';
import type { HostFacts } from './doctor/checks.js';
import type { DoctorFiles } from './doctor/look.js';
import type { ExitCode } from './exit-codes.js';

export interface CliWorld {
  readonly clock: Clock;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Standard output is a terminal. */
  readonly isTerminal: boolean;
  readonly colour: boolean;
  readonly version: string;
  out(text: string): void;
  err(text: string): void;
  /** The text of a file, `-` = standard input; throws as node:fs does. */
  readFile(path: string): string;
  /** Reads a certificate and its key. */
  secure(files: TlsFiles): Result<Security, string>;
  /** A line to one coordinator. Opens nothing before the first call. */
  dial(address: string, security: Security): Line;
  /** What this machine has for colo-ha, as the doctor wants to know it. */
  lookAtHost(files: DoctorFiles): Promise<HostFacts>;
  /** A fresh identifier of 32 hex digits. */
  id(): string;
}

/** Why a command could not do what was asked. */
export interface Failure {
  readonly exit: ExitCode;
  /** What is wrong, where, and what to do. */
  readonly message: string;
  /** The coordinator's own code, where one refused; null elsewhere. */
  readonly code: RefusalCode | null;
}

export function failure(exit: ExitCode, message: string, code: RefusalCode | null = null): Failure {
  return { exit, message, code };
}
