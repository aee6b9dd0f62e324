// Makes plain JavaScript of the sources that the simulator runs, into dist/sim/<name>, one file for one, so that a run starts at once and
// a mutated copy can lie beside the true one. A change is a text of one source and what stands there instead; a text that is not found,
// or is found twice, is an error, because then the proof would prove nothing.

import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

export const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const TREES = ['shared', 'coordinator', 'agent', 'test/sim'];

/** @param {string} name @param {readonly {file: string, find: string, replace: string}[]} changes @returns the folder of the copy */
export function build(name, changes = []) {
  const target = join(ROOT, 'dist', 'sim', name);
  if (changes.length > 0) {
    // All that is not changed is taken from the copy of the sources as they are.
    rmSync(target, { recursive: true, force: true });
    cpSync(build('main'), target, { recursive: true, preserveTimestamps: true });
  }
  for (const file of TREES.flatMap((tree) => sources(tree))) {
    const own = changes.filter((each) => each.file === file);
    const out = join(target, file.replace(/\.ts$/, '.js'));
    if (own.length === 0 && isFresh(join(ROOT, file), out)) continue;
    const text = own.reduce((before, change) => changed(file, before, change), readFileSync(join(ROOT, file), 'utf8'));
    mkdirSync(dirname(out), { recursive: true });
    writeFileSync(out, ts.transpileModule(text, { fileName: file, compilerOptions: OPTIONS }).outputText);
  }
  const missing = changes.find((each) => !sources('.', TREES).includes(each.file));
  if (missing !== undefined) throw new Error(`${missing.file} does not exist`);
  return target;
}

const OPTIONS = { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext, verbatimModuleSyntax: true, isolatedModules: true };

function sources(tree, trees = [tree]) {
  return trees.flatMap((each) =>
    readdirSync(join(ROOT, each), { recursive: true, encoding: 'utf8' })
      .filter((path) => path.endsWith('.ts') && !path.endsWith('.test.ts'))
      .map((path) => `${each}/${path}`),
  );
}

function isFresh(source, out) {
  try {
    return statSync(out).mtimeMs > statSync(source).mtimeMs;
  } catch {
    return false;
  }
}

function changed(file, text, { find, replace }) {
  const at = text.indexOf(find);
  if (at < 0) throw new Error(`${file} does not contain: ${find}`);
  if (text.indexOf(find, at + 1) >= 0) throw new Error(`${file} contains more than once: ${find}`);
  return text.replace(find, () => replace);
}
