// The user that QEMU runs as: whom it is, and how it gets at what the agent makes for it. A guest that breaks out of QEMU then owns its own
// images, its own sockets and its own tap, and nothing else of the host.

import { chmod, chown, open, stat } from 'node:fs/promises';
import { fail, ok, type Result } from '../../shared/core/result.js';
import { makeFolder } from './files.js';
import { run } from './run.js';

export interface QemuUser {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

const LOOK_UP_MS = 5_000;

/** Null = the agent's own user: nothing is given away. */
export async function findQemuUser(name: string | null): Promise<Result<QemuUser, string>> {
  if (name === null) return ok({ name: 'root', uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 });
  const [uid, gid] = await Promise.all(['-u', '-g'].map((what) => run('id', [what, '--', name], LOOK_UP_MS)));
  if (uid?.ok !== true || gid?.ok !== true) return fail(`there is no user ${name} on this host (the package makes it: systemd-sysusers)`);
  return ok({ name, uid: Number(uid.value.trim()), gid: Number(gid.value.trim()) });
}

const isAgents = (user: QemuUser): boolean => user.uid === process.getuid?.();

/** A folder on the way to what is QEMU's: its user may go through it and not look around. */
export async function openWay(folder: string, user: QemuUser): Promise<void> {
  await makeFolder(folder, 0o700);
  if (isAgents(user)) return;
  await chown(folder, process.getuid?.() ?? 0, user.gid);
  await chmod(folder, 0o710);
}

/** A folder that only QEMU's user, and whoever may override that, can enter. */
export async function giveFolder(folder: string, user: QemuUser): Promise<void> {
  await makeFolder(folder, 0o700);
  // Mine first: the mode of a folder of somebody else is not mine to change. And `mkdir` leaves that of an existing one alone.
  await chown(folder, process.getuid?.() ?? 0, process.getgid?.() ?? 0);
  await chmod(folder, 0o700);
  await chown(folder, user.uid, user.gid);
}

/** A file that is there already, or an empty one. What belongs to QEMU's user already is left as it is. */
export async function giveFile(path: string, user: QemuUser): Promise<void> {
  if (isAgents(user)) return;
  const file = await open(path, 'a', 0o600);
  await file.close();
  if ((await stat(path)).uid !== user.uid) await chown(path, user.uid, user.gid);
}
