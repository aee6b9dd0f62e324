// Which image may be booted, and which may be overwritten.

import { describe, expect, it } from 'vitest';
import { planBoot, planParent, type Stamp } from '../../../agent/core/disk-rules.js';
import { chainsOf, checkSocketPaths, mergingImages, tapName } from '../../../agent/core/paths.js';
import { diskId, epoch, vmUid } from '../../../shared/core/ids.js';
import { aSpec } from '../../support/spec.js';
import { UID } from './builders.js';

const SIZE = 64;
const stamp = (change: Partial<Stamp> = {}): Stamp => ({
  format: 1,
  uid: UID,
  diskId: diskId('d'),
  epoch: epoch(2),
  state: 'clean',
  images: ['/raw'],
  offline: false,
  ...change,
});
const image = (change: Partial<Stamp> | null = {}, sizeBytes = SIZE) => ({
  path: '/raw',
  sizeBytes,
  stamp: change === null ? null : stamp(change),
});

describe('an image that a guest is to boot from alone', () => {
  it.each([
    ['clean and ours', 'used', image(), false, { kind: 'use', growTo: null }],
    ['too small', 'grown', image({}, 10), false, { kind: 'use', growTo: SIZE }],
    ['missing at the first start', 'made', null, true, { kind: 'create' }],
    ['missing later', 'refused', null, false, { kind: 'refuse' }],
    ["the operator's own at the first start", 'used and stamped', image(null), true, { kind: 'use', stamp: true }],
    ['without a stamp later', 'refused', image(null), false, { kind: 'refuse' }],
    ['overwritten by a resync', 'refused, even at a first start', image({ state: 'stale' }), true, { kind: 'refuse' }],
    ['with overlays that are not merged', 'refused alone', image({ state: 'merging' }), false, { kind: 'refuse' }],
    ['of another VM', 'refused', image({ uid: vmUid('other') }), true, { kind: 'refuse' }],
    ['too large', 'refused', image({}, 100), true, { kind: 'refuse' }],
  ] as const)('%s -> %s', (_situation, _outcome, seen, create, expected) => {
    expect(planBoot('/raw', seen, UID, SIZE, create)).toMatchObject(expected);
  });
});

describe("the image of a secondary's parent", () => {
  it.each([
    ['missing', 'made', null, false, 'create'],
    ['of the right size', 'used, whatever it holds', image({ state: 'stale' }), false, 'use'],
    ['too small', 'grown', image({}, 10), false, 'grow'],
    ['too large', 'made anew, because a resync fills it anyway', image({}, 100), false, 'recreate'],
    ['of another VM', 'refused', image({ uid: vmUid('other') }), false, 'refuse'],
    ['missing at a cold start from identical images', 'refused', null, true, 'refuse'],
    ['of another size at a cold start', 'refused', image(null, 10), true, 'refuse'],
  ] as const)('%s -> %s', (_situation, _outcome, seen, identical, expected) => {
    expect(planParent('/raw', seen, UID, SIZE, identical).kind).toBe(expected);
  });
});

describe('names', () => {
  const folders = { stateDir: '/s', runtimeDir: '/r' };
  const two = aSpec({ disks: [...aSpec().disks, { sizeBytes: 1, path: '/own.raw', source: null }] });

  it('of the chains of two disks -> are cut at each raw parent', () => {
    const flat = mergingImages(folders, two, epoch(3));
    const chains = chainsOf(folders, two, flat);
    expect(chains).toEqual({
      ok: true,
      value: [
        ['/s/vms/web/active0-3.qcow2', '/s/vms/web/hidden0-3.qcow2', '/s/vms/web/disk0.raw'],
        ['/s/vms/web/active1-3.qcow2', '/s/vms/web/hidden1-3.qcow2', '/own.raw'],
      ],
    });
  });

  it('that are no chains of this VM -> are refused', () => {
    expect(chainsOf(folders, two, ['/s/vms/web/disk0.raw']).ok).toBe(false);
    expect(chainsOf(folders, aSpec(), ['/elsewhere.raw']).ok).toBe(false);
  });

  it('of taps -> fit into an interface name and differ by birth and NIC', () => {
    const names = [tapName(UID, epoch(2), 0), tapName(UID, epoch(3), 0), tapName(UID, epoch(2), 1), tapName(UID, epoch(2), 12)];
    expect(new Set(names).size).toBe(names.length);
    for (const name of names) expect(name.length).toBeLessThanOrEqual(15);
  });

  it('of sockets that the kernel would not take -> are refused with the reason', () => {
    expect(checkSocketPaths({ stateDir: '/s', runtimeDir: `/${'x'.repeat(90)}` }, 'web', epoch(3))).toMatchObject({
      ok: false,
      error: expect.stringContaining('107') as string,
    });
    expect(checkSocketPaths({ stateDir: '/s', runtimeDir: '/run/colo-ha' }, 'web', epoch(3)).ok).toBe(true);
  });
});
