// The lab itself: two at once under two names keep out of each other's way, and what is taken down is gone.

import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { afterAll, describe, expect, it } from 'vitest';
import { run, tryRun, type Ran } from '../../../deploy/lab/command.js';
import { takeDown } from '../../../deploy/lab/lab.js';
import { existingNamespaces } from '../../../deploy/lab/network.js';
import { DATA_BASE, namespaces, RUN_BASE, type LabPlan } from '../../../deploy/lab/plan.js';
import { isAlive } from '../../../deploy/lab/process-identity.js';
import { planOf, readRecord, type LabRecord } from '../../../deploy/lab/record.js';
import { tree } from '../../../deploy/lab/tree.js';
import type { LabStatus } from '../../../deploy/lab/status.js';
import { missing } from './stage.js';
import { order, statusOf } from './cluster.js';

const UP_MS = 180_000;
const NAMES = [`twin-a-${process.pid}`, `twin-b-${process.pid}`] as const;

const why = missing();
if (why !== null) console.warn(`skipped: ${why}`);

function lab(...args: readonly string[]): Promise<Ran> {
  return tryRun(process.execPath, [`${tree}/dist/deploy/lab/main.js`, ...args], { deadlineMs: UP_MS });
}

function recordOf(name: string): LabRecord {
  const record = readRecord(name);
  if (record === null) throw new Error(`there is no lab ${name}`);
  return record;
}

/** Everything on this machine that bears the lab's name or lives in what is the lab's. */
async function tracesOf(plan: LabPlan): Promise<readonly string[]> {
  const present = await existingNamespaces();
  const links = await run('ip', ['-o', 'link', 'show']);
  const processes = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => ({ pid, command: commandOf(pid) }))
    .filter(
      ({ pid, command }) => Number(pid) !== process.pid && (command.includes(`/${plan.name}/`) || command.includes(`--name ${plan.name}`)),
    );
  return [
    ...namespaces(plan).filter((name) => present.has(name)),
    ...[`${RUN_BASE}/${plan.name}`, `${DATA_BASE}/${plan.name}`, `${RUN_BASE}/.numbers/${plan.index}`].filter((path) => existsSync(path)),
    ...(links.includes(`${plan.root.interface}@`) ? [plan.root.interface] : []),
    ...processes.map(({ pid, command }) => `process ${pid}: ${command}`),
  ];
}

function commandOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
  } catch {
    return '';
  }
}

describe.skipIf(why !== null)('labs', () => {
  afterAll(async () => {
    for (const name of NAMES) await takeDown(name);
  });

  it('two that are brought up at once under two names -> both stand, apart in every address, and each has a cluster of its own', async () => {
    const ups = await Promise.all(NAMES.map((name) => lab('up', '--name', name, '--no-vm')));
    for (const up of ups) expect(up.status, up.stderr).toBe(0);
    const plans = NAMES.map((name) => planOf(recordOf(name)));
    const [one, other] = plans;
    if (one === undefined || other === undefined) throw new Error('two labs are expected');
    expect(one.index).not.toBe(other.index);
    const addresses = (plan: LabPlan): readonly string[] => [
      ...Object.values(plan.subnets),
      ...namespaces(plan),
      plan.root.interface,
      ...plan.hosts.flatMap((host) => [host.agentAddress, host.coordinatorAddress, host.runFolder, host.dataFolder]),
    ];
    expect(addresses(one).filter((each) => addresses(other).includes(each))).toEqual([]);
    for (const plan of plans) {
      const seen = await statusOf(plan);
      expect(seen?.exit).toBe(0);
      expect(seen?.status.cluster).toBe(plan.name);
      const told = JSON.parse((await lab('status', '--name', plan.name, '-o', 'json')).stdout) as LabStatus;
      expect(told.hosts.map((host) => Object.values(host.pids).every((pid) => pid !== null))).toEqual([true, true, true]);
    }
  });

  it('one that is there already -> is not brought up a second time, and stays', async () => {
    const [name] = NAMES;
    const before = recordOf(name);
    const again = await lab('up', '--name', name, '--no-vm');
    expect(again.status).toBe(1);
    expect(again.stderr).toMatch(/is there already/);
    expect(recordOf(name)).toEqual(before);
    expect(before.processes.every(isAlive)).toBe(true);
  });

  it('one that is taken down -> leaves nothing, and the other one is well', async () => {
    const [gone, stays] = NAMES.map((name) => recordOf(name));
    if (gone === undefined || stays === undefined) throw new Error('two labs are expected');
    expect((await tracesOf(planOf(gone))).length).toBeGreaterThan(0);
    expect((await lab('down', '--name', gone.name)).status).toBe(0);
    expect(await tracesOf(planOf(gone))).toEqual([]);
    expect(gone.processes.filter(isAlive)).toEqual([]);
    await order(planOf(stays), ['status']);
    expect((await lab('down', '--name', stays.name)).status).toBe(0);
    expect(await tracesOf(planOf(stays))).toEqual([]);
  });

  it('one that is not there -> is taken down without complaint', async () => {
    const down = await lab('down', '--name', NAMES[0]);
    expect(down.status).toBe(0);
    expect(down.stderr).toMatch(/there is no lab/);
  });
});
