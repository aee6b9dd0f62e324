// The agent's ports over a simulated host: journals that are on disk when they answer, processes, images and taps. An agent that dies while
// one of them works leaves it done or not done, as luck has it.

import type { Stamp } from '../../../agent/core/disk-rules.js';
import type { Disks, JournalStore, LaunchRequest, ProcessId, ProcessState, Qemus, Taps } from '../../../agent/ports.js';
import { fail, ok, type Result } from '../../../shared/core/result.js';
import { never, type Life } from '../world/life.js';
import { EMPTY } from './content.js';
import { SimMonitor } from './monitor.js';
import type { Machine, Qemu, QemuWorld, SimImage } from './shapes.js';
import { launchQemu } from './launch.js';

export interface HostPorts {
  readonly journal: JournalStore;
  readonly qemus: Qemus;
  readonly disks: Disks;
  readonly taps: Taps;
}

export interface HostEvents {
  /** A journal is on disk. */
  journalled(machine: Machine, vm: string, before: { term: number; epoch: number } | null): void;
  /** An image that carried the stamp of one VM carries that of another now. */
  restamped(machine: Machine, path: string, before: string, uid: string): void;
  /** The agent is about to end this QEMU. */
  killed(qemu: Qemu, by: 'kill' | 'quit'): void;
}

const FSYNC_MS = { typical: 1, most: 60 };
const COMMAND_MS = { typical: 3, most: 40 };

export function hostPorts(world: QemuWorld, machine: Machine, life: Life, events: HostEvents): HostPorts {
  const { kernel, rng } = world;

  /** Something on this host that takes a while: its effect comes at half of it. */
  function work<T>(call: string, ms: { readonly typical: number; readonly most: number }, effect: () => T): Promise<T> {
    return life.act(
      call,
      () =>
        new Promise<T>((resolve) => {
          const tookMs = rng.delay(ms.typical, ms.most);
          kernel.after(tookMs / 2, () => {
            if (!machine.up || (!life.alive && rng.chance(0.5))) return;
            const value = effect();
            world.touched();
            kernel.after(tookMs / 2, () => life.deliver(() => resolve(value)));
          });
        }),
      never(),
    );
  }

  const journal: JournalStore = {
    saveVm: (value) =>
      work(`journal ${value.vm} ${value.goal.kind}`, FSYNC_MS, () => {
        const before = machine.vmJournals.get(value.vm) ?? null;
        machine.vmJournals.set(value.vm, value);
        events.journalled(machine, value.vm, before?.uid === value.uid ? { term: before.term, epoch: before.epoch } : null);
        return ok(null);
      }),
    saveAgent: (value) =>
      work('journal host', FSYNC_MS, () => {
        machine.agentJournal = value;
        return ok(null);
      }),
  };

  const find = (process: ProcessId): Qemu | null => {
    const qemu = machine.processes.get(process.pid);
    return qemu !== undefined && process.bootId === String(machine.boots) ? qemu : null;
  };
  const idOf = (qemu: Qemu): ProcessId => ({ pid: qemu.pid, startTime: String(qemu.pid), bootId: String(machine.boots) });

  const qemus: Qemus = {
    launch: (request: LaunchRequest) =>
      work<Result<ProcessId, string>>(`launch ${request.born}`, { typical: 20, most: 300 }, () => {
        const qemu = launchQemu(world, machine, request);
        if (typeof qemu === 'string') return fail(qemu);
        machine.notes.set(request.vm, { born: request.born, pid: qemu.pid });
        return ok(idOf(qemu));
      }),
    processOf: (vm, born) => {
      const note = machine.notes.get(vm);
      if (note?.born !== born) return null;
      const qemu = machine.processes.get(note.pid);
      return qemu === undefined ? null : idOf(qemu);
    },
    inspect: (process): ProcessState => {
      const qemu = find(process);
      return qemu === null ? 'gone' : qemu.alive ? 'running' : 'exiting';
    },
    kill: (process) =>
      life.act(
        'kill',
        () => {
          const qemu = find(process);
          if (qemu === null || !qemu.alive) return;
          events.killed(qemu, 'kill');
          qemu.die('kill');
        },
        undefined,
      ),
    connect: (sockets, handlers, deadlineMs, signal) =>
      life.act(
        'connect monitor',
        () =>
          new Promise((resolve) => {
            kernel.after(rng.between(0.3, 3), () => {
              const qemu = machine.running().find((each) => each.line.sockets[0] === sockets[0]);
              const answer = (result: Awaited<ReturnType<Qemus['connect']>>): void => life.deliver(() => resolve(result));
              if (!life.alive) return;
              if (signal.aborted) return answer(fail({ kind: 'lost', cause: 'aborted', description: 'given up' }));
              if (qemu?.listening !== true) return answer(fail({ kind: 'refused', errorClass: 'Client', description: 'nobody listens' }));
              // Without its main loop it greets nobody.
              if (qemu.stopped || qemu.hang !== null) {
                life.clock.after(deadlineMs, () => answer(fail({ kind: 'lost', cause: 'deadline', description: 'no greeting' })));
                return;
              }
              answer(ok(new SimMonitor(qemu, life, handlers)));
            });
          }),
        never(),
      ),
    abandoned: (sockets) =>
      work('knock', COMMAND_MS, () => !machine.running().some((each) => each.line.sockets.some((own) => sockets.includes(own)))),
    readLog: (file, offset) => {
      const text = (machine.logs.get(file) ?? '').slice(offset);
      return { text, offset: offset + text.length };
    },
    forget: (vm, born) =>
      work('forget', COMMAND_MS, () => {
        if (machine.notes.get(vm)?.born === born) machine.notes.delete(vm);
      }),
    run: () => work('run', COMMAND_MS, () => ok(null)),
    makeRuntimeFolder: () => work('make-runtime-folder', COMMAND_MS, () => ok(null)),
  };

  return { journal, qemus, disks: disksOf(machine, work, events), taps: tapsOf(machine, work) };
}

type Work = <T>(call: string, ms: { readonly typical: number; readonly most: number }, effect: () => T) => Promise<T>;

export function rawImage(path: string, sizeBytes: number): SimImage {
  return { path, kind: 'raw', sizeBytes, content: EMPTY, chain: null, stamp: null, bad: false };
}

function disksOf(machine: Machine, work: Work, events: HostEvents): Disks {
  const done = (call: string, effect: () => void): Promise<Result<null, string>> =>
    work(call, COMMAND_MS, () => {
      effect();
      return ok(null);
    });
  return {
    look: (path) =>
      work('look at image', COMMAND_MS, () => {
        const image = machine.image(path);
        return ok(
          image === null ? { kind: 'missing' as const } : { kind: 'present' as const, sizeBytes: image.sizeBytes, stamp: image.stamp },
        );
      }),
    create: (path, sizeBytes) =>
      work<Result<null, string>>('create image', COMMAND_MS, () => {
        if (machine.isFull) return fail(`no space for ${path}`);
        if (machine.images.has(path)) return fail(`${path} exists already`);
        machine.images.set(path, rawImage(path, sizeBytes));
        return ok(null);
      }),
    recreate: (path, sizeBytes) =>
      done('recreate image', () => machine.images.set(path, { ...rawImage(path, sizeBytes), stamp: machine.image(path)?.stamp ?? null })),
    grow: (path, sizeBytes) =>
      done('grow image', () => {
        const image = machine.image(path);
        if (image !== null) image.sizeBytes = sizeBytes;
      }),
    reserve: () => work<Result<null, string>>('reserve space', COMMAND_MS, () => (machine.isFull ? fail('no space') : ok(null))),
    writeStamp: (path, stamp: Stamp) =>
      done('write stamp', () => {
        const image = machine.image(path);
        if (image === null) return;
        if (image.stamp !== null && image.stamp.uid !== stamp.uid) events.restamped(machine, path, image.stamp.uid, stamp.uid);
        image.stamp = stamp;
      }),
    makeOverlay: (path, sizeBytes) => done('make overlay', () => machine.images.set(path, { ...rawImage(path, sizeBytes), kind: 'qcow2' })),
    merged: (chain) =>
      work('look whether merged', COMMAND_MS, () => {
        const top = machine.image(chain[0] ?? '');
        const parent = machine.image(chain.at(-1) ?? '');
        // File times tell only when something was written since; if nothing was, merging again does no harm.
        return ok(top === null || top.chain === null || (top.chain.merged && parent?.content !== top.chain.view));
      }),
    flatten: (chain) => work('flatten', { typical: 30, most: 500 }, () => flatten(machine, chain)),
    remove: async (paths) => {
      await done('remove images', () => paths.forEach((path) => machine.images.delete(path)));
    },
    sweepOverlays: async (folder, keep) => {
      await done('sweep overlays', () => {
        for (const [path, image] of machine.images)
          if (image.kind === 'qcow2' && path.startsWith(`${folder}/`) && !keep.includes(path)) machine.images.delete(path);
      });
    },
    freeBytes: () => work('free space', COMMAND_MS, () => (machine.isFull ? 0 : 1e12)),
  };
}

/** The chain is whole as long as all its overlays are there; what was committed before a crash needs its overlay no more. */
function flatten(machine: Machine, chain: readonly string[]): Result<null, string> {
  const parent = machine.image(chain.at(-1) ?? '');
  if (parent === null) return fail('the parent is missing');
  const overlays = chain.slice(0, -1).map((path) => machine.image(path));
  const [top] = overlays;
  if (top !== undefined && top !== null && top.chain !== null) {
    const whole = top.chain.files.every((path) => machine.images.has(path));
    parent.content = whole ? top.chain.view : { last: top.chain.view.last, torn: 'an overlay of its chain was missing' };
  }
  for (const path of chain.slice(0, -1)) machine.images.delete(path);
  return ok(null);
}

function tapsOf(machine: Machine, work: Work): Taps {
  return {
    make: (name) =>
      work('make tap', COMMAND_MS, () => {
        machine.taps.set(name, { up: true });
        return ok(null);
      }),
    setUp: (name, up) =>
      work<Result<null, string>>(`tap ${up ? 'up' : 'down'}`, COMMAND_MS, () => {
        const tap = machine.taps.get(name);
        if (tap === undefined) return fail(`the tap ${name} does not exist`);
        tap.up = up;
        return ok(null);
      }),
    remove: (name) =>
      work('remove tap', COMMAND_MS, () => {
        machine.taps.delete(name);
        return ok(null);
      }),
  };
}
