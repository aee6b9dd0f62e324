// What QEMU answers when it is asked about itself, in the shapes that the agent reads (agent/core/facts.ts). Answers that have not changed
// are the same object, because they are asked for many times a second.

import type { Json, JsonObject } from '../../../agent/core/procedures/port.js';
import type { Qemu } from './shapes.js';

const CAPABILITIES: Json = ['x-colo', 'events', 'return-path', 'pause-before-switchover', 'multifd'].map((capability) => ({
  capability,
  state: false,
}));
const TYPES: Json = ['colo-compare', 'filter-mirror', 'filter-redirector', 'filter-rewriter', 'virtio-net-pci'].map((name) => ({ name }));

/** Null = there is no such query. */
export function query(qemu: Qemu, command: string, args: JsonObject): Json | null {
  const { block } = qemu;
  switch (command) {
    case 'query-status':
      return { running: qemu.runstate === 'running', status: qemu.runstate };
    case 'query-colo-status':
      return { mode: qemu.colo.mode, 'last-mode': qemu.colo.lastMode, reason: qemu.colo.reason };
    case 'query-migrate':
      return qemu.migration === null ? {} : { status: qemu.migration };
    case 'query-chardev':
      return [...qemu.chardevs.values()].map((each) => {
        const connected = each.channel !== null || each.mate !== null;
        const name = each.port === null ? `unix:${each.path}` : `tcp:${each.host}:${each.port}`;
        return { label: each.id, filename: connected ? name : `disconnected:${name}`, 'frontend-open': true };
      });
    case 'qom-list':
      return [
        { name: 'type', type: 'string' },
        ...[...qemu.objects.values()].map((each) => ({ name: each.id, type: `child<${each.type}>` })),
      ];
    case 'qom-get': {
      const object = qemu.objects.get(String(args['path']).replace('/objects/', ''));
      if (object === undefined) return null;
      return args['property'] === 'status' ? (object.on ? 'on' : 'off') : object.vnetHdr;
    }
    case 'query-block':
      return [{ device: 'colo-disk0', 'io-status': block.hasFailedWrite ? 'failed' : 'ok' }];
    case 'query-block-exports':
      return [...(block.server?.exports ?? [])].map((id) => ({ id, type: 'nbd', 'node-name': id, 'shutting-down': false }));
    case 'query-block-jobs':
      return block.job === null
        ? []
        : [{ device: block.job.id, type: 'mirror', ready: block.job.ready, offset: block.job.offset, len: block.job.length }];
    case 'query-named-block-nodes':
      return graphOf(qemu).nodes;
    case 'x-debug-query-block-graph':
      return graphOf(qemu).graph;
    case 'query-xen-replication-status':
      return replication(qemu);
    case 'query-version':
      return { qemu: { ...qemu.world.version } };
    case 'query-migrate-capabilities':
      return CAPABILITIES;
    case 'qom-list-types':
      return TYPES;
    default:
      return null;
  }
}

function replication(qemu: Qemu): Json {
  const { block } = qemu;
  const hasDriver = block.child?.node === 'replication0' || block.nodes.has('replication0') || block.replicationNode !== 'none';
  if (!hasDriver || (qemu.colo.mode === 'none' && block.replicationNode === 'active' && !block.merging)) {
    return { error: true, desc: 'Block replication is not running' };
  }
  if (block.child?.node === 'replication0' && qemu.colo.mode === 'none') return { error: true, desc: 'Block replication is not running' };
  return block.replicationError ? { error: true, desc: 'I/O error occurred' } : { error: false };
}

interface Graph {
  readonly key: string;
  readonly nodes: Json;
  readonly graph: Json;
}

const graphs = new WeakMap<Qemu, Graph>();

function graphOf(qemu: Qemu): Graph {
  const { block } = qemu;
  const key = `${block.chain === null ? '' : 'chain'} ${block.replicationNode} ${block.child?.node ?? ''} ${[...block.nodes.keys()].join()} ${block.merging}`;
  const known = graphs.get(qemu);
  if (known?.key === key) return known;
  const made = { key, ...draw(qemu) };
  graphs.set(qemu, made);
  return made;
}

function draw(qemu: Qemu): { readonly nodes: Json; readonly graph: Json } {
  const { block } = qemu;
  const nodes: JsonObject[] = [];
  const vertices: JsonObject[] = [];
  const edges: JsonObject[] = [];
  const vertex = (type: string, name: string, driver?: string, file?: string): number => {
    const id = vertices.length + 1;
    vertices.push({ id, type, name });
    if (driver !== undefined) nodes.push({ 'node-name': name, drv: driver, file: file ?? '' });
    return id;
  };
  const edge = (parent: number, child: number, name: string): void => void edges.push({ parent, child, name });
  const image = (path: string, format: 'raw' | 'qcow2', name: string): number => {
    const top = vertex('block-driver', name, format, path);
    edge(top, vertex('block-driver', `#file-${name}`, 'file', path), 'file');
    return top;
  };

  const backend = vertex('block-backend', 'colo-disk0');
  const quorum = vertex('block-driver', '#quorum', 'quorum');
  edge(backend, quorum, 'root');
  const parent = image(block.image.path, 'raw', 'parent0');
  let first = parent;
  if (block.replicationNode !== 'none') {
    const driver = vertex('block-driver', 'childs0', 'replication');
    first = driver;
    if (block.chain === null) edge(driver, parent, 'file');
    else {
      const [active, hidden] = block.chain.files.map((path, depth) => image(path, 'qcow2', `#overlay${depth}`));
      edge(driver, active ?? 0, 'file');
      edge(active ?? 0, hidden ?? 0, 'backing');
      edge(hidden ?? 0, parent, 'backing');
      if (block.replicationNode !== 'failed') edge(vertex('block-job', ''), active ?? 0, 'main node');
    }
  }
  edge(quorum, first, 'children.0');
  const nbd = block.nodes.has('nbd0') ? vertex('block-driver', 'nbd0', 'nbd', 'nbd://peer') : null;
  const own = block.nodes.has('replication0') ? vertex('block-driver', 'replication0', 'replication') : null;
  if (own !== null && nbd !== null) edge(own, nbd, 'file');
  const second = block.child?.node === 'replication0' ? own : block.child === null ? null : nbd;
  if (second !== null) edge(quorum, second, 'children.1');
  return { nodes, graph: { nodes: vertices, edges } };
}
