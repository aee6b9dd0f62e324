// The life of a VM beside failovers: what the guest does to itself (reboot, power-off), what its operator does to it (stop, start, delete),
// and definitions that are refused.

import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { parse, stringify } from 'yaml';
import { run, tryRun } from '../../../deploy/lab/command.js';
import { missingCounters, readRecords } from '../../../deploy/lab/disk-records.js';
import { guestVmFile } from '../../../deploy/lab/guest-vm.js';
import { guestMac, members, type LabPlan } from '../../../deploy/lab/plan.js';
import { gapAround, summarise } from '../../../deploy/lab/probe-analysis.js';
import { pauseDaemon, resumeDaemon } from '../../../deploy/lab/processes.js';
import { startProber, type Prober } from '../../../deploy/lab/prober.js';
import { killSide, sideOf } from '../../../deploy/lab/sides.js';
import { guestImage, programs } from '../../../deploy/lab/tree.js';
import { waitFor } from '../../support/wait.js';
import {
  ANSWER_MS,
  BOOT_MS,
  coloctl,
  historyOf,
  hostNamed,
  order,
  pairOf,
  PROTECT_MS,
  qemusOf,
  statusOf,
  untilPhase,
  vmOf,
  type Outcome,
} from './cluster.js';
import { changeVm } from './calls.js';
import { ask, bootOf, tell } from './guest.js';
import { missing, QEMU, useCluster, VM } from './stage.js';
import { stopAll, troubles } from './traffic.js';

const CALM_ANSWERS = 40;
/** Default of a VM's definition. */
const COMPARE_TIMEOUT_MS = 300;
const WAIT = ['--wait', '--timeout', '180s'];
const WAIT_MS = 190_000;

const why = missing();
if (why !== null) console.warn(`skipped: ${why}`);

describe.skipIf(why !== null)('a VM', () => {
  const cluster = useCluster(import.meta.url);
  const probers: Prober[] = [];
  afterAll(() => stopAll(probers));

  const diskOf = (plan: LabPlan, host: string | null): string => join(hostNamed(plan, host).agentStateDir, 'vms', VM, 'disk0.raw');

  async function vmFile(name: string, number: number, keys: Readonly<Record<string, unknown>> = {}): Promise<string> {
    const plan = cluster();
    const file = join(plan.runFolder, `${name}.yaml`);
    writeFileSync(file, guestVmFile(plan, { name, number, image: await guestImage(), qemu: QEMU, keys }));
    return file;
  }

  it('whose guest reboots -> stays the same pair in the same epoch, and the guest comes back in it', async () => {
    const plan = cluster();
    await untilPhase(plan, VM, 'protected', PROTECT_MS);
    const before = await pairOf(plan, VM);
    const boot = await bootOf(plan, ANSWER_MS);
    await tell(plan, 'reboot');
    const again = await waitFor(
      async () => {
        const now = await bootOf(plan, BOOT_MS);
        return now === boot ? null : now;
      },
      { what: 'another boot of the guest', boundMs: BOOT_MS },
    );
    expect(again).not.toBe(boot);
    expect(await pairOf(plan, VM)).toEqual(before);
    expect(await historyOf(plan, VM, before.epoch)).toEqual([]);
  });

  it('whose guest has rebooted in lock-step -> is as good a pair as before: it answers as fast, and survives the death of its primary', async () => {
    const plan = cluster();
    const before = await untilPhase(plan, VM, 'protected', PROTECT_MS);
    const client = startProber(plan, { probe: 'closed-loop' });
    probers.push(client);
    await client.waitForMore(2 * CALM_ANSWERS, ANSWER_MS);
    const latency = summarise(client.lines()).latency;
    const blow = killSide(await sideOf(plan, VM, 'primary'));
    await client.waitForMore(CALM_ANSWERS, ANSWER_MS);
    await untilPhase(plan, VM, 'protected', PROTECT_MS, before.epoch);
    await client.waitForMore(CALM_ANSWERS, ANSWER_MS);
    const lines = await client.stop();
    console.log(
      `after the reboot: median ${Math.round(latency?.medianMs ?? NaN)} ms, gap ${Math.round(gapAround(lines, blow.monoMs, 30_000)?.ms ?? NaN)} ms`,
    );
    expect(troubles(lines, { counters: true })).toEqual([]);
    // Two guests that differ answer only when the compare gives up waiting.
    expect(latency?.medianMs ?? Infinity).toBeLessThan(COMPARE_TIMEOUT_MS);
  });

  it('that is stopped and started -> has every acknowledged record, and is protected again', async () => {
    const plan = cluster();
    const client = startProber(plan, { probe: 'closed-loop' });
    probers.push(client);
    await client.waitForMore(CALM_ANSWERS, ANSWER_MS);
    const seen = summarise(await client.stop());
    const { first, last } = seen.counters;
    const boot = seen.boots[0] ?? '';
    await order(plan, ['vm', 'stop', VM, ...WAIT], WAIT_MS);
    expect(qemusOf(plan, VM)).toEqual([]);
    const disk = (await vmOf(plan, VM))?.disk ?? null;
    expect(disk?.state).toBe('clean');
    expect(missingCounters(await readRecords(diskOf(plan, disk?.host ?? null)), boot, first ?? 1, last ?? 0)).toEqual([]);

    await order(plan, ['vm', 'start', VM, ...WAIT], WAIT_MS);
    expect((await pairOf(plan, VM)).primary).toBe(disk?.host);
    // The guest itself reads what its earlier life was told to keep.
    expect(await ask(plan, `read ${last ?? 0}`, BOOT_MS)).toContain(`N ${last ?? 0} ${boot} `);
    expect(await bootOf(plan, ANSWER_MS)).not.toBe(boot);
  });

  it('whose guest powers off -> ends as stopped, never as a failover', async () => {
    const plan = cluster();
    const before = await untilPhase(plan, VM, 'protected', PROTECT_MS);
    await bootOf(plan, BOOT_MS);
    await tell(plan, 'poweroff');
    const after = await untilPhase(plan, VM, 'stopped', ANSWER_MS, before.epoch);
    expect(after).toMatchObject({ wanted: 'stopped', primary: null, secondary: null });
    const history = await historyOf(plan, VM, before.epoch);
    expect(history.map((entry) => entry.row)).toEqual(['guest-poweroff', 'stopped']);
    expect(qemusOf(plan, VM)).toEqual([]);
    // Stopped is what is wanted now: nothing is degraded.
    expect((await statusOf(plan))?.exit).toBe(0);
  });

  it('that is to restart on power-off -> starts again by itself and is protected', async () => {
    const plan = cluster();
    const name = 'again';
    await order(plan, ['vm', 'define', '-f', await vmFile(name, 1, { onPoweroff: 'restart' }), '--start', ...WAIT], WAIT_MS);
    const before = await untilPhase(plan, name, 'protected', PROTECT_MS);
    const boot = await bootOf(plan, BOOT_MS, 1);
    await tell(plan, 'poweroff', 1);
    await untilPhase(plan, name, 'protected', PROTECT_MS, before.epoch);
    expect(await bootOf(plan, BOOT_MS, 1)).not.toBe(boot);
    const history = await historyOf(plan, name, before.epoch);
    expect(history.map((entry) => entry.row)).toEqual(
      expect.arrayContaining(['guest-poweroff', 'stopped', 'start-wanted', 'started', 'protect-wanted', 'protected']),
    );
    expect(history.filter((entry) => entry.to === 'verdict')).toEqual([]);
    await order(plan, ['vm', 'stop', name, ...WAIT], WAIT_MS);
    await order(plan, ['vm', 'delete', name, ...WAIT], WAIT_MS);
  });

  it('that is wanted to run and at once to be stopped again, before its host has heard of it -> is stopped, and starts the next time', async () => {
    const plan = cluster();
    const host = hostNamed(plan, (await vmOf(plan, VM))?.disk?.host ?? null);
    pauseDaemon(plan, host, 'agent');
    try {
      // Directly, because a program takes longer to start than the silence of an agent to be noticed.
      await changeVm(plan, 'startVm', VM);
      const begun = await waitFor(
        async () => {
          const seen = await vmOf(plan, VM);
          return seen !== null && (seen.phase === 'starting' || /not heard/.test(seen.reason)) ? seen : null;
        },
        { what: 'the start, or that its host is not heard', boundMs: ANSWER_MS },
      );
      if (begun.phase !== 'starting') console.log('this machine was too slow: the silence of the host was noticed before the start');
      await changeVm(plan, 'stopVm', VM);
    } finally {
      resumeDaemon(plan, host, 'agent');
    }
    await waitFor(
      async () => {
        const seen = await vmOf(plan, VM);
        return seen?.wanted === 'stopped' && seen.phase === 'stopped' && seen.sides.every((side) => side.qemu !== 'unheard') ? seen : null;
      },
      { what: 'the VM stopped again', boundMs: ANSWER_MS },
    );
    expect(qemusOf(plan, VM)).toEqual([]);
    await order(plan, ['vm', 'start', VM, ...WAIT], WAIT_MS);
  });

  describe('that is defined wrongly', () => {
    interface Wrong {
      readonly what: string;
      readonly name: string;
      readonly number: number;
      /** Makes the file wrong. */
      readonly keys: Readonly<Record<string, unknown>>;
      readonly key: string;
      /** The text of the line that is to be named; null = the file's first, because what is wrong is not there. */
      readonly line: RegExp | null;
      readonly says: RegExp;
    }
    const wrongs: readonly Wrong[] = [
      {
        what: 'with an unknown key',
        name: 'wrong',
        number: 2,
        keys: { memroy: '1G' },
        key: 'memroy',
        line: /^memroy:/,
        says: /unknown|unrecognized/i,
      },
      { what: 'without a disk', name: 'wrong', number: 2, keys: { disks: [] }, key: 'disks', line: /^disks:/, says: /at least one disk/ },
      { what: 'without the key disks', name: 'wrong', number: 2, keys: { disks: undefined }, key: 'disks', line: null, says: /required/ },
      {
        what: 'for a host that does not exist',
        name: 'wrong',
        number: 2,
        keys: { hosts: ['host1', 'host9'] },
        key: 'hosts',
        line: /host9/,
        says: /"host9" does not exist.*host1, host2, host3/,
      },
      { what: 'a second time', name: VM, number: 2, keys: {}, key: 'name', line: /^name:/, says: /VM "demo" exists/ },
      {
        what: "with another VM's MAC",
        name: 'wrong',
        number: 2,
        keys: { nics: [{ mac: guestMac(0).toUpperCase() }] },
        key: 'mac',
        line: /mac:/,
        says: /belongs to VM "demo"/,
      },
    ];

    for (const wrong of wrongs) {
      it(`${wrong.what} -> is refused with file, line and key, and nothing changes`, async () => {
        const plan = cluster();
        const whole = parse(readFileSync(await vmFile(`${wrong.name}-whole`, wrong.number), 'utf8')) as Record<string, unknown>;
        const file = join(plan.runFolder, 'wrong.yaml');
        const text = stringify({ ...whole, name: wrong.name, ...wrong.keys });
        writeFileSync(file, text);
        const before = await keysUnder(plan);
        const said = await coloctl(plan, ['vm', 'define', '-f', file]);
        expect(said.exit, said.err).toBe(1);
        expect(said.err).toMatch(wrong.says);
        const { line } = wrong;
        const number = line === null ? 1 : text.split('\n').findIndex((each) => line.test(each)) + 1;
        expect(said.err).toMatch(new RegExp(`^${file.replaceAll('.', '\\.')}:${number}\\b.*${wrong.key}`, 'm'));
        expect(said.err).toContain('Nothing was changed.');
        expect(await keysUnder(plan)).toEqual(before);
      });
    }
  });

  it('that runs and is to be deleted -> is refused, and goes on', async () => {
    const plan = cluster();
    const before = await pairOf(plan, VM);
    expect(before.phase).toBe('protected');
    const said: Outcome = await coloctl(plan, ['vm', 'delete', VM]);
    expect(said.exit).toBe(1);
    expect(said.err).toMatch(/stop it first/);
    expect(await pairOf(plan, VM)).toEqual(before);
  });

  it('that is stopped and deleted -> leaves neither processes, taps and sockets nor keys, and its disk to whoever defines the name again', async () => {
    const plan = cluster();
    const host = (await pairOf(plan, VM)).primary;
    await order(plan, ['vm', 'stop', VM, ...WAIT], WAIT_MS);
    await order(plan, ['vm', 'delete', VM, ...WAIT], WAIT_MS);
    expect(qemusOf(plan, VM)).toEqual([]);
    expect((await keysUnder(plan)).filter((line) => line.includes(`/vms/${VM}/`))).toEqual([]);
    for (const each of plan.hosts) {
      expect(readdirSync(each.agentRuntimeDir), `sockets on ${each.name}`).toEqual([]);
      const links = await run('ip', ['-netns', each.namespace, '-br', 'link', 'show', 'type', 'tun']);
      expect(links.trim(), `taps on ${each.name}`).toBe('');
      const folder = join(each.agentStateDir, 'vms', VM);
      const overlays = readdirSync(join(each.agentStateDir, 'vms'), { recursive: true }).filter((name) => String(name).endsWith('.qcow2'));
      expect(overlays, folder).toEqual([]);
    }
    const records = async (): Promise<number> => (await readRecords(diskOf(plan, host))).filter((each) => each !== null).length;
    const kept = await records();
    expect(kept).toBeGreaterThan(0);

    // Another VM of that name is not booted from the disk of the first one, and says what to do.
    await order(plan, [
      'vm',
      'define',
      '-f',
      await vmFile(VM, 0, { hosts: [host, ...plan.hosts.map((each) => each.name).filter((each) => each !== host)] }),
      '--start',
    ]);
    const refused = await waitFor(
      async () => {
        const seen = await vmOf(plan, VM);
        return seen?.lastError?.includes('belongs to another VM') === true ? seen : null;
      },
      { what: 'a refusal of the old disk', boundMs: ANSWER_MS },
    );
    expect(refused.lastError).toMatch(/disk0\.raw belongs to another VM .*move it away/);
    await order(plan, ['vm', 'stop', VM, ...WAIT], WAIT_MS);
    await order(plan, ['vm', 'delete', VM, ...WAIT], WAIT_MS);
    expect(await records()).toBe(kept);
  });

  /** Every key of VMs with its revision, so that also a write of the same value would be seen; records, which are the leader's, by name. */
  async function keysUnder(plan: LabPlan): Promise<readonly string[]> {
    const environment = {
      ETCDCTL_ENDPOINTS: members(plan)
        .map((each) => each.etcdClientUrl)
        .join(','),
    };
    const ran = await tryRun(programs.etcdctl, ['get', '--prefix', `/colo/${plan.name}/`, '-w', 'json'], { environment });
    const { kvs = [] } = JSON.parse(ran.stdout) as { readonly kvs?: readonly { readonly key: string; readonly mod_revision: number }[] };
    return kvs
      .map((kv) => ({ key: Buffer.from(kv.key, 'base64').toString(), revision: kv.mod_revision }))
      .map(({ key, revision }) => (key.endsWith('/record') ? key : `${key} ${revision}`))
      .filter((line) => /\/(vms|history|definitions)/.test(line));
  }
});
