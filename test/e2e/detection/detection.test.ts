// Silence on real networks: two hosts and a switch in namespaces, a watcher process on each, real cuts. Few rounds here; the figures come
// from `node dist/test/bench/detection/main.js`.

import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { allWell, FAULTS, round, type Round } from '../../bench/detection/rounds.js';
import { machineMs, Stage } from '../../bench/detection/stage.js';
import { waitFor } from '../../support/wait.js';

const built = fileURLToPath(new URL('../../../dist/test/bench/detection/', import.meta.url));
const ROUNDS = 2;
/** A busy machine is slower; safety is what is asserted exactly. */
const SLOW_MS = 2_000;

describe('a pair whose guest is idle', () => {
  const stage = new Stage(built);
  beforeAll(() => stage.raise());
  afterAll(() => stage.lower());

  it.each(FAULTS.map((fault) => [fault.name, fault] as const))(
    '%s -> silent on exactly the sides that are cut off',
    async (_name, fault) => {
      const rounds: Round[] = [];
      for (let k = 0; k < ROUNDS; k += 1) rounds.push(await round(stage, fault));
      expect(rounds.map((each) => each.falseAlarms)).toEqual(rounds.map(() => 0));
      for (const each of rounds) {
        expect(each.silentMs).toHaveLength(fault.silentOn.length);
        expect(Math.max(0, ...each.silentMs)).toBeLessThan(SLOW_MS);
      }
    },
  );
});

describe('a pair between whose hosts a firewall swallows probes', () => {
  const stage = new Stage(built);
  beforeAll(() => stage.raise(true));
  afterAll(() => stage.lower());

  it("agent of b killed -> never silent; link cut -> QEMU's own socket tells the primary", async () => {
    await allWell(stage);
    const killed = FAULTS.find((each) => each.name === 'agent of b killed');
    expect(killed).toBeDefined();
    if (killed !== undefined) expect((await round(stage, killed)).falseAlarms).toBe(0);
    const atMs = machineMs();
    await stage.cutLink();
    const line = await waitFor(() => stage.watcher('a').judgedAfter(atMs, 'silent'), { what: 'silent', boundMs: 10_000, everyMs: 5 });
    expect(line.evidence.join('; ')).toContain('in vain');
    expect(line.evidence.join('; ')).not.toContain('probes');
    console.log(`silent after ${(line.atMs - atMs).toFixed(0)} ms: ${line.evidence.join('; ')}`);
  });
});
