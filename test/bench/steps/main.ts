// `npm run bench -- steps`: the agent is killed before and after every step of every procedure of the product, on real QEMU under real
// coordinators, and everything must come to its end exactly once.

import { bringUpVm } from '../../../deploy/lab/lab.js';
import type { LabPlan } from '../../../deploy/lab/plan.js';
import type { QemuVersion } from '../../../deploy/lab/tree.js';
import { onOwnLab, type BenchResult, type Interruption } from '../own-lab.js';
import { table } from '../report.js';
import { Told } from '../told.js';
import { runColdStarts, type ColdResult } from './cold.js';
import { watchAgents, type Lane } from './lane.js';
import { nameOf } from '../traps/trap.js';
import { COURSES, dealtTo, runCourse, some, type Course, type CourseResult, type Pair } from './rounds.js';
import { named, piece, PROCEDURES, trapsOf, type Part } from './table.js';

const HOSTS_A_LANE = 3;
/** The course of cold starts, which has VMs of its own. */
const COLD = 'cold';

export interface StepsOptions extends Interruption {
  readonly qemu: QemuVersion;
  /** Names of courses; all when empty. */
  readonly only: readonly string[];
  /** Parts of the names of places, as in `rollback-protection, before "cont"`; all when empty. */
  readonly steps: readonly string[];
  readonly part: Part;
  readonly report: (line: string) => void;
}

/** Brings up a lab with three hosts for each course, and runs them side by side. */
export async function benchSteps(options: StepsOptions): Promise<BenchResult> {
  const wanted = (name: string): boolean => options.only.length === 0 || options.only.includes(name);
  const courses = COURSES.filter((each) => wanted(each.name));
  const lanesCount = courses.length + (wanted(COLD) ? 1 : 0);
  const { qemu, report, signal, hurry } = options;
  const taken = (pairs: readonly Pair[]): readonly Pair[] => piece(named(pairs, options.steps), options.part);
  const lab = { name: `steps-${process.pid}`, hostCount: HOSTS_A_LANE * Math.max(1, lanesCount), qemu, vm: null, report, signal, hurry };
  return onOwnLab(lab, async (plan) => {
    const told = new Told(plan);
    try {
      const lanes = await raiseLanes(plan, courses, options);
      const cold = laneOf(plan, COLD, courses.length);
      if (wanted(COLD)) await watchAgents(cold);
      const [results, starts] = await Promise.all([
        Promise.all(lanes.map(({ lane, course }) => runCourse(lane, told, some(course, taken), { report, signal }))),
        wanted(COLD)
          ? runColdStarts(
              cold,
              told,
              qemu,
              taken(trapsOf(PROCEDURES.primaryStart))
                .flat()
                .map((trap) => [trap]),
              { report, signal },
            )
          : null,
      ]);
      return summary(courses, results, starts, placesOf(courses, taken, wanted(COLD)));
    } finally {
      told.close();
    }
  });
}

function laneOf(plan: LabPlan, vm: string, number: number): Lane {
  const hosts = plan.hosts.slice(HOSTS_A_LANE * number, HOSTS_A_LANE * (number + 1));
  return { plan, vm, number, hosts, trapFile: `${plan.runFolder}/traps-${vm}.json` };
}

export async function raiseLanes(
  plan: LabPlan,
  courses: readonly Course[],
  options: Pick<StepsOptions, 'qemu' | 'report'>,
): Promise<readonly { readonly lane: Lane; readonly course: Course }[]> {
  const lanes = courses.map((course, number) => ({ lane: laneOf(plan, course.name, number), course }));
  for (const { lane, course } of lanes) {
    await watchAgents(lane);
    const keys = { hosts: lane.hosts.map((host) => host.name), method: course.method };
    await bringUpVm(plan, lane.vm, { ...options, number: lane.number, keys });
  }
  return lanes;
}

/** Every place at which an agent is to be killed, once. */
function placesOf(courses: readonly Course[], taken: (pairs: readonly Pair[]) => readonly Pair[], cold: boolean): readonly string[] {
  const dealt = courses.flatMap((each) => dealtTo(some(each, taken)).flat());
  return [...new Set([...dealt, ...(cold ? taken(trapsOf(PROCEDURES.primaryStart)).flat() : [])].map(nameOf))];
}

function summary(
  courses: readonly Course[],
  results: readonly CourseResult[],
  cold: ColdResult | null,
  places: readonly string[],
): BenchResult {
  const rows = courses.flatMap((course, index) => {
    const rounds = results[index]?.rounds ?? [];
    return [
      { name: `${course.name}: fault -> running alone`, values: rounds.map((each) => each.aloneMs) },
      { name: `${course.name}: client gap`, values: rounds.map((each) => each.gapMs) },
      { name: `${course.name}: fault -> protected again`, values: rounds.map((each) => each.againMs) },
    ];
  });
  if (cold !== null) rows.push({ name: `${COLD}: wish -> protected`, values: [...cold.protectedMs] });
  const kills = [...courses.map((course, index) => `${course.name} ${results[index]?.kills ?? 0}`), `${COLD} ${cold?.kills ?? 0}`].join(
    ', ',
  );
  const met = new Set([...results.flatMap((each) => each.met), ...(cold?.met ?? [])]);
  const missed = places.filter((each) => !met.has(each));
  const problems = [...results.flatMap((each) => each.problems), ...(cold?.problems ?? [])];
  const held = problems.length === 0;
  const reached = `places met: ${places.length - missed.length} of ${places.length}${missed.map((each) => `\n  not met: ${each}`).join('')}`;
  const verdict = held ? 'Every procedure came to its end exactly once.' : ['IT DID NOT HOLD:', ...problems].join('\n  ');
  return { text: `${table('milliseconds', rows)}\nagents killed: ${kills}\n${reached}\n${verdict}\n`, held };
}
