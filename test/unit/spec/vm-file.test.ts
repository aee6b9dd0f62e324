// The VM file: defaults, units, and the file, line and key of everything wrong in it.

import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { locateProblems, parseVmFile, writeVmFile } from '../../../shared/io/vm-file.js';
import { aSpec } from '../../support/spec.js';

const GOOD = `name: web
memory: 96M
machine: pc-i440fx-11.1
disks:
  - size: 64M
nics:
  - mac: 52:54:00:12:34:56
`;

function problemsOf(text: string): readonly string[] {
  const parsed = parseVmFile('vm.yaml', text);
  return parsed.ok ? [] : parsed.error.map((each) => `${each.file}:${each.line}:${each.key}`);
}

function messageOf(text: string): string {
  const parsed = parseVmFile('vm.yaml', text);
  return parsed.ok ? '' : parsed.error.map((each) => each.problem).join('\n');
}

const broken: readonly (readonly [string, string, readonly string[]])[] = [
  ['an unknown key', `${GOOD}colour: red\n`, ['vm.yaml:8:colour']],
  ['an unknown key in a disk', GOOD.replace('- size: 64M', '- size: 64M\n    cache: none'), ['vm.yaml:6:disks.0.cache']],
  ['an unknown key in boot', `${GOOD}boot:\n  kernel: /k\n  kernal: /k\n`, ['vm.yaml:10:boot.kernal']],
  ['a disk without a size', GOOD.replace('- size: 64M', '- path: /a'), ['vm.yaml:5:disks.0.size']],
  ['memory without a unit', GOOD.replace('96M', '96'), ['vm.yaml:2:memory']],
  ['a machine without a version', GOOD.replace('pc-i440fx-11.1', 'pc'), ['vm.yaml:3:machine']],
  ['an odd size', GOOD.replace('64M', '1000K'), ['vm.yaml:5:disks.0.size']],
  ['a multicast MAC', GOOD.replace('52:54', '53:54'), ['vm.yaml:7:nics.0.mac']],
  ['a key given twice', `${GOOD}name: other\n`, ['vm.yaml:8:']],
  ['an accelerator that does not exist', `${GOOD}accel: xen\n`, ['vm.yaml:8:accel']],
  ['a refused QEMU option', `${GOOD}extraArgs:\n  - -device\n  - vfio-pci,host=1\n`, ['vm.yaml:10:extraArgs.1']],
  ['external without its sockets', `${GOOD}launch: external\n`, ['vm.yaml:8:launch']],
  ['sockets without external', `${GOOD}external: {qmpSockets: [/a]}\n`, ['vm.yaml:8:external']],
  ['two problems', GOOD.replace('96M', '1M').replace('64M', '1K'), ['vm.yaml:2:memory', 'vm.yaml:5:disks.0.size']],
];

describe('a VM file', () => {
  it('with only what is required -> the documented defaults', () => {
    expect(parseVmFile('vm.yaml', GOOD)).toEqual({ ok: true, value: aSpec() });
  });

  it('that a key is missing from -> the key is named, with an example', () => {
    expect(problemsOf('name: web\nmemory: 1G\ndisks: [{size: 1G}]\nnics: [{mac: 52:54:00:00:00:01}]\n')).toEqual(['vm.yaml:1:machine']);
    expect(messageOf(GOOD.replace('machine: pc-i440fx-11.1\n', ''))).toMatch(/^required: .*pc-i440fx-11\.1/);
  });

  it('that is empty -> every required key is named', () => {
    expect(problemsOf('').map((each) => each.split(':')[2])).toEqual(['name', 'memory', 'machine', 'disks', 'nics']);
  });

  it.each(broken)('with %s -> file, line and key', (_, text, where) => {
    expect(problemsOf(text)).toEqual(where);
  });

  it('with capitals in a MAC -> lower case', () => {
    const parsed = parseVmFile('vm.yaml', GOOD.replace('12:34:56', 'AB:CD:EF'));
    expect(parsed.ok && parsed.value.nics[0]?.mac).toBe('52:54:00:ab:cd:ef');
  });

  it.each([
    ['1.5G', 1536],
    ['2TiB', 2 * 1024 * 1024],
    ['98304K', 96],
  ])('with memory %s -> %i MiB', (written, memoryMiB) => {
    const parsed = parseVmFile('vm.yaml', GOOD.replace('96M', written));
    expect(parsed.ok && parsed.value.memoryMiB).toBe(memoryMiB);
  });

  it('written from a definition -> reads back as the same', () => {
    const spec = aSpec({
      memoryMiB: 1536,
      disks: [{ sizeBytes: 5 * 2 ** 30, path: '/a.raw', source: '/b.raw' }],
      boot: { kind: 'kernel', kernel: '/k', initrd: null, append: 'console=ttyS0' },
      launch: { kind: 'external', qmpSockets: ['/a', '/b'], startSecondary: ['/bin/start', 'web'] },
      hosts: ['host1', 'host2'],
      extraArgs: ['-device', 'virtio-rng-pci'],
    });
    expect(parseVmFile('vm.yaml', writeVmFile(spec))).toEqual({ ok: true, value: spec });
  });

  it('that a coordinator refuses a key of -> the line of that key', () => {
    const located = locateProblems('vm.yaml', `${GOOD}hosts:\n  - a\n  - b\n`, [{ path: ['hosts', 1], problem: 'no such host' }]);
    expect(located).toEqual([{ file: 'vm.yaml', line: 10, key: 'hosts.1', problem: 'no such host' }]);
  });

  it('of the examples -> may be stored', () => {
    const file = 'deploy/examples/vm.yaml';
    expect(parseVmFile(file, readFileSync(file, 'utf8')).ok).toBe(true);
  });

  it('of the examples with every default written out -> the same definition', () => {
    const text = readFileSync('deploy/examples/vm.yaml', 'utf8');
    const writtenOut = text.replace(/^# ((?:cpus|cpuModel|accel|launch|method|maxBandwidth|\w+Ms|onPoweroff|restart): .*)$/gm, '$1');
    expect(writtenOut).not.toBe(text);
    expect(parseVmFile('vm.yaml', writtenOut)).toEqual(parseVmFile('vm.yaml', text));
  });
});
