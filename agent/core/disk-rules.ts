// What may be done with the images of a VM on this host. A stamp beside each image says whose it is and what it is worth: an image that a
// resync has begun to overwrite is torn, and must never be booted, whatever an order says.

import { unreachable } from '../../shared/core/assert.js';
import type { DiskId, Epoch, VmUid } from '../../shared/core/ids.js';
import type { DiskState } from '../../shared/core/model.js';
import { fail, ok, type Result } from '../../shared/core/result.js';

/** Kept beside the image as `<image>.colo-stamp`. */
export interface Stamp {
  readonly format: 1;
  readonly uid: VmUid;
  /** The same for all disks of one VM on one host. */
  readonly diskId: DiskId;
  /** Epoch in which the image got this state; 0 = it is worth nothing (stale). */
  readonly epoch: Epoch;
  readonly state: DiskState;
  /** This disk's chain, topmost first, raw parent last; one name unless it is merging. */
  readonly images: readonly string[];
  /** The chain was found not to be merged and its offline merge has begun: file times say nothing any more. */
  readonly offline: boolean;
}

/** `file` is only for the error's text. A stamp that cannot be read is never guessed at: it may say that the image is torn. */
export function parseStamp(file: string, text: string): Result<Stamp, string> {
  let value: Partial<Record<keyof Stamp, unknown>>;
  try {
    value = Object(JSON.parse(text)) as typeof value;
  } catch {
    return fail(`${file} is not JSON: it was cut off or written over`);
  }
  if (value.format !== 1) return fail(`${file} has the unknown format ${JSON.stringify(value.format) ?? 'of none'}`);
  const { uid, diskId, epoch, state, images, offline } = value;
  const isWhole =
    isText(uid) &&
    isText(diskId) &&
    Number.isSafeInteger(epoch) &&
    Number(epoch) >= 0 &&
    STATES.some((each) => each === state) &&
    Array.isArray(images) &&
    images.every(isText) &&
    typeof offline === 'boolean';
  return isWhole ? ok(value as Stamp) : fail(`${file} lacks a part of a stamp, or has a wrong one`);
}

const STATES: readonly DiskState[] = ['clean', 'merging', 'stale'];
const isText = (value: unknown): value is string => typeof value === 'string' && value !== '';

export interface SeenImage {
  readonly path: string;
  readonly sizeBytes: number;
  readonly stamp: Stamp | null;
}

export type BootPlan =
  /** Use it as it is; `stamp`: it has none yet. */
  | { readonly kind: 'use'; readonly stamp: boolean; readonly growTo: number | null }
  | { readonly kind: 'create' }
  | { readonly kind: 'refuse'; readonly why: string };

/** What to do with a raw image that a guest is to be booted from alone. `image` null = there is no file. */
export function planBoot(path: string, image: SeenImage | null, uid: VmUid, wantedBytes: number, create: boolean): BootPlan {
  if (image === null) {
    return create ? { kind: 'create' } : { kind: 'refuse', why: `${path} does not exist, and this is not the VM's first start` };
  }
  if (image.sizeBytes > wantedBytes) {
    return { kind: 'refuse', why: `${path} has ${image.sizeBytes} bytes, more than the ${wantedBytes} of the disk` };
  }
  const growTo = image.sizeBytes < wantedBytes ? wantedBytes : null;
  const { stamp } = image;
  if (stamp === null) {
    // The operator's own image, named in the spec and never used by us. On a later start a stamp that is missing means another file.
    return create
      ? { kind: 'use', stamp: true, growTo }
      : { kind: 'refuse', why: `${path} carries no stamp of this VM: it is not the disk that the record names` };
  }
  if (stamp.uid !== uid) return { kind: 'refuse', why: foreign(path, stamp) };
  switch (stamp.state) {
    case 'clean':
      return { kind: 'use', stamp: false, growTo };
    case 'merging':
      return { kind: 'refuse', why: `${path} is the parent of a chain that was not merged; it is valid only together with its overlays` };
    case 'stale':
      return { kind: 'refuse', why: `${path} is stale: a resync has overwritten it, or was going to` };
    default:
      return unreachable(stamp.state);
  }
}

export type ParentPlan =
  | { readonly kind: 'use' }
  | { readonly kind: 'create' }
  | { readonly kind: 'recreate' }
  | { readonly kind: 'grow' }
  | { readonly kind: 'refuse'; readonly why: string };

/** What to do with the image that a secondary's parent is to be. `keepContent`: both hosts were given identical images (cold start). */
export function planParent(path: string, image: SeenImage | null, uid: VmUid, wantedBytes: number, keepContent: boolean): ParentPlan {
  if (image === null) {
    return keepContent
      ? { kind: 'refuse', why: `${path} does not exist, and the start is to be from identical images` }
      : { kind: 'create' };
  }
  if (image.stamp !== null && image.stamp.uid !== uid) return { kind: 'refuse', why: foreign(path, image.stamp) };
  if (image.sizeBytes === wantedBytes) return { kind: 'use' };
  if (keepContent)
    return { kind: 'refuse', why: `${path} has ${image.sizeBytes} bytes and the disk ${wantedBytes}: the images are not identical` };
  return image.sizeBytes < wantedBytes ? { kind: 'grow' } : { kind: 'recreate' };
}

function foreign(path: string, stamp: Stamp): string {
  return `${path} belongs to another VM (uid ${stamp.uid}): move it away, or give this VM another path`;
}
