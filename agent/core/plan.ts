// Which action follows from a goal and what is there. A table with a cell for every goal in every situation: what a coordinator may
// order has an answer everywhere, be it a refusal. The table is data; the loop carries out what it names, one action after another.

import type { GoalKind } from '../../shared/core/model.js';

/** What this host has of the VM. Read from QEMU and the kernel, never remembered. */
export const SITUATIONS = [
  /** No QEMU of the birth that the order means. */
  'absent',
  /** It ended; its exit is proven. */
  'dead',
  /** Its process is there and its monitor has not answered yet. */
  'unseen',
  /** Its process is there and does not answer any more. */
  'hung',
  /** A cold-start primary that waits for `migrate`. */
  'prelaunch',
  /** A secondary that waits for its migration stream. */
  'incoming',
  /** Runs the guest, or holds it paused, without any part of a pair. */
  'alone',
  /** Has parts of a protection attempt and never reached COLO. */
  'attempt',
  /** Primary of a pair that reached COLO, whole or broken. */
  'primary',
  /** Secondary of a pair that reached COLO, whole or broken. */
  'secondary',
  /** The guest powered off; QEMU is still there. */
  'shutdown',
] as const;
export type Situation = (typeof SITUATIONS)[number];

export const ACTIONS = [
  'launch-alone',
  'launch-cold-primary',
  'launch-secondary',
  'prepare-secondary',
  'await-pair',
  'go-alone',
  'protect',
  'start-pair',
  'prove',
  'rollback',
  'primary-failover',
  'secondary-failover',
  'tap-down',
  'force-checkpoint',
  'shut-down',
  'quit',
  'kill',
  'clean-up',
] as const;
export type Action = (typeof ACTIONS)[number];

export type Plan =
  | { readonly kind: 'do'; readonly action: Action }
  /** The goal is reached. */
  | { readonly kind: 'done' }
  /** Look again when the situation has changed. */
  | { readonly kind: 'wait' }
  | { readonly kind: 'fail'; readonly why: string };

const run = (action: Action): Plan => ({ kind: 'do', action });
const done: Plan = { kind: 'done' };
const wait: Plan = { kind: 'wait' };
const no = (why: string): Plan => ({ kind: 'fail', why });

const died = no('this QEMU has died');
const none = no('there is no such QEMU on this host');
const off = no('the guest has powered off');
const isPair = no('this QEMU is half of a pair');
const isSecondary = no('this QEMU is a secondary');
const notSecondary = no('this QEMU is no secondary');
const neverColo = no('this secondary never reached COLO: it is torn and must not run the guest');

export const PLANS: Readonly<Record<GoalKind, Readonly<Record<Situation, Plan>>>> = {
  'start-alone': {
    absent: run('launch-alone'),
    dead: died,
    unseen: wait,
    hung: wait,
    prelaunch: isPair,
    incoming: isSecondary,
    alone: run('go-alone'),
    attempt: done,
    primary: done,
    secondary: isSecondary,
    shutdown: off,
  },
  'start-cold-primary': {
    absent: run('launch-cold-primary'),
    dead: died,
    unseen: wait,
    hung: wait,
    prelaunch: run('await-pair'),
    incoming: isSecondary,
    alone: done,
    attempt: done,
    primary: done,
    secondary: isSecondary,
    shutdown: off,
  },
  'start-secondary': {
    absent: run('launch-secondary'),
    dead: died,
    unseen: wait,
    hung: wait,
    prelaunch: notSecondary,
    incoming: run('prepare-secondary'),
    alone: notSecondary,
    attempt: notSecondary,
    primary: notSecondary,
    secondary: done,
    shutdown: off,
  },
  protect: {
    absent: none,
    dead: died,
    unseen: wait,
    hung: wait,
    prelaunch: run('start-pair'),
    incoming: isSecondary,
    alone: run('protect'),
    attempt: no('an earlier attempt has left its parts: it must be released first'),
    primary: run('prove'),
    secondary: isSecondary,
    shutdown: off,
  },
  'release-primary': {
    absent: none,
    dead: died,
    unseen: wait,
    // Whatever hangs is freed by the yank that comes first.
    hung: run('primary-failover'),
    prelaunch: run('rollback'),
    incoming: isSecondary,
    alone: run('go-alone'),
    attempt: run('rollback'),
    primary: run('primary-failover'),
    secondary: isSecondary,
    shutdown: off,
  },
  'release-secondary': {
    absent: none,
    dead: died,
    unseen: wait,
    hung: run('secondary-failover'),
    prelaunch: notSecondary,
    incoming: neverColo,
    alone: run('go-alone'),
    attempt: notSecondary,
    primary: notSecondary,
    secondary: run('secondary-failover'),
    shutdown: off,
  },
  hold: {
    absent: done,
    dead: done,
    unseen: run('tap-down'),
    hung: run('tap-down'),
    prelaunch: run('tap-down'),
    incoming: run('tap-down'),
    alone: run('tap-down'),
    attempt: run('tap-down'),
    primary: run('tap-down'),
    secondary: run('tap-down'),
    shutdown: run('tap-down'),
  },
  checkpoint: {
    absent: none,
    dead: died,
    unseen: wait,
    hung: no('this QEMU does not answer'),
    prelaunch: no('there is no pair yet'),
    incoming: no('there is no pair yet'),
    alone: no('there is no pair'),
    attempt: no('there is no pair yet'),
    primary: run('force-checkpoint'),
    // Only a primary takes checkpoints; for the secondary the primary's is seen as STOP and RESUME.
    secondary: done,
    shutdown: off,
  },
  stop: {
    absent: done,
    dead: done,
    unseen: wait,
    hung: run('quit'),
    prelaunch: run('quit'),
    incoming: run('quit'),
    alone: run('shut-down'),
    attempt: run('shut-down'),
    primary: run('shut-down'),
    secondary: run('quit'),
    shutdown: run('quit'),
  },
  destroy: {
    absent: done,
    dead: run('clean-up'),
    unseen: run('kill'),
    hung: run('kill'),
    prelaunch: run('kill'),
    incoming: run('kill'),
    alone: run('kill'),
    attempt: run('kill'),
    primary: run('kill'),
    secondary: run('kill'),
    shutdown: run('kill'),
  },
};

export function plan(goal: GoalKind, situation: Situation): Plan {
  return PLANS[goal][situation];
}

/**
 * Whether a running task gives way to a newer order at once. A release is left to end: it is short, bounded, and half of it is worse
 * than either end. Only what takes this QEMU out of the game does not wait for it.
 */
export function givesWay(running: GoalKind, newer: GoalKind): boolean {
  return releases(running) ? newer === 'hold' || newer === 'destroy' : true;
}

/** The hot path: a guest stands still until it is done. */
export function releases(goal: GoalKind): boolean {
  return goal === 'release-primary' || goal === 'release-secondary';
}
