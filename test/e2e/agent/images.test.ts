// Disk images by the real qemu-img: a chain that a dead QEMU left behind is merged offline, whatever point an earlier try reached.

import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, statSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemDisks } from '../../../agent/io/disks.js';
import { diskId, epoch, vmUid } from '../../../shared/core/ids.js';
import { missing, QEMU_DIR, run } from './stage.js';

const why = missing();
if (why !== null) console.warn(`skipped: ${why}`);

const MIB = 1024 * 1024;
const CLUSTER = 64 * 1024;

/** As QEMU does with the first write to an image with lazy refcounts: bit 0 of incompatible_features. */
function setDirty(image: string): void {
  const file = openSync(image, 'r+');
  writeSync(file, Buffer.from([1]), 0, 1, 79);
  closeSync(file);
}

describe.skipIf(why !== null)('the images of a host', () => {
  let folder: string;
  const disks = () => systemDisks(join(QEMU_DIR, 'qemu-img'), folder);
  const path = (name: string): string => join(folder, name);
  const write = (image: string, format: string, cluster: number, pattern: number): string =>
    run(join(QEMU_DIR, 'qemu-io'), '-f', format, '-c', `write -P ${pattern} ${cluster * CLUSTER} ${CLUSTER}`, image);
  const patternAt = (image: string, cluster: number): number => readFileSync(image)[cluster * CLUSTER] ?? -1;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'colo-images-'));
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  async function makeChain(): Promise<readonly string[]> {
    const chain = ['active0-3.qcow2', 'hidden0-3.qcow2', 'disk0.raw'].map(path);
    const [active = '', hidden = '', parent = ''] = chain;
    expect(await disks().create(parent, MIB, null)).toEqual({ ok: true, value: null });
    for (const overlay of [active, hidden]) expect((await disks().makeOverlay(overlay, MIB)).ok).toBe(true);
    for (const cluster of [0, 1, 2]) write(parent, 'raw', cluster, 0x11);
    for (const cluster of [1, 2]) write(hidden, 'qcow2', cluster, 0x22);
    write(active, 'qcow2', 2, 0x33);
    return chain;
  }

  it('with a chain -> one raw image that reads as the chain did', async () => {
    const chain = await makeChain();
    expect(await disks().flatten(chain)).toEqual({ ok: true, value: null });
    expect([0, 1, 2].map((cluster) => patternAt(path('disk0.raw'), cluster))).toEqual([0x11, 0x22, 0x33]);
    expect(chain.map((each) => existsSync(each))).toEqual([false, false, true]);
  });

  it('with a chain whose top was merged before a crash -> the rest is merged', async () => {
    const chain = await makeChain();
    const [active = ''] = chain;
    run(join(QEMU_DIR, 'qemu-img'), 'rebase', '-u', '-f', 'qcow2', '-F', 'qcow2', '-b', path('hidden0-3.qcow2'), active);
    run(join(QEMU_DIR, 'qemu-img'), 'commit', '-q', '-d', '-f', 'qcow2', active);
    rmSync(active);
    expect(await disks().flatten(chain)).toEqual({ ok: true, value: null });
    expect([0, 1, 2].map((cluster) => patternAt(path('disk0.raw'), cluster))).toEqual([0x11, 0x22, 0x33]);
  });

  it('that QEMU has not merged -> are told by a dirty overlay, or by overlays newer than the parent', async () => {
    const chain = await makeChain();
    expect(await disks().merged(chain)).toEqual({ ok: true, value: false });
    write(path('disk0.raw'), 'raw', 5, 0x55);
    expect(await disks().merged(chain)).toEqual({ ok: true, value: true });
    setDirty(path('active0-3.qcow2'));
    write(path('disk0.raw'), 'raw', 5, 0x56);
    expect(await disks().merged(chain)).toEqual({ ok: true, value: false });
  });

  it('-> get all their space when they are made, and keep it when they are made from a source', async () => {
    expect((await disks().create(path('disk0.raw'), MIB, null)).ok).toBe(true);
    expect(statSync(path('disk0.raw')).blocks * 512).toBeGreaterThanOrEqual(MIB);
    write(path('disk0.raw'), 'raw', 3, 0x44);
    expect((await disks().create(path('copy.raw'), 2 * MIB, path('disk0.raw'))).ok).toBe(true);
    expect(statSync(path('copy.raw'))).toMatchObject({ size: 2 * MIB });
    expect(patternAt(path('copy.raw'), 3)).toBe(0x44);
  });

  it('of which parts have no space -> get it and keep what is in them, or it is said that there is none', async () => {
    const image = path('disk0.raw');
    run('truncate', '-s', String(MIB), image);
    write(image, 'raw', 3, 0x44);
    expect(statSync(image).blocks * 512).toBeLessThan(MIB);
    expect(await disks().reserve(image, MIB)).toEqual({ ok: true, value: null });
    expect(statSync(image)).toMatchObject({ size: MIB });
    expect(statSync(image).blocks * 512).toBeGreaterThanOrEqual(MIB);
    expect([patternAt(image, 2), patternAt(image, 3)]).toEqual([0, 0x44]);
    const small = path('small');
    mkdirSync(small);
    run('mount', '-t', 'tmpfs', '-o', 'size=512k', 'tmpfs', small);
    try {
      run('truncate', '-s', String(MIB), join(small, 'disk0.raw'));
      expect(await disks().reserve(join(small, 'disk0.raw'), MIB)).toMatchObject({
        ok: false,
        error: expect.stringContaining('no space for all of') as string,
      });
    } finally {
      run('umount', small);
    }
  });

  it('that are there already -> are never written over', async () => {
    expect((await disks().create(path('disk0.raw'), MIB, null)).ok).toBe(true);
    expect(await disks().create(path('disk0.raw'), MIB, null)).toMatchObject({
      ok: false,
      error: expect.stringContaining('exists already') as string,
    });
  });

  it('-> carry their stamps', async () => {
    const stamp = {
      format: 1,
      uid: vmUid('u'),
      diskId: diskId('d'),
      epoch: epoch(4),
      state: 'clean',
      images: [path('disk0.raw')],
      offline: false,
    } as const;
    expect((await disks().create(path('disk0.raw'), MIB, null)).ok).toBe(true);
    expect(await disks().writeStamp(path('disk0.raw'), stamp)).toEqual({ ok: true, value: null });
    expect(await disks().look(path('disk0.raw'))).toEqual({ ok: true, value: { kind: 'present', sizeBytes: MIB, stamp } });
    expect(await disks().look(path('disk1.raw'))).toEqual({ ok: true, value: { kind: 'missing' } });
  });

  it('of an earlier attempt -> are swept, apart from those to be kept', async () => {
    const [active = '', hidden = '', parent = ''] = await makeChain();
    await disks().sweepOverlays(folder, [hidden]);
    expect([active, hidden, parent].map((each) => existsSync(each))).toEqual([false, true, true]);
  });
});
