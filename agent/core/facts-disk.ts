// A disk as QEMU has it open: which images hold the guest's data, whether a merge is under way, and what hangs beside it. Read from the
// block graph, because the job that merges a secondary's overlays after its failover has no name and is in no list of jobs.

import type { DiskNames } from './names.js';
import { at } from './procedures/condition.js';
import type { Json } from './procedures/port.js';

export interface DiskFacts {
  /** The quorum is there. */
  readonly present: boolean;
  /** Files that hold the guest's data, topmost first; one when it is clean. */
  readonly images: readonly string[];
  /** Second child of the quorum: the manual's replication driver, the live methods' plain NBD, or none. */
  readonly peer: 'none' | 'replication' | 'nbd';
  /** A nameless job works on this disk: the replication driver merges overlays (or, in a pair, keeps the hidden image). */
  readonly innerJob: boolean;
}

interface Edge {
  readonly parent: number;
  readonly child: number;
  readonly name: string;
}

interface Vertex {
  readonly id: number;
  readonly type: string;
  readonly name: string;
  readonly driver: string;
  readonly file: string;
}

export interface BlockGraph {
  readonly vertices: ReadonlyMap<number, Vertex>;
  readonly edges: readonly Edge[];
  hasDriver(driver: string): boolean;
}

/** Drivers whose file is on a disk or a network, below which there is nothing. */
const LEAVES: readonly string[] = ['file', 'host_device', 'nbd'];
/** Deeper than any chain that COLO makes; a bound for a graph that makes no sense. */
const MAX_DEPTH = 32;

/** From the answers of query-named-block-nodes and x-debug-query-block-graph. */
export function blockGraph(nodes: Json, graph: Json): BlockGraph {
  const named = new Map(list(nodes).map((node) => [string(node, 'node-name'), node]));
  const vertices = new Map(
    list(at(graph, ['nodes'])).map((vertex) => {
      const name = string(vertex, 'name');
      const node = named.get(name) ?? null;
      const id = number(vertex, 'id');
      return [id, { id, type: string(vertex, 'type'), name, driver: string(node, 'drv'), file: string(node, 'file') }] as const;
    }),
  );
  const edges = list(at(graph, ['edges'])).map((edge) => ({
    parent: number(edge, 'parent'),
    child: number(edge, 'child'),
    name: string(edge, 'name'),
  }));
  return { vertices, edges, hasDriver: (driver) => [...vertices.values()].some((vertex) => vertex.driver === driver) };
}

export function diskFacts(names: DiskNames, graph: BlockGraph): DiskFacts {
  const backend = [...graph.vertices.values()].find((vertex) => vertex.type === 'block-backend' && vertex.name === names.quorum);
  const quorum = backend === undefined ? undefined : childOf(graph, backend.id, ['root']);
  if (quorum === undefined) return { present: false, images: [], peer: 'none', innerJob: false };
  const first = childOf(graph, quorum.id, ['children.0']);
  const second = childOf(graph, quorum.id, ['children.1']);
  return {
    present: true,
    images: first === undefined ? [] : imagesBelow(graph, first),
    peer: second === undefined ? 'none' : second.driver === 'nbd' ? 'nbd' : 'replication',
    innerJob: hasInnerJob(graph, quorum.id),
  };
}

/** Filters are passed through; a format node gives the file below it, and then its backing image. */
function imagesBelow(graph: BlockGraph, top: Vertex): readonly string[] {
  const images: string[] = [];
  let here: Vertex | undefined = top;
  for (let depth = 0; here !== undefined && depth < MAX_DEPTH; depth += 1) {
    const file = childOf(graph, here.id, ['file']);
    if (file !== undefined && LEAVES.includes(file.driver)) {
      images.push(file.file);
      here = childOf(graph, here.id, ['backing']);
    } else {
      here = file ?? childOf(graph, here.id, ['backing']);
    }
  }
  return images;
}

function hasInnerJob(graph: BlockGraph, quorum: number): boolean {
  const below = new Set<number>([quorum]);
  for (let depth = 0; depth < MAX_DEPTH; depth += 1) {
    for (const edge of graph.edges) if (below.has(edge.parent)) below.add(edge.child);
  }
  const nameless = [...graph.vertices.values()].filter((vertex) => vertex.type === 'block-job' && vertex.name === '');
  return nameless.some((job) => graph.edges.some((edge) => edge.parent === job.id && below.has(edge.child)));
}

function childOf(graph: BlockGraph, parent: number, names: readonly string[]): Vertex | undefined {
  const edge = graph.edges.find((each) => each.parent === parent && names.includes(each.name));
  return edge === undefined ? undefined : graph.vertices.get(edge.child);
}

function list(value: Json | undefined): readonly Json[] {
  return Array.isArray(value) ? value : [];
}

function string(value: Json, key: string): string {
  const found = at(value, [key]);
  return typeof found === 'string' ? found : '';
}

function number(value: Json, key: string): number {
  const found = at(value, [key]);
  return typeof found === 'number' ? found : -1;
}
