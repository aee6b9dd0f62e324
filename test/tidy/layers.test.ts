// Who may import whom. Thought (core) is kept apart from hands (io), and the two wings from each other, so that the same core and loops run
// in a simulated world; a layer that leaks is found here and not there.

import { describe, expect, it } from 'vitest';
import { readSources, usedNames, type Source } from './sources.js';

type Layer = 'core' | 'loop' | 'io' | 'main' | 'cli' | 'gen' | 'deploy' | 'test';

interface Place {
  readonly wing: 'agent' | 'coordinator' | 'shared' | 'deploy' | 'test';
  readonly layer: Layer;
}

/** A wing's own files are its core, its io, its main, and besides them the loops and ports. */
function placeOf(path: string): Place {
  const [wing, folder] = path.split('/') as [Place['wing'], string];
  if (wing === 'deploy' || wing === 'test') return { wing, layer: wing };
  if (folder === 'core' || folder === 'io' || folder === 'cli' || folder === 'gen') return { wing, layer: folder };
  return { wing, layer: path === `${wing}/main.ts` ? 'main' : 'loop' };
}

/** What each layer may import of its own wing and of shared. */
const OWN: Readonly<Record<Layer, readonly Layer[]>> = {
  core: ['core'],
  loop: ['core', 'loop'],
  io: ['core', 'loop', 'io', 'gen'],
  main: ['core', 'loop', 'io', 'gen'],
  cli: ['cli'],
  gen: ['gen'],
  deploy: ['deploy'],
  test: ['test'],
};
const SHARED: Readonly<Record<Layer, readonly Layer[]>> = {
  core: ['core'],
  loop: ['core', 'loop'],
  io: ['core', 'loop', 'io', 'gen'],
  main: ['core', 'loop', 'io', 'gen'],
  cli: ['core', 'loop', 'io', 'gen'],
  gen: ['gen'],
  deploy: ['core', 'loop', 'io', 'gen'],
  test: ['core', 'loop', 'io', 'gen'],
};
/** Packages in files that otherwise have none. The codec of stored values is a schema, which zod says best. */
const PACKAGES_IN_CORE: Readonly<Record<string, readonly string[]>> = { 'shared/core/codec.ts': ['zod'] };

/** Names that bring the world into code that must run unchanged in a simulated one. */
const WORLDLY = [
  'Date',
  'Math.random',
  'setTimeout',
  'setInterval',
  'setImmediate',
  'process',
  'console',
  'performance',
  'Buffer',
  'fetch',
];

const sources = readSources();
const isPure = (source: Source): boolean => ['core', 'loop'].includes(placeOf(source.path).layer);

function forbiddenImport(from: string, to: string): string | null {
  const [ours, theirs] = [placeOf(from), placeOf(to)];
  if (ours.wing === 'test') return null;
  if (theirs.wing === 'test') return `${from} imports ${to}: nobody imports test`;
  if (theirs.wing === ours.wing)
    return OWN[ours.layer].includes(theirs.layer) ? null : `${from} imports ${to}: ${ours.layer} may not import ${theirs.layer}`;
  if (theirs.wing !== 'shared') return `${from} imports ${to}: ${ours.wing} may not import ${theirs.wing}`;
  return SHARED[ours.layer].includes(theirs.layer) ? null : `${from} imports ${to}: ${ours.layer} may not import ${theirs.layer} of shared`;
}

/** The first way round in a circle, or null. */
function findCycle(graph: ReadonlyMap<string, readonly string[]>): readonly string[] | null {
  const done = new Set<string>();
  const walk = (path: readonly string[], file: string): readonly string[] | null => {
    if (path.includes(file)) return [...path.slice(path.indexOf(file)), file];
    if (done.has(file)) return null;
    for (const next of graph.get(file) ?? []) {
      const cycle = walk([...path, file], next);
      if (cycle !== null) return cycle;
    }
    done.add(file);
    return null;
  };
  for (const file of graph.keys()) {
    const cycle = walk([], file);
    if (cycle !== null) return cycle;
  }
  return null;
}

describe('the layers', () => {
  it('have sources -> the test reads something', () => {
    expect(sources.length).toBeGreaterThan(20);
  });

  it('import each other -> only downwards, and never across the wings', () => {
    expect(sources.flatMap((from) => from.files.map((to) => forbiddenImport(from.path, to))).filter((each) => each !== null)).toEqual([]);
  });

  it('of thought -> import no package and nothing of Node', () => {
    const wrong = sources
      .filter(isPure)
      .flatMap(({ path, packages }) =>
        packages.filter((each) => !(PACKAGES_IN_CORE[path] ?? []).includes(each)).map((each) => `${path} imports ${each}`),
      );
    expect(wrong).toEqual([]);
  });

  it('of thought -> use no clock, no chance, no process and no console', () => {
    const wrong = sources.filter(isPure).flatMap((source) =>
      usedNames(source)
        .filter(({ name }) => WORLDLY.includes(name))
        .map(({ name, line }) => `${source.path}:${line} uses ${name}`),
    );
    expect(wrong).toEqual([]);
  });

  it('import each other -> never in a circle', () => {
    expect(findCycle(new Map(sources.map(({ path, files }) => [path, files])))).toBeNull();
  });

  it('hold a file that only passes on what others export -> it is named', () => {
    const barrels = sources.filter(({ path, text }) => {
      if (path.startsWith('shared/gen/')) return false;
      const code = text.replace(/\/\/.*$/gm, '').replace(/export\s+(type\s+)?(\*|\{[^}]*\})\s*from\s*'[^']*';?/g, '');
      return code.trim() === '' || /(^|\/)index\.ts$/.test(path);
    });
    expect(barrels.map(({ path }) => path)).toEqual([]);
  });

  it.each([
    ['coordinator/core/decide.ts', 'shared/io/clock.ts', /core may not import io/],
    ['agent/core/a.ts', 'coordinator/core/view.ts', /agent may not import coordinator/],
    ['coordinator/loop.ts', 'coordinator/io/api.ts', /loop may not import io/],
    ['coordinator/cli/vm.ts', 'coordinator/core/summary.ts', /cli may not import core/],
    ['shared/io/rpc/client.ts', 'agent/core/a.ts', /shared may not import agent/],
    ['deploy/lab/main.ts', 'test/support/wait.ts', /nobody imports test/],
    ['agent/io/launcher.ts', 'agent/main.ts', /io may not import main/],
  ])('when %s imports %s -> refused', (from, to, why) => {
    expect(forbiddenImport(from, to)).toMatch(why);
  });
});
