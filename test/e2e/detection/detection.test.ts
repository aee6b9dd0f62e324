// Silence on real networks: two hosts and a switch in namespaces, a watcher process on each, real cuts. Few rounds here; the figures come
// from `node dist/test/bench/detection/main.js`.

import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FAULTS, round, type Round } from '../../bench/detection/rounds.js';
import { Stage } from '../../bench/detection/stage.js';

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
