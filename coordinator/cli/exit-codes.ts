// What coloctl's exit codes mean. They are stable: scripts and monitoring rely on them.

import type { Status, VmStatus } from '../../shared/gen/colo/v1/coordinator.js';

export const EXIT = {
  /** All VMs that are wanted running are protected; or the command did what was asked. */
  ok: 0,
  /** The command failed, and the message says why. */
  error: 1,
  /** The command line is wrong. */
  usage: 2,
  /** A VM runs without protection, also because it is held, or is wanted running and does not run yet. */
  degraded: 3,
  /** A VM has failed, may run twice, or the store is behind its agents. */
  failed: 4,
  /** No coordinator answers, none leads, or etcd has no quorum: guests go on, decisions wait. */
  unreachable: 5,
  /** The coordinator does not permit this caller to do that. */
  forbidden: 6,
  /** Reserved: automatic decisions are paused. */
  paused: 7,
  /** A wait ended before the thing that it waited for. What was asked goes on. */
  timeout: 124,
} as const;
export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** One line a code, for `coloctl --help`. */
export const EXIT_CODES_HELP = `Exit codes:
  0    done; of status: every VM that is to run is protected
  1    error
  2    wrong usage
  3    degraded: a VM runs unprotected, for example held, or is to run and does not yet; or a certificate expires soon
  4    failed: a VM has failed, may run on two hosts, or etcd knows less than the hosts
  5    no coordinator answers, none leads, or etcd has no quorum
  6    not permitted
  7    paused
  124  a wait timed out; what was asked goes on`;

/** The worst that the status shows. A possible split comes first, then that the rest may be old, then single VMs. */
export function exitCodeOf(status: Status): ExitCode {
  if (status.vms.some((vm) => vm.splitSuspected)) return EXIT.failed;
  if (status.problemKind === 'store' || status.problemKind === 'leader') return EXIT.unreachable;
  if (status.problemKind === 'data' || status.vms.some(hasFailed)) return EXIT.failed;
  // Without certificates that are valid the cluster cannot decide: worth somebody's time while there is some.
  return status.problemKind === 'certificate' || status.vms.some(isDegraded) ? EXIT.degraded : EXIT.ok;
}

export function hasFailed(vm: VmStatus): boolean {
  return vm.phase === 'failed' || vm.splitSuspected || vm.storeBehind;
}

/** Also when protection is not wanted: a guest that one death can end is worth knowing of. */
export function isDegraded(vm: VmStatus): boolean {
  if (vm.wanted !== 'running') return vm.phase !== 'stopped';
  return vm.phase !== 'protected' || vm.onHold;
}
