// File systems that can be filled up or made to fail, one for the images of each host and one for its agent's folders of VMs, put where the
// agents look for them. Device-mapper is not in every kernel, so a disk that fails is a loop device that has been made smaller than the file system on it.

import { spawn, type ChildProcess } from 'node:child_process';
import { mkdirSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { run, tryRun } from '../../../deploy/lab/command.js';
import type { HostPlan, LabPlan } from '../../../deploy/lab/plan.js';
import { restartDaemon } from '../../../deploy/lab/processes.js';
import { waitFor } from '../../support/wait.js';

const MIB = 1024 * 1024;
const PAGE = 4096;
/** The raw image of 64 MiB, and little else. */
const IMAGES_MIB = 80;
/** Overlays of 64 MiB at most, and the agent's own small files. */
const FOLDERS_MIB = 140;
const BALLAST = 'ballast';

export const IMAGE = 'disk0.raw';

/** A path that is the same on all hosts, as a VM file wants it; in each agent's mount namespace it is that host's own file system. */
export const imagesFolder = (plan: LabPlan): string => join(plan.runFolder, 'images');

export class HostDisks {
  readonly #plan: LabPlan;
  readonly host: HostPlan;
  readonly #kind: 'full' | 'failing';
  #loop: string | null = null;
  #filler: ChildProcess | null = null;

  /** `full`: images on a tmpfs that can be filled. `failing`: images on a device that can be made to fail. */
  constructor(plan: LabPlan, host: HostPlan, kind: 'full' | 'failing') {
    this.#plan = plan;
    this.host = host;
    this.#kind = kind;
  }

  /** Where the host's images are, as this process sees them. */
  get images(): string {
    return join(this.host.dataFolder, 'images');
  }

  get image(): string {
    return join(this.images, IMAGE);
  }

  get #folders(): string {
    return join(this.host.agentStateDir, 'vms');
  }

  get #device(): string {
    return join(this.host.dataFolder, 'device');
  }

  /** Mounts all, and starts the agent anew, because a mount namespace has only what was mounted before it. */
  async raise(): Promise<void> {
    for (const folder of [this.images, this.#folders, imagesFolder(this.#plan)]) mkdirSync(folder, { recursive: true });
    await run('mount', ['-t', 'tmpfs', '-o', `size=${FOLDERS_MIB}m`, 'tmpfs', this.#folders]);
    if (this.#kind === 'failing') await this.#raiseLoop();
    else await run('mount', ['-t', 'tmpfs', '-o', `size=${IMAGES_MIB}m`, 'tmpfs', this.images]);
    const agent = await restartDaemon(this.#plan, this.host, 'agent');
    // Until then it is still `ip netns exec` in the machine's own mounts, where this one would stay for good.
    const inOwnMounts = (): boolean => readlinkSync(`/proc/${agent.pid}/ns/mnt`) !== readlinkSync('/proc/self/ns/mnt');
    await waitFor(inOwnMounts, { what: `mounts of the agent of ${this.host.name}`, boundMs: 10_000 });
    await run('nsenter', ['-t', String(agent.pid), '-m', 'mount', '--bind', this.images, imagesFolder(this.#plan)]);
  }

  async #raiseLoop(): Promise<void> {
    await run('truncate', ['-s', `${2 * IMAGES_MIB}m`, this.#device]);
    const loop = (await run('losetup', ['--find', '--show', this.#device])).trim();
    this.#loop = loop;
    await run('mkfs.ext4', ['-q', '-m', '0', '-E', 'lazy_itable_init=0,lazy_journal_init=0', loop]);
    await run('mount', [loop, this.images]);
  }

  /**
   * Nothing more can be allocated beside the overlays of a secondary. They are emptied at every checkpoint, so what they give back is taken
   * at once, until `freeFolders`.
   */
  async fillFolders(): Promise<void> {
    await fill(this.#folders);
    const again = `while :; do dd if=/dev/zero of=${join(this.#folders, BALLAST)} bs=4k oflag=append conv=notrunc; sleep 0.02; done`;
    this.#filler = spawn('sh', ['-c', again], { stdio: 'ignore', detached: true });
  }

  freeFolders(): void {
    // The whole group, so that no dd is left to write once more.
    if (this.#filler?.pid !== undefined) process.kill(-this.#filler.pid, 'SIGKILL');
    this.#filler = null;
    rmSync(join(this.#folders, BALLAST), { force: true });
  }

  /** The image loses the space from `fromByte` on, as if it had never been reserved, and there is no other. */
  async fillImages(fromByte: number): Promise<void> {
    const from = Math.ceil(fromByte / PAGE) * PAGE;
    await run('fallocate', ['--punch-hole', '--offset', String(from), '--length', String(64 * MIB - from), this.image]);
    await fill(this.images);
  }

  freeImages(): void {
    rmSync(join(this.images, BALLAST), { force: true });
  }

  /** From now on the device answers with I/O errors. */
  async failDevice(): Promise<void> {
    if (this.#loop === null) throw new Error(`the disk of ${this.host.name} is not one that can fail`);
    await run('truncate', ['-s', '1m', this.#device]);
    await run('losetup', ['--set-capacity', this.#loop]);
  }

  /** Whoever still uses them keeps them in a mount namespace of his own. */
  async strike(): Promise<void> {
    this.freeFolders();
    for (const folder of [this.images, this.#folders]) await tryRun('umount', ['--lazy', folder]);
    if (this.#loop !== null) await tryRun('losetup', ['--detach', this.#loop]);
  }
}

/** Ends with the file system full, by dd's own error. */
async function fill(folder: string): Promise<void> {
  writeFileSync(join(folder, BALLAST), '');
  const ran = await tryRun('dd', ['if=/dev/zero', `of=${join(folder, BALLAST)}`, 'bs=64k'], { deadlineMs: 60_000 });
  // The last bytes, which dd's blocks are too big for.
  await tryRun('dd', ['if=/dev/zero', `of=${join(folder, BALLAST)}`, 'bs=4k', 'oflag=append', 'conv=notrunc']);
  if (!/No space left/.test(ran.stderr)) throw new Error(`${folder} is not full: ${ran.stderr}`);
}
