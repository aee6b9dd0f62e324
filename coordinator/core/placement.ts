// Where a VM starts, which host becomes its secondary, and which ports an attempt gets. Pure choices over the view; when there is no
// good choice the reason is said in words that an operator can act on.

import { nextEpoch } from '../../shared/core/ids.js';
import type { Ports, VmSpec } from '../../shared/core/model.js';
import { fail, ok, type Result } from '../../shared/core/result.js';
import { OVERLAY_RESERVE_BYTES, PROTECT_BACKOFF_LAST_MS } from '../../shared/core/limits.js';
import type { HostView, VmView } from './view.js';

/** One block holds the ports of one attempt: migration, NBD, and two for each NIC. */
export const PORT_BLOCK = 20;
export const MOST_NICS = (PORT_BLOCK - 2) / 2;

function mayRun(spec: VmSpec, host: string): boolean {
  return spec.hosts.length === 0 || spec.hosts.includes(host);
}

/** In the order that the spec wishes, or by load where it names none. */
function candidates(view: VmView): readonly HostView[] {
  const { spec } = view.wanted;
  const able = view.hosts.filter((each) => mayRun(spec, each.key.host));
  if (spec.hosts.length > 0) return able.sort((x, y) => spec.hosts.indexOf(x.key.host) - spec.hosts.indexOf(y.key.host));
  return able.sort((x, y) => x.sides - y.sides || (x.key.host < y.key.host ? -1 : 1));
}

/**
 * The host for a first or repeated start: where the valid disk is, else the first that is heard. A record without a disk may be that of a pair whose
 * primary died before its disk was told; the image of its secondary is no disk then.
 */
export function placePrimary(view: VmView): Result<HostView, string> {
  const { disk } = view.record;
  if (disk !== null) {
    const home = view.hosts.find((each) => each.key.host === disk.host);
    if (home?.heard === true) return ok(home);
    return fail(`waits for host ${disk.host}, which has the valid disk and is not heard`);
  }
  const heard = candidates(view).filter((each) => each.heard);
  const first = heard.find((each) => each.report?.disk.state !== 'stale');
  if (first !== undefined) return ok(first);
  if (heard.length > 0) {
    const stale = heard.map((each) => each.key.host).join(', ');
    return fail(`waits for a host that has no stale image of it: ${stale} had a secondary there`);
  }
  const names = view.wanted.spec.hosts.join(', ');
  return fail(names === '' ? 'no host is heard: is colo-agent running anywhere?' : `none of its hosts is heard: ${names}`);
}

/** A host for a new secondary beside `primaryHost`. Hosts whose last attempt failed come last, and not before a pause. */
export function placeSecondary(view: VmView, primaryHost: string): Result<HostView, string> {
  const own = view.hosts.find((each) => each.key.host === primaryHost);
  const others = candidates(view).filter((each) => each.key.host !== primaryHost);
  if (others.length === 0) return fail('no second host: protection needs at least one more host in `hosts`');
  const heard = others.filter((each) => each.heard);
  if (heard.length === 0) return fail(`no spare host is heard (${others.map((each) => each.key.host).join(', ')})`);
  const same = heard.filter((each) => own === undefined || each.key.qemuVersion === own.key.qemuVersion);
  if (same.length === 0) {
    const versions = heard.map((each) => `${each.key.host} has ${each.key.qemuVersion}`).join(', ');
    return fail(`no spare host has the primary's QEMU version ${own?.key.qemuVersion ?? '?'}: ${versions}`);
  }
  const roomy = same.filter((each) => each.freeDiskBytes >= neededBytes(view, each));
  if (roomy.length === 0) {
    const lacking = same.map((each) => `${each.key.host} has ${each.freeDiskBytes} of ${neededBytes(view, each)}`).join(', ');
    return fail(`no spare host has enough bytes free for the disks: ${lacking}`);
  }
  const fresh = roomy.filter((each) => each.failedAgoMs === null || each.failedAgoMs >= PROTECT_BACKOFF_LAST_MS);
  // A host that has just lost this VM's QEMU is the last choice while its loss is not explained; with two hosts it is the only one.
  const loser = view.record.verdict?.loser?.host ?? null;
  const choice =
    fresh.find((each) => each.key.host !== loser) ?? fresh[0] ?? [...roomy].sort((x, y) => (y.failedAgoMs ?? 0) - (x.failedAgoMs ?? 0))[0];
  return choice === undefined ? fail('no spare host') : ok(choice);
}

/** Room for the overlays of a secondary, without which its disk fails under it. */
export function overlayBytes(view: VmView): number {
  return view.wanted.spec.disks.reduce((sum, each) => sum + Math.min(each.sizeBytes, OVERLAY_RESERVE_BYTES), 0);
}

/** A raw image that is there has its space already, or gets it when the secondary is made. */
function neededBytes(view: VmView, host: HostView): number {
  const images = view.wanted.spec.disks.reduce((sum, each) => sum + each.sizeBytes, 0);
  const hasImages = host.report !== null && host.report.disk.state !== 'missing';
  return overlayBytes(view) + (hasImages ? 0 : images);
}

/** The next block after the one that this VM used last, passing by those of other VMs: nothing of an earlier attempt knows these ports. */
export function freshPorts(view: VmView): Result<Ports, string> {
  const { first, last } = view.portRange;
  const blocks = Math.floor((last - first + 1) / PORT_BLOCK);
  const before = view.record.ports === null ? startingBlock(view, blocks) : Math.floor((view.record.ports.migration - first) / PORT_BLOCK);
  // The one that was used last comes again only after another one.
  const choices = view.record.ports === null ? blocks : blocks - 1;
  for (let step = 1; step <= choices; step += 1) {
    const base = first + ((((before + step) % blocks) + blocks) % blocks) * PORT_BLOCK;
    if (!view.portBlocksTaken.has(base)) return ok(portsAt(base, view.wanted.spec.nics.length));
  }
  return fail(`no free ports in ${first}-${last}: widen \`ports\` in the coordinators' configuration`);
}

function portsAt(base: number, nics: number): Ports {
  const indexes = Array.from({ length: nics }, (_, index) => index);
  return { migration: base, nbd: base + 1, mirror: indexes.map((k) => base + 2 + 2 * k), compare: indexes.map((k) => base + 3 + 2 * k) };
}

/** Spreads first attempts of many VMs over the range without randomness. */
function startingBlock(view: VmView, blocks: number): number {
  let sum = nextEpoch(view.record.epoch) as number;
  for (const letter of view.wanted.uid) sum = (sum * 31 + letter.charCodeAt(0)) % 1_000_003;
  return sum % blocks;
}
