// The package as an operator has it: installed into a booted Debian 12 and 13, configured, restarted, killed, hung, out of memory, upgraded,
// removed and purged, with a guest running. The tests are one story a machine, in this order.

import { existsSync, mkdirSync, rmdirSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { waitFor } from '../../support/wait.js';
import { tryRun } from '../../../deploy/lab/command.js';
import { buildPackage, isInstalled, Machine, SUITES, whyNoMachine } from '../../../deploy/machines/machine.js';

/** Each costs a minute or two; `COLO_SUITES=bookworm` takes one. */
const suites = SUITES.filter((each) => (process.env['COLO_SUITES'] ?? SUITES.join(',')).split(',').includes(each));
const why = whyNoMachine();
if (why !== null) console.warn(`skipped: services in a booted systemd: ${why}`);

const SERVICES = ['colo-agent', 'colo-coordinator'] as const;
type Service = (typeof SERVICES)[number];

const NEWER = '99.0.0';
/** Of the units in this test, so that nobody waits for the product's ten. */
const WATCHDOG_S = 4;
const MOST_EXPOSED = 3.0;
const UP_MS = 40_000;

const ETCD = 'etcd: { endpoints: ["http://127.0.0.1:2379"] }';
const AGENT = `cluster: test\nhost: host1\n${ETCD}\nlisten: 127.0.0.1:7400\nreplicationAddress: 127.0.0.1\nbridge: br0\ninsecureLab: true\n`;
const COORDINATOR = `cluster: test\nname: host1\n${ETCD}\nlisten: 127.0.0.1:7500\ninsecureLab: true\n`;
/** It has nothing to boot from; QEMU runs all the same. */
const VM = 'name: one\nmemory: 64M\nmachine: pc-i440fx-7.2\naccel: tcg\ndisks: [{ size: 16M }]\nnics: [{ mac: "52:54:00:00:00:01" }]\n';

/** Images, taps, frames silenced at the bridge, a QEMU of a unit of its own, its sockets and its end. */
const TRIAL = `qemu-img create -q -f raw -o preallocation=falloc /srv/trial.raw 1M
fallocate --keep-size --length 2M /srv/trial.raw
ip tuntap add dev trial0 mode tap vnet_hdr
ip link set dev trial0 master br0
ip link delete dev trial0
nft add table bridge trial
nft delete table bridge trial
systemd-run --quiet --collect --unit=trial-qemu --service-type=exec --property=User=colo-qemu sleep infinity
pid=$(systemctl show --property=MainPID --value trial-qemu)
cat /proc/$pid/net/tcp /proc/$pid/stat /proc/$pid/cmdline >/srv/trial.seen
chown colo-qemu /srv/trial.raw
fallocate --keep-size --length 3M /srv/trial.raw
kill -KILL $pid
`;

interface Status {
  readonly leader: string | null;
  readonly vms: readonly {
    readonly phase: string;
    readonly epoch: number;
    readonly sides: readonly { readonly qemu: string; readonly pid: number }[];
  }[];
  readonly hosts: readonly { readonly state: string; readonly agentVersion: string }[];
  readonly problemKind: string | null;
}

let deb = '';
let newer = '';

const LINTIAN_MS = 300_000;
const whyNoLintian = why ?? (isInstalled('lintian') ? null : 'needs lintian (apt-get install lintian)');
if (why === null && whyNoLintian !== null) console.warn(`skipped: lintian over the package: ${whyNoLintian}`);

describe.skipIf(whyNoLintian !== null)('the package', () => {
  it('looked at by lintian -> has no error and no warning', { timeout: LINTIAN_MS }, async () => {
    if (deb === '') [deb, newer] = [buildPackage(), buildPackage(NEWER)];
    const { status, stdout, stderr } = await tryRun('lintian', ['--fail-on', 'error,warning', deb], { deadlineMs: LINTIAN_MS });
    expect({ status, stdout, stderr: status === 0 ? '' : stderr }).toEqual({ status: 0, stdout: '', stderr: '' });
  });
});

describe.skipIf(why !== null).each(suites)('the package on Debian %s', { timeout: 180_000 }, (suite) => {
  let machine: Machine;
  let qemuPid = 0;

  beforeAll(async () => {
    if (deb === '') [deb, newer] = [buildPackage(), buildPackage(NEWER)];
    machine = await Machine.boot({ suite });
  }, 900_000);

  afterAll(async () => {
    await machine?.destroy();
  });

  const property = (unit: string, name: string): Promise<string> => machine.must(`systemctl show --property=${name} --value ${unit}`);
  const pidOf = async (unit: string): Promise<number> => Number(await property(unit, 'MainPID'));
  const restartsOf = async (unit: string): Promise<number> => Number(await property(unit, 'NRestarts'));
  const journal = (unit: string): Promise<string> => machine.must(`journalctl --no-pager --output=cat --unit=${unit} | tail -n 30`);

  async function status(): Promise<Status> {
    return JSON.parse((await machine.run(['coloctl', '--insecure-lab', 'status', '--output', 'json'])).out) as Status;
  }

  /** Leader, host and guest are as they should be, and the guest is the QEMU of before. */
  async function waitUntilWell(): Promise<Status> {
    return waitFor(
      async () => {
        const seen = await status();
        const [vm, host] = [seen.vms[0], seen.hosts[0]];
        const side = vm?.sides[0];
        return seen.leader === 'host1' && host?.state === 'ready' && vm?.phase === 'solo' && side?.qemu === 'alive' ? seen : null;
      },
      { what: 'a guest that runs on a host that is heard', boundMs: UP_MS, everyMs: 300 },
    );
  }

  async function waitForRestart(service: Service, before: number): Promise<void> {
    await waitFor(async () => (await property(service, 'ActiveState')) === 'active' && (await pidOf(service)) !== before, {
      what: `another ${service}`,
      boundMs: UP_MS,
    });
  }

  async function expectSameGuest(): Promise<void> {
    const seen = await waitUntilWell();
    expect(seen.vms[0]?.sides.map((side) => side.pid)).toEqual([qemuPid]);
    expect(seen.vms[0]?.epoch).toBe(2);
    expect(await pidOf('colo-vm-one-1')).toBe(qemuPid);
  }

  describe('installing', () => {
    it('on a fresh machine -> puts all in place, enables both, starts neither and says what is next', async () => {
      const first = await machine.install(deb);
      expect(first.code, `${first.out}${first.err}`).toBe(0);
      expect(first.out).toMatch(/next: cp \/usr\/share\/colo-ha\/examples\/agent\.yaml \/etc\/colo-ha\//);
      expect(first.out).toMatch(/coloctl doctor/);
      for (const service of SERVICES) {
        expect(await machine.must(`systemctl is-enabled ${service}`)).toBe('enabled');
        expect(await property(service, 'ActiveState')).toBe('inactive');
      }
      expect(await machine.must('coloctl --version')).toMatch(/^\d+\.\d+\.\d+$/);
      expect(await machine.must('stat -c "%A %U:%G" /run/colo-ha /var/lib/colo-ha /etc/colo-ha')).toBe(
        'drwx--x--- root:colo-qemu\ndrwx--x--- root:colo-qemu\ndrwxr-xr-x root:root',
      );
    });

    it('-> leaves units that systemd-analyze has nothing against', async () => {
      const verified = await machine.shell('systemd-analyze verify --man=no /usr/lib/systemd/system/colo-*.service');
      expect(verified).toEqual({ code: 0, out: '', err: '' });
    });

    it.each(SERVICES)('%s -> is exposed no more than an operator should have to accept', async (service) => {
      const judged = await machine.must(`systemd-analyze security --no-pager ${service}`);
      const level = Number(/Overall exposure level for \S+: ([\d.]+)/.exec(judged)?.[1]);
      console.log(`systemd-analyze security ${service} on ${suite}: ${level}`);
      expect(level).toBeLessThanOrEqual(MOST_EXPOSED);
    });

    it.each(SERVICES)('%s without a configuration, started -> is skipped and not failed', async (service) => {
      expect((await machine.shell(`systemctl start ${service}`)).code).toBe(0);
      expect(await property(service, 'ActiveState')).toBe('inactive');
      expect(await property(service, 'ConditionResult')).toBe('no');
    });
  });

  describe('coloctl', () => {
    it('makes a cluster, on a machine that has nothing but the package -> the doctor finds its certificates good', async () => {
      const members = ['host1', 'host2', 'voter'].map((name, k) => `--member ${name}=10.0.0.${k + 1}`).join(' ');
      await machine.must(`cd /root && coloctl cluster init blue --operator alice ${members}`);
      await machine.must('cd /root/blue && coloctl host add host1 --replication 10.0.1.1 --bridge br0');
      await machine.must('sh /root/blue/hosts/host1/install.sh');
      expect(
        await machine.must('stat -c "%a %U" /etc/colo-ha/tls/agent.key /etc/colo-ha/tls/coordinator.key /etc/colo-ha/etcd/etcd.key'),
      ).toBe('600 root\n600 colo\n600 etcd');
      expect(await certificates()).toEqual(['good agent/host1', 'good coordinator/host1']);
    });

    it('while the coordinator cannot read its key -> the doctor says so', async () => {
      await machine.must('chown root:root /etc/colo-ha/tls/coordinator.key');
      expect(await certificates()).toContain('missing colo cannot read /etc/colo-ha/tls/coordinator.key');
      // What follows is another cluster.
      await machine.must('rm -r /etc/colo-ha/* /root/blue; if [ -e /etc/default/etcd ]; then rm /etc/default/etcd; fi');
    });

    async function certificates(): Promise<readonly string[]> {
      const { out } = await machine.shell('coloctl doctor --output json');
      const findings = JSON.parse(out) as readonly { readonly about: string; readonly level: string; readonly said: string }[];
      return findings.flatMap(({ about, level, said }) => (about === 'certificates' ? [`${level} ${said.replace(/, for .*/, '')}`] : []));
    }
  });

  describe('a service', () => {
    it('with a wrong configuration -> says file, line and key, and is not tried again', async () => {
      await machine.write('/etc/colo-ha/coordinator.yaml', COORDINATOR.replace('listen:', 'lisen:'));
      await machine.shell('systemctl start colo-coordinator');
      await waitFor(async () => (await property('colo-coordinator', 'ActiveState')) === 'failed', {
        what: 'a failed coordinator',
        boundMs: UP_MS,
      });
      expect(await journal('colo-coordinator')).toMatch(/coordinator\.yaml:4: lisen: unknown key/);
      expect(await restartsOf('colo-coordinator')).toBe(0);
    });

    it('that is configured -> starts, is ready, and coloctl gets an answer', async () => {
      await machine.must('ip link add br0 type bridge && ip link set br0 up && systemctl start etcd');
      await machine.write('/etc/colo-ha/agent.yaml', AGENT);
      await machine.write('/etc/colo-ha/coordinator.yaml', COORDINATOR);
      for (const service of SERVICES)
        await machine.write(`/etc/systemd/system/${service}.service.d/test.conf`, `[Service]\nWatchdogSec=${WATCHDOG_S}\n`);
      await machine.must('systemctl daemon-reload');
      // A unit of Type=notify is started when it has said READY, and not before.
      const started = await machine.shell(`systemctl start ${SERVICES.join(' ')}`);
      if (started.code !== 0) throw new Error(`${started.err}${await journal('colo-agent')}\n${await journal('colo-coordinator')}`);
      await waitFor(
        async () => {
          const seen = await status();
          return seen.leader === 'host1' && seen.hosts[0]?.state === 'ready';
        },
        { what: 'a leader that hears the host', boundMs: UP_MS, everyMs: 300 },
      );
      expect(await machine.must(`stat -c %U /proc/${await pidOf('colo-coordinator')}`)).toBe('colo');
      await waitFor(async () => (await property('colo-coordinator', 'StatusText')).startsWith('leads, term'), {
        what: 'the status line of the coordinator',
        boundMs: UP_MS,
      });
    });

    it('shut in as the agent is -> can do all that an agent does to its host', async () => {
      await machine.write('/srv/trial.sh', TRIAL);
      // The unit itself, with another program in it.
      const another =
        "-e 's|^ExecStart=.*|ExecStart=sh -ex /srv/trial.sh|' -e 's/^Type=.*/Type=oneshot/' -e '/^Restart/d' -e '/^Watchdog/d'";
      await machine.must(`sed ${another} /usr/lib/systemd/system/colo-agent.service >/run/systemd/system/trial.service`);
      await machine.must('systemctl daemon-reload');
      const { code } = await machine.shell('systemctl start trial');
      expect({ code, said: code === 0 ? '' : await journal('trial') }).toEqual({ code: 0, said: '' });
    });

    it('starts a guest -> QEMU is in a unit of its own and not in the cgroup of the agent', async () => {
      await machine.write('/root/one.yaml', VM);
      await machine.must(
        'export COLO_INSECURE_LAB=1; coloctl vm define -f /root/one.yaml && coloctl vm unprotect one && coloctl vm start one --wait --timeout 60s',
      );
      await waitUntilWell();
      qemuPid = await pidOf('colo-vm-one-1');
      expect(qemuPid).toBeGreaterThan(0);
      expect(await machine.must(`cat /proc/${qemuPid}/comm`)).toMatch(/^qemu-system/);
      expect(await machine.must(`cat /proc/${qemuPid}/cgroup`)).toMatch(/colo-vm-one-1\.service/);
      await expectSameGuest();
    });

    it('whose guest runs -> QEMU is a user of its own with nothing but its images, sockets and tap', async () => {
      expect(await machine.must(`stat -c %U /proc/${qemuPid}`)).toBe('colo-qemu');
      const status = await machine.must(`cat /proc/${qemuPid}/status`);
      expect(status).toMatch(/CapBnd:\t0000000000000000/);
      expect(status).toMatch(/NoNewPrivs:\t1/);
      expect(status).toMatch(/Seccomp:\t2/);
      expect(await machine.must('stat -c "%A %U" /run/colo-ha/one/1 /run/colo-ha/one/1/*.sock')).toBe(
        'drwx------ colo-qemu\nsrwx------ colo-qemu\nsrwx------ colo-qemu\nsrwx------ colo-qemu',
      );
      expect((await machine.shell('setpriv --reuid=nobody --clear-groups cat /var/lib/colo-ha/vms/one/disk0.raw')).code).not.toBe(0);
      // No port of QEMU's is open, to nobody: it runs alone.
      expect(await machine.must(`ss -Htlnp | grep -c 'pid=${qemuPid},' || true`)).toBe('0');
    });
  });

  describe('a guest', () => {
    it('whose agent is restarted -> runs on and is found again', async () => {
      await machine.must('systemctl restart colo-agent');
      await expectSameGuest();
    });

    it.each(SERVICES)('while %s is killed -> runs on; systemd starts another', async (service) => {
      const before = await pidOf(service);
      await machine.must(`kill -KILL ${before}`);
      await waitForRestart(service, before);
      await expectSameGuest();
    });

    it.each(SERVICES)('while %s hangs -> runs on; the watchdog ends it and systemd starts another', async (service) => {
      const before = await pidOf(service);
      await machine.must(`kill -STOP ${before}`);
      await waitForRestart(service, before);
      expect(await journal(service)).toMatch(/Watchdog timeout/);
      await expectSameGuest();
    });

    it('whose agent the kernel kills for memory -> runs on; systemd starts another', async (context) => {
      const before = await pidOf('colo-agent');
      const killed = await killForMemory(machine.outerPid(before), () => pidOf('colo-agent').then((now) => now !== before));
      if (!killed) {
        console.warn('skipped: an agent out of memory: this machine has no memory cgroup of version 1 to limit it by');
        context.skip();
      }
      await waitForRestart('colo-agent', before);
      expect(await journal('colo-agent')).toMatch(/status=9\/KILL|oom-kill/);
      await expectSameGuest();
    });

    it('while etcd is away for longer than the watchdog -> runs on, and no service is restarted', async () => {
      const before = await Promise.all(SERVICES.map(pidOf));
      await machine.must('systemctl stop etcd');
      // Two watchdogs' time by the machine's own clock, counted from when the loss was seen.
      await waitFor(async () => (await status()).problemKind === 'store', { what: 'the loss of etcd in the status', boundMs: UP_MS });
      const from = Number(await machine.must('date +%s'));
      await waitFor(async () => Number(await machine.must('date +%s')) - from > 2 * WATCHDOG_S, {
        what: 'time to pass',
        boundMs: UP_MS,
        everyMs: 500,
      });
      expect(await Promise.all(SERVICES.map(pidOf))).toEqual(before);
      expect(await pidOf('colo-vm-one-1')).toBe(qemuPid);
      await machine.must('systemctl start etcd');
      await expectSameGuest();
    });

    it('while the package is upgraded -> runs on, with both services in the new version', async () => {
      const before = await Promise.all(SERVICES.map(pidOf));
      const upgraded = await machine.install(newer);
      expect(upgraded.code, `${upgraded.out}${upgraded.err}`).toBe(0);
      expect(`${upgraded.out}${upgraded.err}`).not.toMatch(/DOES NOT COME UP/);
      const after = await Promise.all(SERVICES.map(pidOf));
      expect(after.every((pid, k) => pid > 0 && pid !== before[k])).toBe(true);
      await waitFor(async () => (await status()).hosts[0]?.agentVersion === NEWER, {
        what: 'the agent of the new version',
        boundMs: UP_MS,
      });
      await expectSameGuest();
    });

    it('while a service that an operator has stopped is upgraded -> the service stays stopped', async () => {
      await machine.must('systemctl stop colo-coordinator');
      await machine.must(`dpkg -i /root/colo-ha_${NEWER}_all.deb`);
      expect(await property('colo-coordinator', 'ActiveState')).toBe('inactive');
      await machine.must('systemctl start colo-coordinator');
      await expectSameGuest();
    });

    it('while the package is removed -> runs on, and its disk, its journal and the configuration are kept', async () => {
      const said = await machine.must('apt-get remove -y -q colo-ha');
      expect(said).toMatch(/ATTENTION: these guests still run/);
      expect(said).toMatch(/colo-vm-one-1\.service/);
      expect(await pidOf('colo-vm-one-1')).toBe(qemuPid);
      expect(await machine.must('ls /var/lib/colo-ha/vms/one /etc/colo-ha')).toMatch(
        /agent\.yaml\ncoordinator\.yaml[^]*disk0\.raw[^]*journal\.[ab]\.json/,
      );
      expect((await machine.shell('command -v coloctl')).code).not.toBe(0);
      expect((await machine.shell('ls -d /usr/lib/colo-ha /usr/lib/systemd/system/colo-*')).out).toBe('');
    });

    it('that was left behind -> is taken over by a new installation, which starts what is configured', async () => {
      await machine.must(`dpkg -i /root/colo-ha_${NEWER}_all.deb`);
      await expectSameGuest();
    });

    it('that still runs -> is not purged away; once it has ended, nothing is left', async () => {
      await machine.must('apt-get remove -y -q colo-ha');
      const refused = await machine.shell('dpkg --purge colo-ha');
      expect(refused.code).not.toBe(0);
      expect(refused.err).toMatch(/not purged, because these guests run/);
      expect(await pidOf('colo-vm-one-1')).toBe(qemuPid);
      await machine.must('systemctl stop colo-vm-one-1');
      await machine.must('dpkg --purge colo-ha');
      expect((await machine.shell('ls -d /etc/colo-ha /var/lib/colo-ha /run/colo-ha /usr/lib/colo-ha')).out).toBe('');
      expect((await machine.shell('systemctl list-unit-files --plain --no-legend "colo-*"')).out).toBe('');
    });
  });
});

/** Puts a process into a memory cgroup (version 1) that is far too small. False: there is none here. */
async function killForMemory(pid: number, gone: () => Promise<boolean>): Promise<boolean> {
  const top = '/sys/fs/cgroup/memory';
  if (!existsSync(`${top}/memory.limit_in_bytes`)) return false;
  const group = `${top}/colo-test-${process.pid}`;
  mkdirSync(group);
  try {
    // What a process used before it moved is charged to where it was; so it moves with its memory.
    writeFileSync(`${group}/memory.move_charge_at_immigrate`, '3');
  } catch {
    // Newer kernels move nothing; then it dies of its next allocations.
  }
  writeFileSync(`${group}/memory.limit_in_bytes`, String(256 * 1024));
  writeFileSync(`${group}/cgroup.procs`, String(pid));
  await waitFor(gone, { what: 'the agent to be killed for memory', boundMs: UP_MS });
  await waitFor(
    () => {
      rmdirSync(group);
      return true;
    },
    { what: 'the empty cgroup to go', boundMs: UP_MS },
  );
  return true;
}
