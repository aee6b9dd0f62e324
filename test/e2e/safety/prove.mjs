// Proves that the tests of the rules of safety can fail: for each rule that is named (all of them otherwise) the product is copied, the rule
// is taken out of the copy, and its test is run there. Says for each whether the test failed, as it must, and ends with 1 if one did not.

import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync, mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
const SOURCES = ['agent', 'coordinator', 'shared', 'deploy', 'test', 'proto', 'package.json', 'tsconfig.json'];
/** What runs as programs of their own. */
const BUILT = ['agent', 'coordinator', 'shared', 'deploy', 'test/bench'];
const OPTIONS = { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext, verbatimModuleSyntax: true, isolatedModules: true };
const RUN_MS = 900_000;

const transpile = (file) => ts.transpileModule(readFileSync(file, 'utf8'), { fileName: file, compilerOptions: OPTIONS }).outputText;

async function rules() {
  const folder = mkdtempSync('/tmp/colo-rules-');
  const file = join(folder, 'rules.mjs');
  writeFileSync(file, transpile(join(ROOT, 'test/e2e/safety/rules.ts')));
  const { RULES } = await import(file);
  rmSync(folder, { recursive: true });
  return RULES;
}

/** @returns the folder of a copy of the tree, built, with those changes */
function copyWithout(changes) {
  const folder = mkdtempSync('/tmp/colo-without-');
  for (const each of SOURCES) cpSync(join(ROOT, each), join(folder, each), { recursive: true });
  symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
  for (const { file, find, replace } of changes) {
    const text = readFileSync(join(folder, file), 'utf8');
    if (text.split(find).length !== 2) throw new Error(`${file} does not contain once: ${find}`);
    writeFileSync(
      join(folder, file),
      text.replace(find, () => replace),
    );
  }
  for (const tree of BUILT) {
    for (const path of readdirSync(join(folder, tree), { recursive: true, encoding: 'utf8' }).filter((each) => each.endsWith('.ts'))) {
      const out = join(folder, 'dist', tree, path.replace(/\.ts$/, '.js'));
      mkdirSync(dirname(out), { recursive: true });
      writeFileSync(out, transpile(join(folder, tree, path)));
    }
  }
  return folder;
}

function failsWithout(rule) {
  const folder = copyWithout(rule.without);
  const report = join(folder, 'report.json');
  const only = rule.needsThoseBefore ? [] : ['-t', rule.test.name.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')];
  const config = ['--config', 'test/vitest.e2e.config.ts', '--bail=1', '--reporter=json', `--outputFile=${report}`];
  spawnSync(process.execPath, ['node_modules/vitest/vitest.mjs', 'run', ...config, rule.test.file, ...only], {
    cwd: folder,
    stdio: ['ignore', 'ignore', 'inherit'],
    timeout: RUN_MS,
  });
  const results = JSON.parse(readFileSync(report, 'utf8')).testResults.flatMap((each) => each.assertionResults);
  rmSync(folder, { recursive: true });
  const failed = results.filter((each) => each.status === 'failed');
  const its = failed.find((each) => `${each.fullName} ${each.title}`.includes(rule.test.name));
  if (its !== undefined) return { proven: true, said: String(its.failureMessages[0]).split('\n')[0] };
  const others = failed.map((each) => `another test failed: ${each.title}: ${String(each.failureMessages[0]).split('\n')[0]}`);
  const passed = results.filter((each) => each.status === 'passed').length;
  return {
    proven: false,
    said: others[0] ?? (passed === 0 ? 'no test has that name, or its cluster did not come up' : `${passed} passed`),
  };
}

const wanted = process.argv.slice(2).map(Number);
let unproven = 0;
for (const rule of await rules()) {
  if (wanted.length > 0 && !wanted.includes(rule.number)) continue;
  const { proven, said } = failsWithout(rule);
  if (!proven) unproven += 1;
  console.log(`rule ${rule.number} (${rule.rule}): ${proven ? 'its test fails without it' : 'NOT PROVEN'}: ${said}`);
}
process.exit(unproven > 0 ? 1 : 0);
