// What the watch over pairs asks of a VM: which side of a pair its QEMU is, where the other side is, and what QEMU has shown.

import { COMMAND_MS } from '../core/bounds.js';
import { bornOf } from '../core/journal.js';
import { contactProvenAt } from '../core/seen.js';
import type { PairFacts, PairSource } from '../peer-ports.js';
import type { Vm } from './vm.js';

export function pairSource(vm: Vm): PairSource {
  return {
    facts: () => pairFacts(vm),
    changed: () => vm.changed(),
    forceCheckpoint: () => {
      const { link } = vm;
      // A task sends what it needs itself, and nothing may come between the steps of a release.
      if (link === null || vm.task !== null) return;
      const args = { 'x-checkpoint-delay': vm.spec.checkpointDelayMs };
      void link.monitor.execute('migrate-set-parameters', args, { deadlineMs: COMMAND_MS, oob: false });
    },
  };
}

function pairFacts(vm: Vm): PairFacts | null {
  const { journal, qemu, seen, facts } = vm;
  if (journal === null || qemu === null || qemu.death !== null) return null;
  const situation = vm.situation();
  const attempt = situation === 'alone' || situation === 'shutdown' ? null : qemu.attempt;
  const { goal } = journal;
  const role = roleOf(vm);
  const releases = goal.kind === 'release-primary' || goal.kind === 'release-secondary';
  return {
    uid: journal.uid,
    role,
    isKnown: situation !== 'unseen' && (situation !== 'hung' || facts !== null),
    born: qemu.born,
    peerAddress: attempt?.peer?.address ?? null,
    ports: attempt?.ports ?? null,
    pid: vm.process?.pid ?? null,
    taps: qemu.taps,
    released: releases && bornOf(goal) === qemu.born,
    breaks: seen?.breaks ?? [],
    replicationError: facts?.replication === 'error',
    hungSince: vm.hungSince,
    mainLoopSilentSince: vm.mainLoopSilentSince,
    checkpointDelayMs: journal.spec.checkpointDelayMs,
    coloSince: seen?.coloSince ?? null,
    connectedAt: seen?.connectedAt ?? vm.ports.clock.now(),
    checkpoints: seen?.checkpoints ?? 0,
    lastStopAt: seen?.lastStopAt ?? null,
    lastResumeAt: seen?.lastResumeAt ?? null,
    provenAt: seen === null ? null : contactProvenAt(seen, role),
  };
}

/** A QEMU that hangs is still the side that it was. */
function roleOf(vm: Vm): PairFacts['role'] {
  const situation = vm.situation();
  if (situation === 'primary' || situation === 'secondary') return situation;
  if (situation !== 'hung' || vm.seen === null || (vm.seen.coloSince === null && vm.seen.coloExit === null)) return 'none';
  return vm.facts?.role === 'primary' || vm.facts?.role === 'secondary' ? vm.facts.role : 'none';
}
