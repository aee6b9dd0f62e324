// coloctl as a user meets it: what it prints, where it points, and the code that it ends with.

import { describe, expect, it } from 'vitest';
import { epoch, term } from '../../../shared/core/ids.js';
import { aCluster, aHistoryEntry, aLink, aRecord, aReport, aWish, KEYS } from '../../support/cluster.js';

const FILE = `name: web
memory: 96M
machine: pc-i440fx-11.1
disks:
  - size: 64M
nics:
  - mac: 52:54:00:12:34:56
`;

describe('coloctl vm define', () => {
  it('of a good file -> defined, exit 0, and the next command', async () => {
    const { coloctl } = aCluster();
    expect(await coloctl(['vm', 'define', '-f', 'vm.yaml'], { 'vm.yaml': FILE })).toEqual({
      exit: 0,
      out: 'VM web is defined. Start it: coloctl vm start web\n',
      err: '',
    });
  });

  it.each([
    ['an unknown key', `${FILE}colour: red\n`, 'vm.yaml:8: colour: unknown key'],
    ['a machine without a version', FILE.replace('pc-i440fx-11.1', 'pc'), 'vm.yaml:3: machine: "pc" has no version'],
    ['no disks', FILE.replace('disks:\n  - size: 64M\n', ''), 'vm.yaml:1: disks: required'],
    [
      'a host that does not exist',
      `${FILE.replace('web', 'db').replace('12:34:56', '12:34:57')}hosts:\n  - a\n  - zz\n`,
      'vm.yaml:10: hosts.1: host "zz" does not exist in this cluster: the cluster has a, b, c',
    ],
    ['the MAC of another VM', FILE.replace('web', 'db'), 'vm.yaml:7: nics.0.mac: 52:54:00:12:34:56 belongs to VM "web"'],
    ['a name that exists', FILE.replace('12:34:56', '12:34:57'), 'vm.yaml:1: name: VM "web" exists'],
  ])('with %s -> file, line and key, exit 1, nothing changed', async (_, file, where) => {
    const { coloctl, etcd } = aCluster();
    await coloctl(['vm', 'define', '-f', 'first.yaml'], { 'first.yaml': FILE });
    const before = etcd.revision();
    const { exit, out, err } = await coloctl(['vm', 'define', '-f', 'vm.yaml'], { 'vm.yaml': file });
    expect(err).toContain(where);
    expect(err).toContain('Nothing was changed.');
    expect([exit, out, etcd.revision()]).toEqual([1, '', before]);
  });

  it('of a file that is not there -> names it, exit 1', async () => {
    const { exit, err } = await aCluster().coloctl(['vm', 'define', '-f', 'no.yaml']);
    expect(exit).toBe(1);
    expect(err).toContain('cannot read no.yaml');
  });

  it('with --dry-run -> says that it may be, and stores nothing', async () => {
    const { coloctl, etcd } = aCluster();
    const before = etcd.revision();
    expect((await coloctl(['vm', 'define', '-f', 'vm.yaml', '--dry-run'], { 'vm.yaml': FILE })).out).toContain('may be defined');
    expect(etcd.revision()).toBe(before);
  });

  it('with --identical-images -> the first pair is to be made without a copy, whatever the file says', async () => {
    const { coloctl } = aCluster();
    await coloctl(['vm', 'define', '-f', 'vm.yaml', '--identical-images'], { 'vm.yaml': `${FILE}method: live\n` });
    expect((await coloctl(['vm', 'show', 'web', '-o', 'yaml'])).out).toContain('method: identical-images');
  });

  it('for one host only -> a note that it cannot be protected', async () => {
    const { err } = await aCluster().coloctl(['vm', 'define', '-f', 'vm.yaml'], { 'vm.yaml': `${FILE}hosts: [a]\n` });
    expect(err).toContain('hosts names only a');
  });
});

describe('coloctl status', () => {
  it.each([
    ['protected', aWish(), aRecord(), 0],
    ['stopped, as wanted', aWish({ wanted: 'stopped' }), aRecord({ phase: 'stopped', primary: null, secondary: null }), 0],
    ['alone', aWish(), aRecord({ phase: 'solo', secondary: null }), 3],
    ['alone, and to be so', aWish({ protect: false }), aRecord({ phase: 'solo', secondary: null }), 3],
    ['stopped, and to run', aWish(), aRecord({ phase: 'stopped', primary: null, secondary: null }), 3],
    ['failed', aWish(), aRecord({ phase: 'failed' }), 4],
    ['held', aWish(), aRecord({ phase: 'held', secondary: null }), 3],
  ] as const)('of a VM that is %s -> its exit code', async (_, wish, record, exit) => {
    const cluster = aCluster();
    cluster.wish(wish);
    cluster.record(record);
    await cluster.settle();
    expect((await cluster.coloctl(['status'])).exit).toBe(exit);
  });

  it('in JSON -> the promised shape, with null for none', async () => {
    const cluster = aCluster();
    cluster.wish(aWish());
    cluster.record(aRecord({ phase: 'solo', secondary: null, reason: 'runs alone' }));
    await cluster.settle();
    const { out, exit } = await cluster.coloctl(['status', '-o', 'json']);
    expect(exit).toBe(3);
    expect(JSON.parse(out)).toMatchObject({
      cluster: 'demo',
      leader: 'one',
      term: 7,
      vms: [
        {
          name: 'web',
          phase: 'solo',
          epoch: 3,
          primary: 'a',
          secondary: null,
          reason: 'runs alone',
          wanted: 'running',
          protect: true,
          lastError: null,
        },
      ],
      hosts: [
        { name: 'a', state: 'ready' },
        { name: 'b', state: 'ready' },
        { name: 'c', state: 'ready' },
      ],
      problem: null,
      problemKind: null,
      answeredBy: 'one',
    });
  });

  it('as a table -> cluster, leader, the VM with its reason and last error, hosts with what they run', async () => {
    const cluster = aCluster();
    cluster.wish(aWish());
    cluster.record(aRecord({ phase: 'solo', secondary: null, reason: 'runs alone', lastError: 'b: disk full' }));
    await cluster.settle();
    const { out } = await cluster.coloctl(['status']);
    expect(out).toContain('Cluster demo   leader one (term 7)');
    expect(out).toMatch(/^web +solo +running, protected +a +- +3 +\d+.* runs alone$/m);
    expect(out).toContain('web: last error: b: disk full');
    expect(out).toMatch(/^a +ready +11\.1\.2 +1 TiB +web \(primary\)$/m);
  });

  it('while etcd has no quorum -> the last known state, and exit 5', async () => {
    const cluster = aCluster();
    cluster.wish(aWish());
    cluster.record(aRecord());
    await cluster.settle();
    cluster.etcd.down(true);
    await cluster.clock.advance(1_500);
    const { out, exit } = await cluster.coloctl(['status']);
    expect(exit).toBe(5);
    expect(out).toContain('PROBLEM: no etcd quorum');
    expect(out).toMatch(/^web +protected/m);
  });

  it('while etcd is an older copy of itself -> says so at once and what leads out of it, the state of before, and exit 4', async () => {
    const cluster = aCluster();
    cluster.wish(aWish());
    cluster.record(aRecord());
    await cluster.settle();
    cluster.etcd.wentBack();
    const { out, exit } = await cluster.coloctl(['status']);
    expect(exit).toBe(4);
    expect(out).toMatch(
      /PROBLEM: etcd went back in time \(it is at revision \d+ and was at \d+\).*restart colo-coordinator.*coloctl recover/,
    );
    expect(out).not.toContain('quorum');
    expect(out).toMatch(/^web +protected/m);
  });

  it('while nobody leads -> exit 5', async () => {
    const cluster = aCluster();
    cluster.lead({ kind: 'follower', leader: null, address: null, term: term(7) });
    await cluster.settle();
    const { out, exit } = await cluster.coloctl(['status']);
    expect([exit, out.includes('no coordinator leads')]).toEqual([5, true]);
  });

  it('of a VM that two hosts run alone -> exit 4, also while etcd is away', async () => {
    const cluster = aCluster();
    cluster.wish(aWish());
    cluster.record(aRecord());
    await cluster.settle();
    const alone = aReport({ qemu: { kind: 'alive', born: epoch(1), pid: 1, role: 'alone', runstate: 'running' }, aloneSince: epoch(1) });
    for (const host of ['a', 'b']) cluster.links.set(host, aLink(host, { vms: [alone] }));
    cluster.etcd.down(true);
    await cluster.clock.advance(5_000);
    const { exit, out } = await cluster.coloctl(['status']);
    expect(exit).toBe(4);
    expect(out).toContain('split suspected: it runs alone on a and b');
  });

  it('with no coordinator there -> each endpoint and why, and exit 5', async () => {
    const { exit, out, err } = await aCluster().coloctl(['status', '--endpoints', 'x:1,y:2']);
    expect([exit, out]).toEqual([5, '']);
    expect(err).toContain('x:1: connection refused');
    expect(err).toContain('y:2: connection refused');
    expect(err).toContain('COLO_ENDPOINTS');
  });

  it('with the first coordinator gone -> the next one answers', async () => {
    const cluster = aCluster();
    await cluster.settle();
    expect((await cluster.coloctl(['status', '--endpoints', 'x:1,one:7500'])).exit).toBe(0);
  });
});

describe('coloctl vm', () => {
  it('stop --wait -> ends when the VM is stopped', async () => {
    const cluster = aCluster();
    cluster.wish(aWish());
    cluster.record(aRecord());
    await cluster.settle();
    cluster.clock.after(2_000, () => cluster.record(aRecord({ phase: 'stopped', epoch: epoch(5), primary: null, secondary: null })));
    const { exit, out } = await cluster.coloctl(['vm', 'stop', 'web', '--wait']);
    expect([exit, out]).toEqual([0, 'VM web will be stopped.\nVM web is stopped.\n']);
  });

  it('start --wait that takes too long -> unknown, still in progress, exit 124', async () => {
    const cluster = aCluster();
    cluster.wish(aWish({ wanted: 'stopped' }));
    cluster.clock.after(500, () => cluster.record(aRecord({ phase: 'starting', secondary: null, reason: 'start wanted' })));
    await cluster.settle();
    const { exit, err } = await cluster.coloctl(['vm', 'start', 'web', '--wait', '--timeout', '3s']);
    expect(exit).toBe(124);
    expect(err).toContain('unknown, still in progress: VM web is not protected after 3 s. Last seen: starting: start wanted');
    expect(err).toContain('coloctl vm show web');
  });

  it('start --wait that ends in a failure -> exit 4 with the reason', async () => {
    const cluster = aCluster();
    cluster.wish(aWish({ wanted: 'stopped' }));
    cluster.clock.after(500, () => cluster.record(aRecord({ phase: 'failed', reason: 'both disks are gone' })));
    await cluster.settle();
    const { exit, err } = await cluster.coloctl(['vm', 'start', 'web', '--wait']);
    expect(exit).toBe(4);
    expect(err).toContain('VM web is failed: both disks are gone');
  });

  it('start --wait through a time without etcd -> goes on waiting', async () => {
    const cluster = aCluster();
    cluster.wish(aWish({ wanted: 'stopped' }));
    await cluster.settle();
    cluster.clock.after(500, () => cluster.etcd.down(true));
    cluster.clock.after(10_000, () => {
      cluster.etcd.down(false);
      cluster.record(aRecord());
    });
    expect((await cluster.coloctl(['vm', 'start', 'web', '--wait'])).exit).toBe(0);
  });

  it('delete --wait -> ends when the leader has removed the keys', async () => {
    const cluster = aCluster();
    cluster.wish(aWish({ wanted: 'stopped' }));
    await cluster.settle();
    cluster.clock.after(1_000, () => cluster.etcd.remove(KEYS.spec('web')));
    expect((await cluster.coloctl(['vm', 'delete', 'web', '--wait'])).out).toContain('VM web is deleted.');
  });

  it('delete of a running VM -> refused with the command that helps', async () => {
    const cluster = aCluster();
    cluster.wish(aWish());
    cluster.record(aRecord());
    await cluster.settle();
    const { exit, err } = await cluster.coloctl(['vm', 'delete', 'web']);
    expect(exit).toBe(1);
    expect(err).toContain('coloctl vm stop web --wait');
  });

  it('show -o yaml -> a VM file that defines the same VM again', async () => {
    const cluster = aCluster();
    await cluster.coloctl(['vm', 'define', '-f', 'vm.yaml'], { 'vm.yaml': FILE });
    const { out } = await cluster.coloctl(['vm', 'show', 'web', '-o', 'yaml']);
    const again = await cluster.coloctl(['vm', 'define', '-f', 'again.yaml', '--dry-run'], {
      'again.yaml': out.replace('name: web', 'name: db').replace('12:34:56', '12:34:57'),
    });
    expect(again.exit).toBe(0);
  });

  it('list -> one line a VM', async () => {
    const cluster = aCluster();
    cluster.wish(aWish());
    await cluster.settle();
    expect((await cluster.coloctl(['vm', 'list'])).out).toMatch(/^web +stopped +running, protected +- +- +96 MiB +1 +1 +1$/m);
    expect((await cluster.coloctl(['vm', 'list', '-o', 'name'])).out).toBe('web\n');
  });

  it('show of a VM that is not there -> says where to look, exit 1', async () => {
    const { exit, err } = await aCluster().coloctl(['vm', 'show', 'web']);
    expect([exit, err]).toEqual([1, 'coloctl: there is no VM "web": coloctl vm list shows those that are defined\n']);
  });
});

describe('coloctl history', () => {
  it('in JSON -> the promised shape, oldest first', async () => {
    const cluster = aCluster();
    cluster.history(aHistoryEntry());
    cluster.history(aHistoryEntry({ epoch: epoch(3), atMs: 1_600_000_000_000, row: 'protected', from: 'syncing', to: 'protected' }));
    await cluster.settle();
    const shown: unknown = JSON.parse((await cluster.coloctl(['history', '-o', 'json'])).out);
    expect(shown).toMatchObject([{ row: 'protected' }, {}]);
    expect((shown as unknown[])[1]).toEqual({
      at: '2023-11-14T22:13:20.123Z',
      vm: 'web',
      epoch: 4,
      row: 'primary-lost',
      from: 'protected',
      to: 'verdict',
      primary: 'b',
      secondary: null,
      evidence: ['the primary died', 'primary a: qemu dead (killed)'],
      durationsMs: { detect: 12 },
      by: 'coordinator',
    });
  });

  it('of one VM, since a while, the newest one -> no more than that', async () => {
    const cluster = aCluster();
    const now = cluster.clock.wallMs();
    for (const [index, ageMs] of [7_200_000, 1_800_000, 60_000].entries())
      cluster.history(aHistoryEntry({ epoch: epoch(index + 1), atMs: now - ageMs }));
    cluster.history(aHistoryEntry({ vm: 'db', atMs: now }));
    await cluster.settle();
    const epochs = async (...args: string[]) =>
      (JSON.parse((await cluster.coloctl(['history', 'web', '-o', 'json', ...args])).out) as { epoch: number }[]).map((each) => each.epoch);
    expect(await epochs()).toEqual([1, 2, 3]);
    expect(await epochs('--since', '1h')).toEqual([2, 3]);
    expect(await epochs('-n', '1')).toEqual([3]);
  });

  it('as a table -> what, why and how long', async () => {
    const cluster = aCluster();
    cluster.history(aHistoryEntry());
    await cluster.settle();
    expect((await cluster.coloctl(['history'])).out).toMatch(
      /2023-11-14 22:13:20\.123 +web +4 +protected -> verdict +primary-lost +b +- +detect 12 ms +coordinator +the primary died/,
    );
  });
});

describe('a command line', () => {
  it.each([
    ['an unknown command', ['vm', 'defin']],
    ['an unknown option', ['status', '--colour']],
    ['an unknown form', ['status', '-o', 'xml']],
    ['a missing file', ['vm', 'define']],
    ['a duration without a unit', ['history', '--since', '5']],
    ['an endpoint without a port', ['status', '--endpoints', 'host']],
    ['no command', []],
  ])('with %s -> exit 2', async (_, args) => {
    expect((await aCluster().coloctl(args)).exit).toBe(2);
  });

  it.each([['--help'], ['--version'], ['version'], ['vm', '--help'], ['completion', 'bash'], ['completion', 'fish']])(
    '%s %s -> exit 0',
    async (...args) => {
      expect((await aCluster().coloctl(args)).exit).toBe(0);
    },
  );

  it('--help -> the exit codes', async () => {
    expect((await aCluster().coloctl(['--help'])).out).toContain('124  a wait timed out');
  });
});
