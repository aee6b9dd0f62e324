// Facts from the answers of a real QEMU 11.1, recorded on the two-host stage of test/e2e/procedures (block nodes shortened).

import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { factsFrom, filterQueries, type QemuFacts } from '../../../agent/core/facts.js';
import { blockGraph, diskFacts } from '../../../agent/core/facts-disk.js';
import { vmNames } from '../../../agent/core/names.js';
import type { Json } from '../../../agent/core/procedures/port.js';

type Recorded = Readonly<Record<string, { readonly first: readonly Json[]; readonly second: readonly Json[] }>>;
const recorded = JSON.parse(readFileSync(new URL('../../fixtures/qemu-facts.json', import.meta.url), 'utf8')) as Recorded;
const names = vmNames(1, 1);

function facts(situation: string): QemuFacts {
  const answers = recorded[situation];
  if (answers === undefined) throw new Error(`no record of ${situation}`);
  return factsFrom(answers.first, answers.second, names);
}

const connected = (all: QemuFacts, id: string): boolean | undefined => all.chardevs.find((each) => each.id === id)?.connected;

describe('facts', () => {
  test('primary in a pair -> its filters are on, its chardevs connected, its disk has a peer', () => {
    const all = facts('primary in a pair');
    expect(all).toMatchObject({ role: 'primary', running: true, colo: { mode: 'primary' }, replication: 'clean', rewriters: [] });
    expect(all.filters.map((each) => each.id)).toEqual(['m0', 'redire0', 'redire1', 'comp0']);
    expect(all.filters.every((each) => each.on && each.vnetHdr)).toBe(true);
    expect([connected(all, 'mirror0'), connected(all, 'compare1')]).toEqual([true, true]);
    expect(all.disks).toEqual([{ present: true, images: ['/srv/a/disk0.raw'], peer: 'replication', innerJob: false }]);
  });

  test('secondary in a pair -> its data is a chain', () => {
    const all = facts('secondary in a pair');
    expect(all).toMatchObject({ role: 'secondary', colo: { mode: 'secondary' }, exports: ['parent0'], replication: 'clean' });
    expect(all.disks[0]).toMatchObject({ images: ['/srv/b/active0.qcow2', '/srv/b/hidden0.qcow2', '/srv/b/disk0.raw'], innerJob: true });
  });

  test('primary whose secondary died -> QEMU still says colo, its chardevs and its replication say the truth', () => {
    const all = facts('primary whose secondary died');
    expect(all).toMatchObject({ role: 'primary', colo: { mode: 'primary', reason: 'none' }, migration: { status: 'colo' } });
    expect([connected(all, 'mirror0'), connected(all, 'compare1'), all.replication]).toEqual([false, false, 'error']);
  });

  test('alone after primary failover -> nothing of the pair is left', () => {
    const all = facts('alone after primary failover');
    expect(all).toMatchObject({
      role: 'alone',
      colo: { mode: 'none', lastMode: 'primary', reason: 'request' },
      filters: [],
      replication: 'none',
    });
    expect(all.disks[0]).toMatchObject({ peer: 'none', images: ['/srv/a/disk0.raw'] });
  });

  test('secondary that waits -> a secondary already, and its replication that does not run yet is no error', () => {
    expect(facts('secondary that waits')).toMatchObject({
      role: 'secondary',
      runstate: 'inmigrate',
      replication: 'none',
      exports: ['parent0'],
    });
  });

  test('live protection -> the peer is a plain NBD node', () => {
    expect(facts('primary in a pair with a plain NBD child').disks[0]).toMatchObject({ peer: 'nbd' });
  });

  test('alone after secondary failover -> merged into its parent, and the rewriter stays', () => {
    const all = facts('alone after secondary failover');
    expect(all).toMatchObject({ role: 'alone', rewriters: ['rew0'], colo: { lastMode: 'secondary', reason: 'request' } });
    expect(all.disks[0]).toEqual({ present: true, images: ['/srv/b/disk0.raw'], peer: 'none', innerJob: false });
  });

  test('a filter without vnet_hdr_support or switched off -> seen', () => {
    const answers = recorded['primary in a pair'];
    const second: readonly Json[] = ['off', false, 'on', true, 'on', true, true];
    const all = factsFrom(answers?.first ?? [], second, names);
    expect(all.filters[0]).toEqual({ id: 'm0', on: false, vnetHdr: false });
    expect(filterQueries(answers?.first ?? [], names)).toHaveLength(second.length);
  });

  test('a filter left over from a broken attempt -> not alone', () => {
    const answers = recorded['alone after primary failover'];
    const first = [...(answers?.first ?? [])];
    first[3] = [{ name: 'redire1', type: 'child<filter-redirector>' }];
    expect(factsFrom(first, ['on', true], names).role).toBe('primary');
  });
});

describe('a merge after secondary failover', () => {
  const vertex = (id: number, type: string, name: string): Json => ({ id, type, name });
  const edge = (parent: number, child: number, name: string): Json => ({ parent, child, name });
  const node = (name: string, drv: string, file: string): Json => ({ 'node-name': name, drv, file });
  const nodes = [
    node('q', 'quorum', ''),
    node('r', 'replication', ''),
    node('top', 'mirror_top', ''),
    node('act', 'qcow2', ''),
    node('actf', 'file', '/srv/active'),
    node('hid', 'qcow2', ''),
    node('hidf', 'file', '/srv/hidden'),
    node('raw', 'raw', ''),
    node('rawf', 'file', '/srv/parent'),
  ];
  const graph = (job: boolean): Json => ({
    nodes: [
      vertex(1, 'block-backend', 'colo-disk0'),
      ...['q', 'r', 'top', 'act', 'actf', 'hid', 'hidf', 'raw', 'rawf'].map((name, k) => vertex(k + 2, 'block-driver', name)),
      ...(job ? [vertex(20, 'block-job', '')] : []),
    ],
    edges: [
      edge(1, 2, 'root'),
      edge(2, 3, 'children.0'),
      edge(3, 4, 'file'),
      edge(4, 5, 'backing'),
      edge(5, 6, 'file'),
      edge(5, 7, 'backing'),
      edge(7, 8, 'file'),
      edge(7, 9, 'backing'),
      edge(9, 10, 'file'),
      ...(job ? [edge(20, 5, 'main node')] : []),
    ],
  });
  const [disk] = names.disks;

  test.each([
    ['under way', true],
    ['cut off by a stop', false],
  ])('%s -> the whole chain, topmost first', (_, job) => {
    const found = disk === undefined ? null : diskFacts(disk, blockGraph(nodes, graph(job)));
    expect(found).toEqual({ present: true, images: ['/srv/active', '/srv/hidden', '/srv/parent'], peer: 'none', innerJob: job });
  });

  test('answers that make no sense -> absent, never a throw', () => {
    expect(disk === undefined ? null : diskFacts(disk, blockGraph(null, { nodes: 3 }))).toMatchObject({ present: false });
  });
});
