// The floors of the heartbeats' configuration, with the message that an operator reads.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { describeProblems, loadAgentConfig } from '../../../shared/io/config.js';

function load(heartbeat: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'heartbeat-'));
  try {
    const file = join(folder, 'agent.yaml');
    const rest =
      'cluster: c\nhost: a\nlisten: 10.0.0.1:7400\nreplicationAddress: 10.0.0.1\netcd: { endpoints: ["http://10.0.0.1:2379"] }\ninsecureLab: true\n';
    writeFileSync(file, `${rest}${heartbeat}\n`);
    const loaded = loadAgentConfig(file);
    return loaded.ok ? JSON.stringify(loaded.value.heartbeat) : describeProblems(loaded.error).replaceAll(file, 'file');
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

describe('the configuration of heartbeats', () => {
  it.each([
    ['', /"port":7401,"intervalMs":50,"suspectAfterMs":300/],
    ['heartbeat: { intervalMs: 10 }', /^file:7: heartbeat.intervalMs: must be at least 20: a busy machine/],
    ['heartbeat: { suspectAfterMs: 100, intervalMs: 20 }', /heartbeat.suspectAfterMs: must be at least 200: a shorter silence/],
    ['heartbeat: { intervalMs: 100 }', /heartbeat.suspectAfterMs: must be at least 5 times intervalMs/],
    ['heartbeat: { interval: 100 }', /heartbeat.interval: unknown key/],
  ])('"%s" -> read, or refused with the key and the reason', (text, expected) => {
    expect(load(text)).toMatch(expected);
  });
});
