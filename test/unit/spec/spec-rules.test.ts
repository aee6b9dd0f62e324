// What may be defined and what may not, with the key that is named and a word of the reason that must be in the message.

import { describe, expect, it } from 'vitest';
import type { DiskSpec, NicSpec, VmSpec } from '../../../shared/core/model.js';
import { specProblems } from '../../../shared/core/spec-rules.js';
import { aSpec } from '../../support/spec.js';

const disk = (change: Partial<DiskSpec> = {}): DiskSpec => ({ sizeBytes: 2 ** 26, path: null, source: null, ...change });
const nic = (mac: string, bridge: string | null = null): NicSpec => ({ mac, bridge });
const external = (qmpSockets: string[], startSecondary: string[] | null = null): Partial<VmSpec> => ({
  launch: { kind: 'external', qmpSockets, startSecondary },
});

const refused: readonly (readonly [string, Partial<VmSpec>, string, RegExp])[] = [
  ['a name with capitals', { name: 'Web' }, 'name', /lower-case/],
  ['an empty name', { name: '' }, 'name', /lower-case/],
  ['a name that ends in a hyphen', { name: 'web-' }, 'name', /both ends/],
  ['a name of 41 letters', { name: 'a'.repeat(41) }, 'name', /at most 40/],
  ['no memory', { memoryMiB: 0 }, 'memory', /16M/],
  ['half a MiB of memory', { memoryMiB: 96.5 }, 'memory', /whole/],
  ['no processor', { cpus: 0 }, 'cpus', /1 to 64/],
  ['a machine without a version', { machine: 'pc' }, 'machine', /no version.*pc-i440fx-11\.1/],
  ['q35 without a version', { machine: 'q35' }, 'machine', /no version/],
  ['machine options', { machine: 'pc-i440fx-7.2,usb=on' }, 'machine', /options/],
  ["the host's own CPU model", { cpuModel: 'host' }, 'cpuModel', /differs from host to host/],
  ['a CPU model with blanks', { cpuModel: 'a b' }, 'cpuModel', /CPU model/],
  ['no disk', { disks: [] }, 'disks', /at least one/],
  ['a disk of half a MiB more', { disks: [disk({ sizeBytes: 2 ** 20 * 1.5 })] }, 'disks.0.size', /whole number of MiB/],
  ['a disk of nothing', { disks: [disk({ sizeBytes: 0 })] }, 'disks.0.size', /at least 1M/],
  ['one image for two disks', { disks: [disk({ path: '/a' }), disk({ path: '/a' })] }, 'disks.1.path', /image of disk 0/],
  ['a relative image', { disks: [disk({ path: 'a.raw' })] }, 'disks.0.path', /absolute/],
  ['a comma in a path', { disks: [disk({ path: '/a,b' })] }, 'disks.0.path', /comma/],
  ['a device as a disk', { disks: [disk({ path: '/dev/sda' })] }, 'disks.0.path', /device/],
  ['a source that is the disk itself', { disks: [disk({ path: '/a', source: '/a' })] }, 'disks.0.source', /itself/],
  ['no card', { nics: [] }, 'nics', /at least one/],
  ['nine cards', { nics: Array.from({ length: 9 }, (_, k) => nic(`52:54:00:00:00:0${k}`)) }, 'nics', /at most 8/],
  ['a MAC of five bytes', { nics: [nic('52:54:00:12:34')] }, 'nics.0.mac', /six pairs/],
  ['a multicast MAC', { nics: [nic('53:54:00:12:34:56')] }, 'nics.0.mac', /multicast/],
  ['the broadcast MAC', { nics: [nic('ff:ff:ff:ff:ff:ff')] }, 'nics.0.mac', /multicast/],
  ['a MAC of zeros', { nics: [nic('00:00:00:00:00:00')] }, 'nics.0.mac', /zero/],
  ['one MAC on two cards, in another case', { nics: [nic('52:54:00:aa:00:01'), nic('52:54:00:AA:00:01')] }, 'nics.1.mac', /card 0/],
  ['a bridge with a slash', { nics: [nic('52:54:00:00:00:01', 'br/0')] }, 'nics.0.bridge', /bridge/],
  ['a relative kernel', { boot: { kind: 'kernel', kernel: 'vmlinuz', initrd: null, append: '' } }, 'boot.kernel', /absolute/],
  ['two lines of append', { boot: { kind: 'kernel', kernel: '/k', initrd: null, append: 'a\nb' } }, 'boot.append', /one line/],
  ['one host twice', { hosts: ['a', 'b', 'a'] }, 'hosts.2', /twice/],
  ['a host that is no name', { hosts: ['10.0.0.1'] }, 'hosts.0', /no host name/],
  ['external without sockets', external([]), 'external.qmpSockets', /QMP socket/],
  ['external with one socket twice', external(['/a', '/a']), 'external.qmpSockets.1', /one client/],
  ['a starter without a path', external(['/a'], ['start']), 'external.startSecondary', /absolute/],
  ['checkpoints without a pause', { checkpointDelayMs: 0 }, 'checkpointDelayMs', /50 to 20000/],
  ['a compare timeout of zero', { compareTimeoutMs: 0 }, 'compareTimeoutMs', /20/],
  ['a bandwidth of one byte', { maxBandwidthBytes: 1 }, 'maxBandwidth', /1M/],
  ['a negative grace', { shutdownGraceMs: -1 }, 'shutdownGraceMs', /0 to/],
];

const refusedArgs: readonly (readonly [readonly string[], number, RegExp])[] = [
  [['-netdev', 'user,id=n'], 0, /`nics`/],
  [['--netdev', 'user,id=n'], 0, /`nics`/],
  [['-drive', 'file=a'], 0, /`disks`/],
  [['-blockdev', '{}'], 0, /`disks`/],
  [['-incoming', 'tcp:0:1'], 0, /agent/],
  [['-qmp', 'stdio'], 0, /monitor/],
  [['-monitor', 'stdio'], 0, /monitor/],
  [['-S'], 0, /hung/],
  [['-daemonize'], 0, /process/],
  [['-no-shutdown'], 0, /onPoweroff/],
  [['-action', 'shutdown=pause'], 0, /onPoweroff/],
  [['-object', 'filter-dump,id=d,netdev=hn0'], 1, /filters/],
  [['-object', 'colo-compare,id=c'], 1, /filters/],
  [['-object', 'memory-backend-file,id=m,size=1G,mem-path=/x,share=on'], 1, /share/],
  [['-device', 'vfio-pci,host=01:00.0'], 1, /host/],
  [['-device', 'usb-host,hostbus=1'], 1, /host/],
  [['-device', 'vhost-vsock-pci,guest-cid=3'], 1, /vhost/],
  [['-chardev', 'socket,id=c,path=/s', '-device', 'vhost-user-fs-pci,chardev=c'], 3, /vhost/],
  [['-device', 'virtio-net-pci,netdev=x'], 1, /`nics`/],
  [['-device', 'virtio-blk-pci,num-queues=4,drive=x'], 1, /queue/],
  [['-global', 'virtio-net-pci.mq=on'], 1, /queue/],
  [['-serial', 'mon:stdio'], 1, /file/],
  [['-chardev', 'file,id=mirror0,path=/x'], 1, /id/],
  [['disk.img'], 0, /no option/],
  [['-vga', 'std', 'disk.img'], 2, /no option/],
  [['-m 1G'], 0, /blank/],
  [[''], 0, /empty/],
];

const allowedArgs: readonly (readonly string[])[] = [
  ['-device', 'virtio-rng-pci'],
  ['-serial', 'file:/var/log/web.log'],
  ['-rtc', 'base=utc,clock=vm', '-vga', 'none'],
  ['-device', 'virtio-balloon-pci', '-no-hpet'],
  ['-uuid', '5d2f5a0e-0000-4000-8000-000000000001'],
];

describe('a definition', () => {
  it('with nothing but what is needed -> may be stored', () => {
    expect(specProblems(aSpec())).toEqual([]);
  });

  it('with everything -> may be stored', () => {
    const spec = aSpec({
      cpus: 4,
      cpuModel: 'Skylake-Client,-hle,+aes',
      disks: [disk({ path: '/srv/a.raw', source: '/srv/b.raw' }), disk()],
      nics: [nic('52:54:00:00:00:01', 'br0'), nic('52:54:00:00:00:02')],
      boot: { kind: 'kernel', kernel: '/k', initrd: '/i', append: 'a=b,c' },
      hosts: ['host1', 'host2'],
      ...external(['/a', '/b'], ['/bin/start']),
    });
    expect(specProblems(spec)).toEqual([]);
  });

  it.each(refused)('with %s -> refused at its key', (_, change, key, reason) => {
    const problems = specProblems(aSpec(change));
    expect(problems.map((each) => each.path.join('.'))).toEqual([key]);
    expect(problems[0]?.problem).toMatch(reason);
  });

  it.each(refusedArgs)('with QEMU options %j -> refused at entry %i', (extraArgs, index, reason) => {
    const problems = specProblems(aSpec({ extraArgs }));
    expect(problems.map((each) => each.path)).toEqual([['extraArgs', index]]);
    expect(problems[0]?.problem).toMatch(reason);
  });

  it.each(allowedArgs)('with QEMU options %j... -> may be stored', (...extraArgs) => {
    expect(specProblems(aSpec({ extraArgs }))).toEqual([]);
  });
});
