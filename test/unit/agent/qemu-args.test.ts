// Command lines, names and capabilities, as text: no QEMU is started here.

import { describe, expect, test } from 'vitest';
import { atLeast, capabilitiesFrom, versionFromText } from '../../../agent/core/capabilities.js';
import { vmNames } from '../../../agent/core/names.js';
import { flattenCommands, qemuCommand, type QemuPlace, type QemuStart } from '../../../agent/core/qemu-args.js';
import { aSpec } from '../../support/spec.js';

const place: QemuPlace = {
  program: '/usr/bin/qemu-system-x86_64',
  version: { major: 11, minor: 1, micro: 2 },
  sandbox: true,
  runtimeDir: '/run/colo-ha/web',
  serialFile: '/var/log/web.log',
  taps: ['tap0', 'tap1'],
  tls: null,
};
const ports = { migration: 9998, nbd: 9999, mirror: [9003, 9013], compare: [9004, 9014] };
const alone: QemuStart = { kind: 'alone', images: [['/d/disk0.raw']] };
const secondary: QemuStart = {
  kind: 'secondary',
  images: ['/d/disk0.raw'],
  overlays: [{ active: '/d/active.qcow2', hidden: '/d/hidden.qcow2' }],
  ports,
  bindAddress: '10.0.0.2',
  primaryAddress: '10.0.0.1',
};
const cold: QemuStart = { kind: 'cold-primary', images: ['/d/disk0.raw'], ports, bindAddress: '10.0.0.1' };

const argv = (start: QemuStart, change: Parameters<typeof aSpec>[0] = {}, where: Partial<QemuPlace> = {}): readonly string[] =>
  qemuCommand(aSpec(change), start, { ...place, ...where }).argv;
const values = (args: readonly string[], option: string): readonly string[] => args.filter((_, k) => args[k - 1] === option);

describe('the command line', () => {
  test('alone -> the quorum of the manual with one child, and no filter', () => {
    const args = argv(alone);
    expect(values(args, '-drive')).toEqual([
      'if=virtio,id=colo-disk0,driver=quorum,read-pattern=fifo,vote-threshold=1,children.0.file.filename=/d/disk0.raw,children.0.driver=raw',
    ]);
    expect(values(args, '-object')).toEqual([]);
    expect(args).not.toContain('-S');
  });

  test('alone from a chain -> every image spelled out, topmost first', () => {
    const [drive] = values(argv({ kind: 'alone', images: [['/d/active.qcow2', '/d/hidden.qcow2', '/d/disk0.raw']] }), '-drive');
    expect(drive).toContain(
      [
        'children.0.file.filename=/d/active.qcow2,children.0.driver=qcow2',
        'children.0.backing.file.filename=/d/hidden.qcow2,children.0.backing.driver=qcow2',
        'children.0.backing.backing.file.filename=/d/disk0.raw,children.0.backing.backing.driver=raw',
      ].join(','),
    );
  });

  test('secondary -> the three drives and filters of the manual, bound to its own address', () => {
    const args = argv(secondary);
    expect(values(args, '-drive')).toEqual([
      'if=none,id=parent0,file.filename=/d/disk0.raw,driver=raw',
      'if=none,id=childs0,driver=replication,mode=secondary,file.driver=qcow2,top-id=colo-disk0,file.file.filename=/d/active.qcow2,file.backing.driver=qcow2,file.backing.file.filename=/d/hidden.qcow2,file.backing.backing=parent0',
      'if=virtio,id=colo-disk0,driver=quorum,read-pattern=fifo,vote-threshold=1,children.0=childs0',
    ]);
    expect(values(args, '-object')).toEqual([
      'filter-redirector,id=f1,netdev=hn0,queue=tx,indev=red0,vnet_hdr_support=on',
      'filter-redirector,id=f2,netdev=hn0,queue=rx,outdev=red1,vnet_hdr_support=on',
      'filter-rewriter,id=rew0,netdev=hn0,queue=all,vnet_hdr_support=on',
    ]);
    expect(values(args, '-incoming')).toEqual(['tcp:10.0.0.2:9998']);
  });

  test.each([
    [{ major: 7, minor: 2, micro: 22 }, 'reconnect=1'],
    [{ major: 9, minor: 2, micro: 0 }, 'reconnect-ms=100'],
    [{ major: 11, minor: 1, micro: 2 }, 'reconnect-ms=100'],
  ] as const)('secondary of QEMU %o -> %s', (version, option) => {
    expect(values(argv(secondary, {}, { version }), '-chardev')).toContain(`socket,id=red0,host=10.0.0.1,port=9003,${option}`);
  });

  test('cold primary -> waits, listens without waiting, compares over unix sockets', () => {
    const args = argv(cold);
    expect(args).toContain('-S');
    expect(values(args, '-chardev').filter((each) => !each.startsWith('file'))).toEqual([
      'socket,id=mirror0,host=10.0.0.1,port=9003,server=on,wait=off',
      'socket,id=compare1,host=10.0.0.1,port=9004,server=on,wait=off',
      'socket,id=compare0,path=/run/colo-ha/web/compare0.sock,server=on,wait=off',
      'socket,id=compare0-0,path=/run/colo-ha/web/compare0.sock',
      'socket,id=compare_out,path=/run/colo-ha/web/compare_out.sock,server=on,wait=off',
      'socket,id=compare_out0,path=/run/colo-ha/web/compare_out.sock',
    ]);
    expect(values(args, '-object').every((each) => each.startsWith('iothread') || each.includes('vnet_hdr_support=on'))).toBe(true);
  });

  test.each([
    ['secondary', secondary, 'tls-creds=tls-client'],
    ['cold primary', cold, 'server=on,wait=off,tls-creds=tls-server,tls-authz=tls-peers'],
  ] as const)('%s under TLS -> credentials first, and on every socket of the network', (_what, start, ending) => {
    const args = argv(start, {}, { tls: { folder: '/etc/colo-ha/qemu-tls' } });
    const objects = values(args, '-object');
    expect(objects.slice(0, 3).map((each) => (JSON.parse(each) as { readonly id: string }).id)).toEqual([
      'tls-server',
      'tls-client',
      'tls-peers',
    ]);
    expect(objects.slice(3)).toEqual(values(argv(start), '-object'));
    const onNetwork = values(args, '-chardev').filter((each) => each.includes('host='));
    expect(onNetwork).toHaveLength(2);
    expect(onNetwork.every((each) => each.endsWith(ending))).toBe(true);
  });

  test('alone under TLS -> as without, because it is given them when it becomes half of a pair', () => {
    expect(argv(alone, {}, { tls: { folder: '/x' } })).toEqual(argv(alone));
  });

  test('the two sides of a pair -> the same machine in the same order', () => {
    const machine = (args: readonly string[]): readonly string[] =>
      ['-machine', '-cpu', '-m', '-smp', '-netdev', '-device', '-accel'].flatMap((option) => values(args, option));
    expect(machine(argv(alone))).toEqual(machine(argv(secondary)));
  });

  test('a guest that powers off -> QEMU stays to tell it; vhost and scripts are off', () => {
    const args = argv(alone);
    expect(args).toEqual(expect.arrayContaining(['-no-shutdown', '-nodefaults', '-no-user-config']));
    expect(values(args, '-netdev')).toEqual(['tap,id=hn0,ifname=tap0,script=no,downscript=no,vhost=off']);
  });

  test('sockets -> out of band first, one left free', () => {
    expect(qemuCommand(aSpec(), alone, place).sockets).toEqual([
      '/run/colo-ha/web/qmp-oob.sock',
      '/run/colo-ha/web/qmp.sock',
      '/run/colo-ha/web/qmp-spare.sock',
    ]);
  });

  test('accel auto -> kvm with tcg behind it; extra arguments last', () => {
    const args = argv(alone, { accel: 'auto', extraArgs: ['-device', 'virtio-rng-pci'] });
    expect(values(args, '-accel')).toEqual(['kvm', 'tcg']);
    expect(args.slice(-2)).toEqual(['-device', 'virtio-rng-pci']);
  });

  test('a comma in a path -> doubled', () => {
    expect(values(argv({ kind: 'alone', images: [['/d/a,b.raw']] }), '-drive')[0]).toContain('filename=/d/a,,b.raw,');
  });
});

describe('names', () => {
  test('two disks and two cards -> no id twice', () => {
    const names = vmNames(2, 2);
    const ids = [...names.disks, ...names.nics].flatMap((each) => Object.values(each) as string[]);
    expect(new Set(ids).size).toBe(ids.length);
  });
});

describe('a chain made one image', () => {
  test('three images -> each told its backing file, then committed from the top', () => {
    expect(flattenCommands('qemu-img', ['/d/active', '/d/hidden', '/d/raw'])).toEqual([
      ['qemu-img', 'rebase', '-u', '-f', 'qcow2', '-F', 'qcow2', '-b', '/d/hidden', '/d/active'],
      ['qemu-img', 'rebase', '-u', '-f', 'qcow2', '-F', 'raw', '-b', '/d/raw', '/d/hidden'],
      ['qemu-img', 'commit', '-f', 'qcow2', '/d/active'],
      ['qemu-img', 'commit', '-f', 'qcow2', '/d/hidden'],
    ]);
  });

  test('one image -> nothing to do', () => {
    expect(flattenCommands('qemu-img', ['/d/raw'])).toEqual([]);
  });
});

describe('capabilities', () => {
  const answers = (major: number, minor: number, migration: readonly string[], types: readonly string[]) => [
    { qemu: { major, minor, micro: 0 } },
    migration.map((capability) => ({ capability, state: false })),
    types.map((name) => ({ name })),
  ];
  const types = ['colo-compare', 'filter-mirror', 'filter-redirector', 'filter-rewriter'];
  const migration = ['x-colo', 'events', 'return-path', 'pause-before-switchover'];

  test.each([
    [7, 2, { coloOnSecondary: false, returnPath: false, pauseBeforeSwitchover: false }],
    [10, 0, { coloOnSecondary: true, returnPath: false, pauseBeforeSwitchover: true }],
    [11, 1, { coloOnSecondary: true, returnPath: true, pauseBeforeSwitchover: true }],
  ] as const)('QEMU %i.%i -> what its COLO wants', (major, minor, wanted) => {
    expect(capabilitiesFrom(answers(major, minor, migration, types))).toMatchObject({ ok: true, value: wanted });
  });

  test('a QEMU built without COLO -> says what is missing', () => {
    expect(capabilitiesFrom(answers(11, 1, ['events'], types.slice(1)))).toMatchObject({
      ok: false,
      error: expect.stringContaining('x-colo, colo-compare') as string,
    });
  });

  test('the first line of --version -> a version', () => {
    expect(versionFromText('QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)')).toEqual({ major: 7, minor: 2, micro: 22 });
    expect(versionFromText('bash: command not found')).toBeNull();
    expect(atLeast({ major: 10, minor: 0, micro: 0 }, 9, 2)).toBe(true);
  });
});

describe('what a stranger could reach', () => {
  const starts: readonly QemuStart[] = [alone, cold, secondary];

  test.each(starts)('$kind -> TCP ports are on the replication address and nowhere else', (start) => {
    const listening = argv(start).filter((each) => /server=on|^tcp:|server=yes/.test(each));
    const places = listening.map((each) => /host=([^,]*)|^tcp:([^:]*)|path=([^,]*)|^unix:([^,]*)/.exec(each)?.slice(1).find(Boolean));
    const bound = start.kind === 'alone' ? [] : [start.bindAddress];
    expect(places.every((place) => place !== undefined && (place.startsWith('/run/') || bound.includes(place)))).toBe(true);
    expect(listening.length).toBeGreaterThan(0);
  });

  test.each(starts)('$kind -> QEMU shuts itself in, unless it is told not to', (start) => {
    expect(values(argv(start), '-sandbox')).toEqual(['on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny']);
    expect(argv(start, {}, { sandbox: false })).not.toContain('-sandbox');
  });
});
