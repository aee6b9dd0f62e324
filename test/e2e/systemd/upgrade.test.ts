// Three machines with a systemd each, the package installed, one protected VM and a client on one TCP connection: while services are
// restarted and the package is upgraded everywhere, the same two QEMUs go on in the same roles, and the client notices no failover.

import { availableParallelism } from 'node:os';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { buildPackage, whyNoMachine } from '../../../deploy/machines/machine.js';
import { bringUpPackaged, waitForVersion, type PackagedCluster } from '../../../deploy/machines/cluster.js';
import { clusterStatus, waitForVm } from '../../../deploy/lab/coloctl.js';
import { summarise } from '../../../deploy/lab/probe-analysis.js';
import { startProber } from '../../../deploy/lab/prober.js';

/** Three hosts with two QEMUs under TCG take all of two processors; what else runs there is then what is measured. */
const asked = process.env['COLO_UPGRADE_TEST'] === '1';
const why =
  whyNoMachine() ?? (asked || availableParallelism() >= 4 ? null : 'it wants four processors, or COLO_UPGRADE_TEST=1 and a quiet machine');
if (why !== null) console.warn(`skipped: an upgrade under a protected VM: ${why}`);

const VM = 'demo';
const NEWER = '99.0.0';
const READY_MS = 60_000;
const ANSWER_MS = 60_000;
/**
 * What proves that there was no failover is the same epoch and the same processes. The pause is meant to stay below 250 ms and is told; with
 * three hosts, no KVM and every start of Node.js on two processors it is the machine's more than ours, so only a long one is red.
 */
const MOST_GAP_MS = 3_000;

describe.skipIf(why !== null)('a protected VM on three machines with the package', { timeout: 300_000 }, () => {
  let cluster: PackagedCluster;
  let newer: string;

  beforeAll(async () => {
    const deb = buildPackage();
    newer = buildPackage(NEWER);
    cluster = await bringUpPackaged({ name: `pkg-${process.pid}`, suite: 'trixie', deb, vm: VM, report: (line) => console.log(line) });
  }, 900_000);

  afterAll(async () => {
    await cluster?.takeDown();
  });

  const state = async () => {
    const seen = await waitForVm(cluster.plan, VM, 'protected', READY_MS);
    return { epoch: seen.epoch, primary: seen.primary, secondary: seen.secondary };
  };
  const qemus = async (): Promise<readonly string[]> =>
    Promise.all(
      cluster.plan.hosts.map((host) =>
        cluster
          .machine(host.name)
          .must(
            `systemctl list-units --plain --no-legend 'colo-vm-*' | cut -d' ' -f1 | xargs -r systemctl show -p Id -p MainPID -p SubState`,
          ),
      ),
    );

  it.each([
    ['whose agents and coordinators are all restarted', 'systemctl restart colo-coordinator colo-agent'],
    ['whose package is upgraded on every host, one after the other', `dpkg -i /root/newer.deb`],
  ])('%s -> is the same pair, and its client never waits for long', async (_, command) => {
    const before = { state: await state(), qemus: await qemus() };
    for (const host of cluster.plan.hosts) cluster.machine(host.name).copyIn(newer, 'root/newer.deb');
    const client = startProber(cluster.plan, { probe: 'closed-loop' });
    await client.waitForMore(30, ANSWER_MS);
    for (const host of cluster.plan.hosts) {
      await cluster.machine(host.name).must(command);
      await client.waitForMore(30, ANSWER_MS);
    }
    await client.waitForMore(60, ANSWER_MS);
    const seen = summarise(await client.stop());
    console.log(`longest gap ${Math.round(seen.maxGap?.ms ?? -1)} ms in ${seen.answers} answers: ${command}`);
    expect(seen).toMatchObject({ connections: 1, broken: [], wrong: [], counters: { missing: 0, backward: 0 } });
    expect({ state: await state(), qemus: await qemus() }).toEqual(before);
    expect(seen.maxGap?.ms).toBeLessThan(MOST_GAP_MS);
  });

  it('-> every host says the new version, and no verdict was ever needed', async () => {
    await waitForVersion(cluster.plan, NEWER, READY_MS);
    expect((await clusterStatus(cluster.plan))?.vms[0]?.phase).toBe('protected');
  });

  it("-> QEMU's own streams are on the replication address only, and its monitors are files", async () => {
    for (const host of cluster.plan.hosts) {
      const listening = await cluster.machine(host.name).must(`ss -Htlnp | grep qemu-system | tr -s ' ' | cut -d' ' -f4 || true`);
      const places = listening.split('\n').filter((each) => each !== '');
      expect(places.every((place) => place.startsWith(`${host.links.replication.address}:`))).toBe(true);
    }
  });
});
