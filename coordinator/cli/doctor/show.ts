// `coloctl doctor`: says what this machine lacks, and ends with a code that an installer can act on.

import { EXIT, type ExitCode } from '../exit-codes.js';
import { coloursOf } from '../text.js';
import type { CliWorld } from '../world.js';
import { examine, type HostFacts } from './checks.js';
import type { Finding, Level } from './finding.js';

export const DOCTOR_OUTPUTS = ['text', 'json'] as const;
export type DoctorOutput = (typeof DOCTOR_OUTPUTS)[number];

const MARK: Readonly<Record<Level, string>> = { good: 'ok', doubtful: 'doubt', missing: 'MISSING' };

/** 0: all is well; 3: works, with doubts; 1: something is missing. */
export function showFindings(world: CliWorld, facts: HostFacts, output: DoctorOutput): ExitCode {
  const findings = examine(facts);
  world.out(output === 'json' ? `${JSON.stringify(findings, null, 2)}\n` : textOf(findings, world.colour));
  if (findings.some((each) => each.level === 'missing')) return EXIT.error;
  return findings.some((each) => each.level === 'doubtful') ? EXIT.degraded : EXIT.ok;
}

function textOf(findings: readonly Finding[], colour: boolean): string {
  const colours = coloursOf(colour);
  const paint: Readonly<Record<Level, (text: string) => string>> = { good: colours.green, doubtful: colours.yellow, missing: colours.red };
  const lines = findings.map(({ about, level, said, hint }) => {
    const line = `${paint[level](MARK[level].padEnd(8))} ${about.padEnd(13)} ${said}`;
    return hint === '' ? line : `${line}\n${' '.repeat(23)}-> ${hint}`;
  });
  const count = (level: Level): number => findings.filter((each) => each.level === level).length;
  const sum =
    count('missing') > 0
      ? `${count('missing')} missing, ${count('doubtful')} doubtful`
      : count('doubtful') > 0
        ? `ready, with ${count('doubtful')} doubtful`
        : 'ready';
  return `${lines.join('\n')}\n\n${sum}\n`;
}
