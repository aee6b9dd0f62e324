// `npm run demo -- --packaged`: the same promise on installed services. Three Debians boot a systemd each, the .deb is put onto them by apt,
// and one client keeps one TCP connection to a protected guest while the package is upgraded everywhere, the primary's QEMU is killed, and
// the power of the new primary's host is cut.

import { rehearsalEnd, type Rehearsal } from './rehearsal.js';
import { coloctl, waitForVm } from '../lab/coloctl.js';
import { LabError, waitFor } from '../lab/command.js';
import { gapAround, summarise } from '../lab/probe-analysis.js';
import { startProber } from '../lab/prober.js';
import { bringUpPackaged, waitForVersion, type PackagedCluster } from '../machines/cluster.js';
import { buildPackage, type Suite } from '../machines/machine.js';

const VM = 'demo';
const NEWER = '99.0.0';
const PROTECT_MS = 180_000;
const ANSWER_MS = 90_000;
const VERSION_MS = 60_000;
const CALM_ANSWERS = 60;
/** Before the upgrade: how long does the client wait for checkpoints alone? Under TCG up to 300 ms. */
const MEASURED_ANSWERS = 300;

export interface PackagedRehearsalOptions {
  readonly name: string;
  readonly suite: Suite;
  readonly say: (line: string) => void;
  readonly show: (title: string, text: string) => void;
  readonly signal: AbortSignal;
}

export async function rehearsePackaged(options: PackagedRehearsalOptions): Promise<Rehearsal> {
  const { say, signal } = options;
  say('building the package, and the same in a newer version');
  const deb = buildPackage();
  const newer = buildPackage(NEWER);
  const cluster = await bringUpPackaged({ name: options.name, suite: options.suite, deb, vm: VM, report: say, signal });
  try {
    return await strike(cluster, newer, options);
  } finally {
    say('taking the machines away');
    await cluster.takeDown();
  }
}

async function strike(cluster: PackagedCluster, newer: string, options: PackagedRehearsalOptions): Promise<Rehearsal> {
  const { say, show, signal } = options;
  const { plan } = cluster;
  const settled = () => waitForVm(plan, VM, 'protected', PROTECT_MS, { signal });
  const look = async (host: string, command: string): Promise<void> =>
    show(`[${host}] ${command}`, (await cluster.machine(host).shell(command)).out);
  const before = await settled();
  say(`protected: primary on ${before.primary ?? '?'}, secondary on ${before.secondary ?? '?'}`);
  await look(before.primary ?? 'host1', "systemctl --no-pager --plain list-units 'colo-*' etcd.service");

  const client = startProber(plan, { probe: 'closed-loop' });
  await client.waitForMore(CALM_ANSWERS, ANSWER_MS, signal);
  say(`ONE TCP connection to the guest at ${plan.guest.address}:${plan.guest.port}, a request every 30 ms`);

  await client.waitForMore(MEASURED_ANSWERS, ANSWER_MS, signal);
  const calmGap = summarise(client.lines()).maxGap?.ms ?? 0;
  say(`the client's longest gap while nothing is done: ${Math.round(calmGap)} ms`);

  const upgradeFrom = monoMs();
  for (const host of plan.hosts) {
    const upgraded = await cluster.machine(host.name).install(newer);
    if (upgraded.code !== 0) throw new LabError(`the upgrade of ${host.name} failed: ${upgraded.out}${upgraded.err}`);
    say(`upgraded ${host.name}`);
    await client.waitForMore(CALM_ANSWERS, ANSWER_MS, signal);
  }
  await waitForVersion(plan, NEWER, VERSION_MS);
  const upgradeMs = monoMs() - upgradeFrom;
  const after = await settled();
  const same = after.epoch === before.epoch && after.primary === before.primary && after.secondary === before.secondary;
  const upgradeGap = gapAround(client.lines(), upgradeFrom, upgradeMs)?.ms ?? Number.NaN;
  say(
    `all hosts have version ${NEWER}; ${same ? 'the same pair in the same roles' : 'THE ROLES CHANGED'}; longest gap ${Math.round(upgradeGap)} ms`,
  );

  const killed = await blow(`SIGKILL to the primary's QEMU on ${after.primary ?? '?'}`, async () => {
    await cluster.machine(after.primary ?? '').must(`systemctl kill --signal=KILL 'colo-vm-${VM}-*'`);
  });
  const second = await settled();
  const cut = await blow(`the power of the primary's host ${second.primary ?? '?'} is cut`, () =>
    cluster.machine(second.primary ?? '').destroy(),
  );
  const last = await settled();
  show('coloctl history', await coloctl(plan, ['history', VM], { signal }));
  const seen = summarise(await client.stop());
  say(`protected again: primary on ${last.primary ?? '?'}, secondary on ${last.secondary ?? '?'}`);
  return rehearsalEnd(seen, same, [
    [
      'package upgraded on 3 hosts:',
      `${same ? 'same pair, same roles' : 'ROLES CHANGED'}, client waited ${Math.round(upgradeGap)} ms at most, ${Math.round(calmGap)} ms before`,
    ],
    ["primary's QEMU killed:", `client waited ${killed} ms`],
    ["primary's host powered off:", `client waited ${cut} ms`],
  ]);

  async function blow(what: string, strikeNow: () => Promise<void>): Promise<number> {
    const old = await settled();
    say(what);
    const at = monoMs();
    await strikeNow();
    await client.waitForMore(CALM_ANSWERS, ANSWER_MS, signal);
    await waitFor({ what: 'new epoch', boundMs: PROTECT_MS, everyMs: 100, signal }, async () =>
      (await settled()).epoch > old.epoch ? true : null,
    );
    const ms = Math.round(gapAround(client.lines(), at, ANSWER_MS)?.ms ?? Number.NaN);
    say(`the client waited ${ms} ms on the same connection; protected again after ${((monoMs() - at) / 1000).toFixed(1)} s`);
    return ms;
  }
}

const monoMs = (): number => Number(process.hrtime.bigint()) / 1e6;
