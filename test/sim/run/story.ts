// A story: a world that is written down, what is done to it, and what is then to be read in its log, all as text in one file. The log keeps
// what matters to people: what the record says, who is told what, who is heard, whom the client hears. It has no times, so that a product
// that became quicker or slower tells the same story.

import { arm, perform } from '../faults/commands.js';
import type { Seen } from '../invariants/watchers.js';
import { restProblem } from '../invariants/rest.js';
import { aVm, plainSetup, VERSIONS, type Setup } from '../world/setup.js';
import { World } from '../world/world.js';
import type { ProtectionMethod } from '../../../shared/core/model.js';

export interface Story {
  readonly name: string;
  /** What it is about, for people. */
  readonly about: readonly string[];
  /** `key=value`, each of which changes the plain setup. */
  readonly setup: readonly string[];
  readonly commands: readonly string[];
  readonly log: readonly string[];
}

export interface Told {
  readonly log: readonly string[];
  /** Why it is no good whatever its log: an invariant, or a wait that did not end. */
  readonly problems: readonly string[];
}

const WAIT_MS = 60_000;
const SETTLE_MS = 120_000;
const SETTLED_MS = 250;
const LOOK_MS = 250;
const HEADER = '=== ';
const LOG = '---';

export function parseStories(text: string): readonly Story[] {
  return text
    .split(new RegExp(`^${HEADER}`, 'm'))
    .slice(1)
    .map((part) => {
      const lines = part.trimEnd().split('\n');
      const cut = lines.indexOf(LOG);
      const body = lines.slice(1, cut < 0 ? undefined : cut);
      const about = body.filter((line) => line.startsWith('#')).map((line) => line.slice(1).trim());
      const rest = body.filter((line) => !line.startsWith('#') && line.trim() !== '');
      const setup = rest.filter((line) => line.startsWith('setup ')).flatMap((line) => line.split(' ').slice(1));
      const commands = rest.filter((line) => !line.startsWith('setup '));
      return { name: (lines[0] ?? '').trim(), about, setup, commands, log: cut < 0 ? [] : lines.slice(cut + 1) };
    });
}

export function writeStories(stories: readonly Story[]): string {
  return stories
    .map(({ name, about, setup, commands, log }) =>
      [
        `${HEADER}${name}`,
        ...about.map((line) => `# ${line}`),
        ...(setup.length === 0 ? [] : [`setup ${setup.join(' ')}`]),
        ...commands,
        LOG,
        ...log,
        '',
      ].join('\n'),
    )
    .join('\n');
}

/** Must be called outside any microtask. `goesOn`: what is waited for in vain is no problem, and what comes after it is done all the same. */
export function tellStory(story: Story, seen: (world: World, seen: Seen) => void = () => undefined, goesOn = false): Told {
  const world = new World(setupOf(story.setup));
  const log: string[] = [];
  const problems: string[] = [];
  // How a world comes up is told once, by the story that is about it.
  let comesUp = story.commands[0]?.startsWith('wait ') === true;
  const tell = (line: string): void => {
    if (!comesUp) log.push(line);
  };
  world.trace = (line) => {
    const told = lineOf(line.slice(11));
    if (told !== null) tell(told);
  };
  world.onSeen = (what) => {
    seen(world, what);
    const told = story.setup.includes('tell=edges') ? null : orderOf(what);
    if (told !== null) tell(told);
  };
  const { kernel } = world;
  const lookOn = (): void => {
    world.watchers.lookClosely();
    kernel.after(LOOK_MS, lookOn);
  };
  kernel.after(LOOK_MS, lookOn);
  const isBroken = (): boolean => world.violations.length > 0;
  for (const command of story.commands) {
    if (isBroken() || problems.length > 0) break;
    const problem = carryOut(world, command, tell, isBroken);
    if (problem !== null && (!goesOn || command === 'settle')) problems.push(problem);
    comesUp = false;
  }
  world.watchers.lookClosely();
  return { log: inOrder(log), problems: [...world.violations, ...problems] };
}

/**
 * What happens at several places between two edges of a record has no order of its own, and a product that became a little quicker would
 * change it: there it is sorted, and said once.
 */
function inOrder(log: readonly string[]): readonly string[] {
  const told: string[] = [];
  let between: string[] = [];
  const close = (): void => {
    told.push(...[...new Set(between)].sort());
    between = [];
  };
  for (const line of log) {
    if (!/^(> |VIOLATION|at rest|\S+ \S+@\d+ -> )/.test(line)) between.push(line);
    else {
      close();
      told.push(line);
    }
  }
  close();
  return told;
}

function carryOut(world: World, command: string, tell: (line: string) => void, isBroken: () => boolean): string | null {
  const { kernel } = world;
  const [name = '', ...args] = command.split(' ');
  const say = (line: string): void => tell(`> ${line}`);
  switch (name) {
    case 'wait': {
      const [phase = '', vm = world.setup.vms[0]?.spec.name ?? ''] = args;
      kernel.run(kernel.now + WAIT_MS, () => isBroken() || world.record(vm)?.phase === phase);
      return isBroken() || world.record(vm)?.phase === phase ? null : `${vm} was not ${phase} within ${WAIT_MS / 1_000} s`;
    }
    case 'until': {
      let found = false;
      world.triggers.push({ text: args.join(' '), run: () => (found = true) });
      kernel.run(kernel.now + WAIT_MS, () => isBroken() || found);
      return isBroken() || found ? null : `nothing was read of: ${args.join(' ')}`;
    }
    case 'after':
      say(command);
      kernel.run(kernel.now + Number(args[0]), isBroken);
      return null;
    case 'on': {
      const [text = '', then = ''] = args.join(' ').split(' => ');
      say(command);
      arm(world, text, then);
      return null;
    }
    case 'settle':
      say(command);
      return settle(world, isBroken, tell);
    default:
      say(command);
      perform(world, command);
      return null;
  }
}

/** All faults end, and every VM must come to be as it is wanted, or say why not. */
function settle(world: World, isBroken: () => boolean, tell: (line: string) => void): string | null {
  const { kernel } = world;
  perform(world, 'heal');
  const since = kernel.now;
  let restedAt = Infinity;
  const problem = (): string | null =>
    world.setup.vms.map(({ spec }) => restProblem(world, spec.name, since)).find((each) => each !== null) ?? null;
  const isHeld = (): boolean => world.setup.vms.every(({ spec }) => ['failed', 'held'].includes(world.record(spec.name)?.phase ?? ''));
  while (kernel.now < since + SETTLE_MS && !isBroken()) {
    kernel.run(kernel.now + 50, isBroken);
    if (isHeld() && kernel.now > since + 3_000) break;
    if (problem() !== null) restedAt = Infinity;
    else if (restedAt === Infinity) restedAt = kernel.now;
    else if (kernel.now - restedAt >= SETTLED_MS) break;
  }
  if (isBroken()) return null;
  const left = problem();
  for (const { spec } of world.setup.vms) tell(`at rest ${spec.name}: ${ageless(standing(world, spec.name))}`);
  if (left === null || isHeld()) return null;
  const hold = world.setup.vms.some(({ spec }) => world.leader()?.loop.decisionOf(spec.name)?.hold === true);
  return hold ? null : `not at rest within ${SETTLE_MS / 1_000} s: ${left}`;
}

function standing(world: World, vm: string): string {
  const record = world.record(vm);
  if (record === null) return 'forgotten';
  const sides = [record.primary, record.secondary].flatMap((side) => (side === null ? [] : [`${side.host}#${side.born}`]));
  const decision = world.leader()?.loop.decisionOf(vm) ?? null;
  return `${record.phase}@${record.epoch} ${sides.join(' and ')}${decision?.hold === true ? `, held: ${decision.reason}` : ''}`.trimEnd();
}

/** A line of the event log, as a story tells it; null = it does not. */
function lineOf(note: string): string | null {
  const edge = /^record (\S+) (\S+)@(\d+) -> (\S+)@(\d+) \[(\S+)\] (.*)$/.exec(note);
  if (edge !== null) {
    const [, vm, from, was, to, is, row, reason = ''] = edge;
    return was === is ? null : `${vm} ${from}@${was} -> ${to}@${is} [${row}] ${ageless(reason)}`;
  }
  if (/^row (disk-noted|forget|late|adopting) of/.test(note)) return note;
  if (/ (launched as|ends:|is heard)|^(struck|nobody) /.test(note) || note.startsWith('client of') || note.startsWith('VIOLATION'))
    return note;
  const died = /^(.*) dies: (crash (?:before|after) )(.*)$/.exec(note);
  if (died !== null) return `${died[1]} dies: ${died[2]}${(died[3] ?? '').slice(0, 80)}`;
  return / dies: | starts$/.test(note) ? note : null;
}

function orderOf({ process, event, fields }: Seen): string | null {
  const to = `${String(fields['goal'])} of epoch ${String(fields['epoch'])} to ${String(fields['host'])}`;
  switch (event) {
    case 'order-accepted':
      return `${process} orders ${to}`;
    case 'order-refused':
      return `${process} orders ${to}: refused, ${String(fields['refusal'])}`;
    case 'hold':
      return `${process} holds ${String(fields['vm'])} [${String(fields['row'])}] ${ageless(String(fields['reason']))}`;
    case 'leadership-won':
      return `${process} leads`;
    default:
      return null;
  }
}

const ageless = (text: string): string => text.replace(/\d+(\.\d+)? ms\b/g, 'some ms').replace(/\b\d+ s\b/g, 'some s');

function setupOf(words: readonly string[]): Setup {
  const given = new Map(words.map((word) => word.split('=') as [string, string]));
  const number = (key: string, usual: number): number => Number(given.get(key) ?? usual);
  const names = (letter: string, count: number): readonly string[] => Array.from({ length: count }, (_, k) => `${letter}${k + 1}`);
  const version = VERSIONS.find((each) => each.major === number('qemu', 11));
  const vm = {
    method: (given.get('method') ?? 'live') as ProtectionMethod,
    restart: given.get('restart') === 'never' ? ('never' as const) : ('always' as const),
    onPoweroff: given.get('poweroff') === 'restart' ? ('restart' as const) : ('stop' as const),
    checkpointDelayMs: number('delay', 500),
  };
  const coordinators = names('c', number('coordinators', 2));
  const hosts = names('h', number('hosts', 2));
  return plainSetup(number('seed', 1), {
    hosts,
    coordinators: new Map(coordinators.map((name, k) => [name, given.has('together') ? (hosts[k % hosts.length] ?? name) : name])),
    vms: names('vm', number('vms', 1)).map((name) => aVm(name, vm)),
    failoversPerHour: number('budget', 100),
    drift: number('drift', 0),
    members: given.get('members') === 'yes',
    portBlocks: number('blocks', 50),
    ...(version === undefined ? {} : { version }),
  });
}
