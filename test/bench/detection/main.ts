// How fast a pair is judged silent, and how often wrongly. As root: `node dist/test/bench/detection/main.js [rounds] [seconds]`.

import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { allWell, falseAlarmsWithin, FAULTS, round } from './rounds.js';
import { HOSTS, Stage } from './stage.js';

const folder = fileURLToPath(new URL('.', import.meta.url));
const [rounds = 20, seconds = 120] = process.argv.slice(2).map(Number);

function figures(values: readonly number[]): string {
  if (values.length === 0) return '-';
  const sorted = [...values].sort((one, two) => one - two);
  const at = (share: number): string => (sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0).toFixed(0);
  return `p50 ${at(0.5)}, max ${at(1)}, n=${sorted.length}`;
}

function lateness(stage: Stage, from: readonly number[]): string {
  return HOSTS.map((host, k) => {
    const lines = stage
      .watcher(host)
      .lines.slice(from[k])
      .filter((line) => line.kind === 'lateness');
    const late = lines.flatMap((line) => line.latenessMs).sort((one, two) => one - two);
    const [first, last] = [lines[0], lines.at(-1)];
    const share = first && last && last.atMs > first.atMs ? (100 * (last.cpuMs - first.cpuMs)) / (last.atMs - first.atMs) : 0;
    return `${host}: beats late by p50 ${late[Math.floor(late.length / 2)] ?? 0} ms, p99 ${late[Math.floor(0.99 * late.length)] ?? 0}, max ${late.at(-1) ?? 0}; ${share.toFixed(1)} % of a core`;
  }).join(' | ');
}

async function falseAlarms(stage: Stage, what: string): Promise<void> {
  const from = HOSTS.map((host) => stage.watcher(host).lines.length);
  const alarms = await falseAlarmsWithin(stage, seconds * 1_000);
  const doubts = HOSTS.map((host, k) =>
    stage
      .watcher(host)
      .lines.slice(from[k])
      .filter((line) => line.kind === 'judged' && line.state === 'unknown'),
  );
  console.log(`${what}, ${seconds} s: ${alarms} false alarms, ${doubts.flat().length} doubts; ${lateness(stage, from)}`);
}

async function measure(): Promise<void> {
  const stage = new Stage(folder);
  const burners: ReturnType<typeof spawn>[] = [];
  try {
    await stage.raise();
    for (const fault of FAULTS) {
      const done = [];
      for (let k = 0; k < rounds; k += 1) done.push(await round(stage, fault));
      const alarms = done.reduce((sum, each) => sum + each.falseAlarms, 0);
      console.log(
        `${fault.name}: silent after ms ${figures(done.flatMap((each) => each.silentMs))}; filter after ${figures(done.flatMap((each) => each.silencedMs))}; false alarms ${alarms} of ${rounds} rounds`,
      );
    }
    await stage.lose(5);
    await falseAlarms(stage, '5 % of all frames lost');
    stage.watcher('b').child.kill('SIGKILL');
    await falseAlarms(stage, '5 % lost and the agent of b dead');
    stage.start('b');
    await stage.heal();
    await allWell(stage);
    for (let k = 0; k < 2; k += 1) burners.push(spawn(process.execPath, ['-e', 'for(;;);'], { stdio: 'ignore' }));
    await falseAlarms(stage, 'two busy loops');
  } finally {
    for (const burner of burners) burner.kill('SIGKILL');
    await stage.lower();
  }
}

await measure();
process.exit();
