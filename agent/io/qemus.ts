// The QEMU processes of this host: start, find again, look, kill, connect. What is known of a process is noted in
// `<stateDir>/vms/<vm>/qemu.json` for the next agent and for people: `{vm, born, pid, startTime, bootId, argv, sockets, logFile}`.

import { closeSync, fstatSync, openSync, readFileSync, readSync } from 'node:fs';
import { chmod, readdir, rm } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { dirname, join } from 'node:path';
import type { Folders } from '../core/paths.js';
import type { LaunchRequest, ProcessId, Qemus } from '../ports.js';
import { fail, ok, type Result } from '../../shared/core/result.js';
import type { Clock } from '../../shared/ports.js';
import { makeFolder, messageOf, writeDurably } from './files.js';
import type { StartProcess } from './launcher.js';
import { bootId, findByArgument, inspect, killExactly } from './processes.js';
import { connectMonitor } from './qemu-monitor.js';
import { giveFile, giveFolder, openWay, type QemuUser } from './qemu-user.js';
import { run } from './run.js';

const LOG_READ_BYTES = 64 * 1024;
const KNOCK_MS = 300;
const KEPT_LIVES = 8;

interface Note extends ProcessId {
  readonly vm: string;
  readonly born: number;
}

export function systemQemus(folders: Folders, clock: Clock, start: StartProcess, user: QemuUser): Qemus {
  const { stateDir, runtimeDir } = folders;
  const noteFile = (vm: string): string => join(stateDir, 'vms', vm, 'qemu.json');

  /** For a QEMU that somebody else starts, who may be anybody: the folder stays ours. */
  async function makeRuntimeFolder(folder: string): Promise<Result<null, string>> {
    try {
      await makeFolder(folder, 0o700);
      // `mkdir` does not touch the mode of a folder that is there already.
      await chmod(folder, 0o700);
      return ok(null);
    } catch (error) {
      return fail(messageOf(error));
    }
  }

  async function launch(request: LaunchRequest): Promise<Result<ProcessId, string>> {
    try {
      for (const folder of [runtimeDir, dirname(request.runtimeDir), stateDir, join(stateDir, 'vms'), dirname(request.logFile)]) {
        await openWay(folder, user);
      }
      await giveFolder(request.runtimeDir, user);
      for (const socket of request.sockets) await rm(socket, { force: true });
      for (const file of [request.serialFile, ...request.images]) await giveFile(file, user);
      const started = await start(request, user);
      if (!started.ok) return started;
      const { argv, sockets, logFile, vm, born } = request;
      await writeDurably(noteFile(vm), `${JSON.stringify({ vm, born, ...started.value, argv, sockets, logFile }, null, 2)}\n`);
      return started;
    } catch (error) {
      return fail(messageOf(error));
    }
  }

  return {
    launch,
    makeRuntimeFolder,
    processOf: (vm, born, socket) => {
      const note = readNote(noteFile(vm));
      if (note !== null && note.born === born && note.bootId === bootId) {
        return { pid: note.pid, startTime: note.startTime, bootId: note.bootId };
      }
      return findByArgument(socket);
    },
    inspect,
    kill: killExactly,
    connect: (sockets, handlers, deadlineMs, signal) => connectMonitor(sockets, handlers, { clock, deadlineMs, signal }),
    abandoned: async (sockets) => {
      const answers = await Promise.all(sockets.map(knock));
      return answers.every((answer) => answer === 'nobody');
    },
    readLog,
    forget: async (vm, born, runtimeDir) => {
      await rm(runtimeDir, { recursive: true, force: true });
      const note = readNote(noteFile(vm));
      if (note !== null && note.born === born) await rm(noteFile(vm), { force: true });
      await forgetOldLogs(dirname(noteFile(vm)));
      const siblings = await readdir(dirname(runtimeDir)).catch(() => ['?']);
      if (siblings.length === 0) await rm(dirname(runtimeDir), { recursive: true, force: true });
    },
    run: async (argv, deadlineMs, environment) => {
      const [program, ...args] = argv;
      if (program === undefined) return fail('an empty command');
      const done = await run(program, args, deadlineMs, environment);
      return done.ok ? ok(null) : done;
    },
  };
}

/** Logs are kept for people, those of the last few lives of a VM. */
async function forgetOldLogs(folder: string): Promise<void> {
  const names = await readdir(folder).catch((): string[] => []);
  const logs = names.flatMap((name) => {
    const born = /^(?:qemu|serial)-(\d+)\.log$/.exec(name)?.[1];
    return born === undefined ? [] : [{ name, born: Number(born) }];
  });
  const lives = [...new Set(logs.map((each) => each.born))].sort((one, other) => other - one);
  const oldest = lives[KEPT_LIVES - 1];
  if (oldest === undefined) return;
  for (const log of logs) if (log.born < oldest) await rm(join(folder, log.name), { force: true });
}

function readNote(path: string): Note | null {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as Note;
  } catch {
    return null;
  }
}

/** Whether somebody listens on a unix socket: the kernel refuses at once when its owner has ended. */
function knock(path: string): Promise<'nobody' | 'somebody'> {
  return new Promise((resolve) => {
    const socket = createConnection({ path });
    const timer = setTimeout(() => answer('somebody'), KNOCK_MS);
    function answer(who: 'nobody' | 'somebody'): void {
      clearTimeout(timer);
      socket.destroy();
      resolve(who);
    }
    socket.once('connect', () => answer('somebody'));
    socket.once('error', (error) => {
      const code = 'code' in error ? error.code : '';
      answer(code === 'ECONNREFUSED' || code === 'ENOENT' ? 'nobody' : 'somebody');
    });
  });
}

function readLog(path: string, offset: number): { readonly text: string; readonly offset: number } {
  let file: number;
  try {
    file = openSync(path, 'r');
  } catch {
    return { text: '', offset };
  }
  try {
    const size = fstatSync(file).size;
    const buffer = Buffer.alloc(Math.min(LOG_READ_BYTES, Math.max(0, size - offset)));
    const bytes = readSync(file, buffer, 0, buffer.length, offset);
    return { text: buffer.toString('utf8', 0, bytes), offset: offset + bytes };
  } finally {
    closeSync(file);
  }
}
