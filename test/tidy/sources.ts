// The sources as the tidiness tests see them: which files there are, what each imports, and which names it uses.

import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import ts from 'typescript';

export interface Source {
  /** From the top of the tree, with forward slashes. */
  readonly path: string;
  readonly text: string;
  /** Files of the tree that it imports, as paths like its own. */
  readonly files: readonly string[];
  /** Packages and `node:` modules that it imports. */
  readonly packages: readonly string[];
}

/** Text files of the tree: what git follows, and what is new and not ignored. */
export function treeFiles(): readonly string[] {
  const listed = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], { encoding: 'utf8' });
  return listed.split('\n').filter((path) => path !== '' && existsSync(path));
}

export function readSources(): readonly Source[] {
  return treeFiles()
    .filter((path) => path.endsWith('.ts') && /^(agent|coordinator|shared|deploy|test)\//.test(path))
    .map((path) => {
      const text = readFileSync(path, 'utf8');
      const imports = ts.preProcessFile(text).importedFiles.map((each) => each.fileName);
      return {
        path,
        text,
        files: imports.filter((each) => each.startsWith('.')).map((each) => normalize(join(dirname(path), each)).replace(/\.js$/, '.ts')),
        packages: imports.filter((each) => !each.startsWith('.')),
      };
    });
}

/** Every free name that a file uses, as `Date` or `Math.random`, with its line. Names of properties, and those that the file declares itself, do not count. */
export function usedNames(source: Source): readonly { readonly name: string; readonly line: number }[] {
  const file = ts.createSourceFile(source.path, source.text, ts.ScriptTarget.Latest, true);
  const found: { name: string; line: number }[] = [];
  const own = new Set<string>();
  const visit = (node: ts.Node): void => {
    if ((ts.isVariableDeclaration(node) || ts.isBindingElement(node) || ts.isParameter(node)) && ts.isIdentifier(node.name))
      own.add(node.name.text);
    if (ts.isIdentifier(node) && isFree(node)) {
      const line = file.getLineAndCharacterOfPosition(node.getStart()).line + 1;
      const member = ts.isPropertyAccessExpression(node.parent) && node.parent.expression === node ? `.${node.parent.name.text}` : '';
      found.push({ name: node.text, line }, ...(member === '' ? [] : [{ name: `${node.text}${member}`, line }]));
    }
    ts.forEachChild(node, visit);
  };
  visit(file);
  return found.filter(({ name }) => !own.has(name.split('.')[0] ?? name));
}

function isFree(node: ts.Identifier): boolean {
  const { parent } = node;
  if (ts.isPropertyAccessExpression(parent)) return parent.expression === node;
  const isKey =
    ts.isPropertyAssignment(parent) ||
    ts.isPropertySignature(parent) ||
    ts.isPropertyDeclaration(parent) ||
    ts.isMethodSignature(parent) ||
    ts.isMethodDeclaration(parent);
  if (isKey && parent.name === node) return false;
  return !(ts.isParameter(parent) && parent.name === node);
}
