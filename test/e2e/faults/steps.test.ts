// An agent killed in the middle of each of the six procedures, and of what mends a half done one: before the first step, and when what its
// worst step sends is with QEMU. Every step of them is a matter of `npm run bench -- steps`; the stories of the simulator tell all as well.

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Told } from '../../bench/told.js';
import { runColdStarts } from '../../bench/steps/cold.js';
import { round, watchAgents, type Lane } from '../../bench/steps/lane.js';
import { fewOf } from '../../bench/steps/table.js';
import { nameOf, type Trap } from '../../bench/traps/trap.js';
import { bringUpVm } from '../../../deploy/lab/lab.js';
import type { Role } from '../../../deploy/lab/sides.js';
import { missing, QEMU, useCluster, VM } from '../cluster/stage.js';

const ROUND_MS = 400_000;
const UP_MS = 120_000;

/** Who is killed, what agents die in, and where. In this order: a primary that once was a secondary resumes by the other procedure. */
const ROUNDS: readonly (readonly [Role, string, readonly Trap[]])[] = [
  [
    'secondary',
    'the failover, the start of the next secondary, the resume and its rollback',
    fewOf('primaryFailover', 'secondaryStart', 'primaryResume', 'rollback'),
  ],
  ['primary', 'the parting, the failover and the resume', fewOf('secondaryParting', 'secondaryFailover', 'secondaryResume')],
];

const why = missing();
if (why !== null) console.warn(`skipped: ${why}`);

describe.skipIf(why !== null)('an agent that dies at a step', () => {
  const cluster = useCluster(import.meta.url, { vm: false });
  let told: Told | null = null;

  beforeAll(async () => {
    await watchAgents(laneOf(VM, 0));
    await bringUpVm(cluster(), VM, { qemu: QEMU, report: console.log });
    told = new Told(cluster());
  }, UP_MS);

  afterAll(() => told?.close());

  const laneOf = (vm: string, number: number): Lane => {
    const plan = cluster();
    return { plan, vm, number, hosts: plan.hosts, trapFile: `${plan.runFolder}/traps.json` };
  };
  const asked = (): Told => {
    if (told === null) throw new Error('the cluster did not come up');
    return told;
  };

  it.each(ROUNDS)(
    'after a killed %s, in %s -> one verdict, carried out once, the same connection, protected again',
    async (killed, _, traps) => {
      const { sprung, unreached, problems, againMs } = await round(laneOf(VM, 0), asked(), killed, traps);
      console.log(`${sprung.length} agents killed, protected again after ${Math.round(againMs)} ms: ${sprung.map(nameOf).join('; ')}`);
      expect(unreached.map(nameOf)).toEqual([]);
      expect(problems).toEqual([]);
    },
    ROUND_MS,
  );

  it(
    'in the start of a pair from identical images -> protected, each epoch once',
    async () => {
      const each = fewOf('primaryStart').map((trap) => [trap]);
      const listener = { report: console.log, signal: new AbortController().signal };
      const { kills, problems } = await runColdStarts(laneOf('cold', 1), asked(), QEMU, each, listener);
      expect(problems).toEqual([]);
      expect(kills).toBe(each.length);
    },
    ROUND_MS,
  );
});
