// The generated code is committed, so that a build needs no compiler for protocol buffers; here it is made again and compared.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

function contents(folder: string): Readonly<Record<string, string>> {
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((each) => each.endsWith('.ts'));
  return Object.fromEntries(files.sort().map((each) => [each, readFileSync(join(folder, each), 'utf8')]));
}

describe('shared/gen', () => {
  it('made again from proto/ -> is what is committed (else: sh shared/generate.sh)', { timeout: 60_000 }, () => {
    const folder = mkdtempSync(join(tmpdir(), 'colo-gen-'));
    try {
      execFileSync('sh', ['shared/generate.sh', folder], { stdio: 'pipe' });
      const fresh = contents(folder);
      const committed = contents('shared/gen');
      expect(Object.keys(committed)).toEqual(Object.keys(fresh));
      for (const [file, text] of Object.entries(fresh)) expect(committed[file] === text, `${file} is stale`).toBe(true);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});
