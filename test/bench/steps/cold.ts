// The sixth procedure, Primary start: a VM whose two images are identical begins as a pair. It happens once in a VM's life, because an attempt that
// was cut off after its first change is made again by another procedure. So each such trap gets a VM of its own, which is defined, started, cut
// off there, and deleted when it is a pair all the same.

import { mkdirSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { coloctl } from '../../../deploy/lab/coloctl.js';
import { guestVmFile } from '../../../deploy/lab/guest-vm.js';
import { livingQemus } from '../../../deploy/lab/qemus.js';
import { guestImage, type QemuVersion } from '../../../deploy/lab/tree.js';
import type { Told } from '../told.js';
import { arm, armed, nameOf, sprung, type Trap } from '../traps/trap.js';
import { Keeper, PROTECT_MS, type Lane, type Listener } from './lane.js';

const DISK_BYTES = 64 * 1024 * 1024;
const CALL = { deadlineMs: 130_000 };

export interface ColdResult {
  readonly kills: number;
  /** Names of the places at which an agent was killed. */
  readonly met: readonly string[];
  readonly protectedMs: readonly number[];
  readonly problems: readonly string[];
}

export async function runColdStarts(
  lane: Lane,
  told: Told,
  qemu: QemuVersion,
  each: readonly (readonly Trap[])[],
  { report, signal }: Listener,
): Promise<ColdResult> {
  const problems: string[] = [];
  const protectedMs: number[] = [];
  let kills = 0;
  const met: string[] = [];
  for (const [index, traps] of each.entries()) {
    if (signal.aborted) break;
    const result = await coldStart(lane, told, qemu, `${lane.vm}${index}`, traps);
    kills += result.met.length;
    met.push(...result.met.map(nameOf));
    protectedMs.push(result.ms);
    problems.push(...result.problems);
    report(
      `${lane.vm} ${index + 1}/${each.length}: protected after ${Math.round(result.ms)} ms; ${result.met.map(nameOf).join(' + ')}; ${result.rows.join(', ')}${result.problems.length === 0 ? '' : `; WRONG: ${result.problems.join('; ')}`}`,
    );
  }
  return { kills, met, protectedMs, problems };
}

async function coldStart(lane: Lane, told: Told, qemu: QemuVersion, vm: string, traps: readonly Trap[]) {
  const { plan, trapFile, hosts } = lane;
  for (const host of hosts) {
    const folder = join(host.agentStateDir, 'vms', vm);
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, 'disk0.raw'), '');
    truncateSync(join(folder, 'disk0.raw'), DISK_BYTES);
  }
  const file = join(plan.runFolder, `${vm}.yaml`);
  const keys = { hosts: hosts.map((host) => host.name), method: 'identical-images' };
  writeFileSync(file, guestVmFile(plan, { name: vm, number: lane.number, image: await guestImage(), qemu, keys }));
  const already = sprung(trapFile).length;
  const keeper = new Keeper(lane);
  try {
    arm(trapFile, traps);
    const began = performance.now();
    await coloctl(plan, ['vm', 'define', '-f', file, '--start'], CALL);
    await told.untilVm(vm, 'protected', PROTECT_MS, (seen) => seen.phase === 'protected');
    const ms = performance.now() - began;
    const history = await told.history(vm, 0);
    const rows = history.map((entry) => entry.row);
    const met = sprung(trapFile)
      .slice(already)
      .map((each) => each.trap);
    const problems = [
      ...armed(trapFile).map((each) => `never met: ${nameOf(each)}`),
      ...(history.some((entry) => ['verdict', 'executed', 'stopped', 'failed'].includes(entry.to)) ? [`edges: ${rows.join(', ')}`] : []),
      ...(history.some((entry, index) => entry.epoch !== index + 1) ? [`epochs ${history.map((entry) => entry.epoch).join(', ')}`] : []),
      ...(livingQemus(plan).filter((each) => each.vm === vm).length === 2 ? [] : ['not two QEMUs']),
      ...keeper.problems,
    ].map((each) => `${vm}: ${each}`);
    return { ms, rows, met, problems };
  } finally {
    arm(trapFile, []);
    await keeper.stop();
    await coloctl(plan, ['vm', 'stop', vm, '--wait'], CALL);
    await coloctl(plan, ['vm', 'delete', vm, '--wait'], CALL);
  }
}
