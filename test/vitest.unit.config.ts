// Unit tests and tidiness: fast, in parallel, without root, network or QEMU.

import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  root: fileURLToPath(new URL('..', import.meta.url)),
  test: { include: ['test/unit/**/*.test.ts', 'test/tidy/**/*.test.ts', 'test/sim/**/*.test.ts'], testTimeout: 20_000 },
});
