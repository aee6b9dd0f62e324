// One minute of chaos with a plan that is always the same: `npm run chaos -- --minutes M --seed S` does more of it. Never tried again when it
// fails: it has found something, and says where the evidence is.

import { describe, expect, it } from 'vitest';
import { runChaos } from '../../chaos/run.js';
import { missing, useCluster, VM } from '../cluster/stage.js';

/** No round of its first minute breaks a pair twice, so that no guest may begin anew and no connection end; 15 of the 19 kinds are in it. */
const SEED = 1529;
const MINUTES = 1;

const why = missing();
if (why !== null) console.warn(`skipped: ${why}`);

describe.skipIf(why !== null)('a cluster under random faults', () => {
  const cluster = useCluster(import.meta.url);

  it(`for ${MINUTES} minute by the plan of seed ${SEED} -> breaks no rule that its clients, its papers and its disk could tell of`, async () => {
    const { violations, summary, folder } = await runChaos({
      plan: cluster(),
      vm: VM,
      seed: SEED,
      minutes: MINUTES,
      report: (line) => console.log(line),
    });
    console.log(summary);
    expect(violations, `the evidence is in ${folder ?? 'no folder'}`).toEqual([]);
  });
});
