// Rules about what agents say of their pairs and what they do to taps meanwhile (SAFETY 8): nobody calls a pair broken that nothing has hurt,
// nor a QEMU hung that answers; a side that looks broken is silenced at once, and speaks again only after a verdict, or when the pair is well.

import type { VmJournal } from '../../../agent/core/journal.js';
import type { PairState } from '../../../shared/core/model.js';
import type { Machine, Qemu } from '../qemu/shapes.js';
import type { Life } from '../world/life.js';
import type { Observed } from './observed.js';

/** From the judgement to the filter at the tap. */
const SILENCED_WITHIN_MS = 100;
/** An agent that has just begun makes its filter ready first. */
const READY_MS = 100;
/** So long after a QEMU stood still its agent may still say so: a probe was on its way. */
const STOOD_STILL_MS = 1_000;
/** The filter changes so long after a judgement that asked for it, in which another judgement may follow. */
const LIFTED_WITHIN_MS = 100;

interface Told {
  readonly life: Life;
  readonly state: PairState;
  /** When this agent last called the pair well, or no pair; until now, if it has not said otherwise since. */
  readonly wellAt: number;
}

export class Words {
  readonly #world: Observed;
  readonly #hurt: ReadonlySet<string>;
  /** `machine vm` -> the last judgement of the agent that lives there. */
  readonly #told = new Map<string, Told>();
  readonly #bornAt = new WeakMap<Life, number>();
  readonly #silencedAt = new Map<string, number>();

  constructor(world: Observed, hurt: ReadonlySet<string>) {
    this.#world = world;
    this.#hurt = hurt;
  }

  /** A line of an agent's log. */
  said(life: Life, event: string, fields: Readonly<Record<string, unknown>>): void {
    const machine = this.#world.machines.get(life.machine);
    if (machine === undefined || !life.name.startsWith('agent ')) return;
    const vm = String(fields['vm']);
    if (event === 'pair-judged') this.#judged(life, machine, vm, fields['pair'] as PairState, fields['evidence']);
    if (event === 'qemu-hung') this.#isHung(machine, vm, Number(fields['born']));
  }

  began(life: Life): void {
    this.#bornAt.set(life, this.#world.kernel.now);
  }

  /** The filter at this host's taps has changed. */
  silenced(machine: Machine, before: ReadonlySet<string>): void {
    for (const tap of machine.silenced) if (!before.has(tap)) this.#silencedAt.set(`${machine.name} ${tap}`, this.#world.kernel.now);
    for (const tap of before) if (!machine.silenced.has(tap)) this.#mayBeHeard(machine, tap);
  }

  #judged(life: Life, machine: Machine, vm: string, state: PairState, evidence: unknown): void {
    const before = this.#told.get(`${machine.name} ${vm}`);
    const wasWellAt = before?.life === life ? Math.min(before.wellAt, this.#world.kernel.now) : -Infinity;
    this.#told.set(`${machine.name} ${vm}`, { life, state, wellAt: state === 'ok' || state === 'none' ? Infinity : wasWellAt });
    if (state !== 'silent' && state !== 'hard') return;
    if (this.#isHalfOfPair(machine, vm) && !this.#hurt.has(vm))
      this.#world.violate(`${machine.name} calls the healthy pair of ${vm} ${state}: ${JSON.stringify(evidence)}`);
    const { kernel } = this.#world;
    const judgedAt = kernel.now;
    const waitMs = Math.max(0, (this.#bornAt.get(life) ?? 0) + READY_MS - judgedAt) + SILENCED_WITHIN_MS;
    kernel.after(waitMs, () => this.#isSilenced(life, machine, vm, judgedAt));
  }

  /** The record calls the QEMU that is here a side of a protected pair; what is left of an earlier one may speak of that. */
  #isHalfOfPair(machine: Machine, vm: string): boolean {
    const record = this.#world.record(vm);
    const born = machine.vmJournals.get(vm)?.qemu?.born;
    const sides = record?.phase === 'protected' ? [record.primary, record.secondary] : [];
    return sides.some((side) => side?.host === machine.name && side.born === born);
  }

  #isSilenced(life: Life, machine: Machine, vm: string, judgedAt: number): void {
    const told = this.#told.get(`${machine.name} ${vm}`);
    const wasPaused = life.paused || life.pausedAt >= judgedAt;
    if (!life.alive || wasPaused || told?.life !== life || (told.state !== 'silent' && told.state !== 'hard')) return;
    const side = sideOf(machine, vm);
    if (side === null || side.taps.every((tap) => machine.silenced.has(tap))) return;
    this.#world.violate(`${side.qemu.name} is called ${told.state} and is not silenced after ${SILENCED_WITHIN_MS} ms`);
  }

  /**
   * The journal of a VM is on disk: who says there that it holds is cut off from the guest's network. Not so a loser that was then named the
   * winner, because the first one was gone. Its tap goes up before its release begins, and `held` stays until the release is proven: it is what
   * tells the next agent to raise the tap, should this one die in between. Whatever else is written meanwhile, such as COLO_EXIT, carries it
   * along. The order to release stands in the same journal, so nobody reads there that this side is quiet.
   */
  journalled(machine: Machine, vm: string): void {
    const journal = machine.vmJournals.get(vm);
    const own = journal?.qemu ?? null;
    if (journal === undefined || isToBeReleased(journal) || own?.held !== true || own.death !== null) return;
    const up = own.taps.find((tap) => machine.taps.get(tap)?.up === true);
    const qemu = machine.running().find((each) => each.vm === vm && each.born === own.born);
    if (up !== undefined && qemu !== undefined) this.#world.violate(`${qemu.name} is said to hold and its tap is up`);
  }

  #mayBeHeard(machine: Machine, tap: string): void {
    for (const vm of machine.vmJournals.keys()) {
      const side = sideOf(machine, vm);
      // A guest that has powered off sends nothing, whatever an earlier agent thought of its pair.
      if (side === null || !side.taps.includes(tap) || side.qemu.runstate === 'shutdown') continue;
      // All that a secondary sends goes to its primary, so its agent lifts a silence at the first sign of life, before it has told anybody.
      if (side.qemu.outputPath() === 'secondary') continue;
      const record = this.#world.record(vm);
      const lost = record?.phase === 'verdict' && record.primary?.host !== machine.name;
      // A pair that has had a checkpoint since lived then, whatever was decided: nobody has let the other side go by that time.
      const lived = side.qemu.resumedAt > (this.#silencedAt.get(`${machine.name} ${tap}`) ?? -Infinity);
      if (lost && !lived && machine.taps.get(tap)?.up === true)
        this.#world.violate(`${side.qemu.name} is not silenced any more, and the verdict is for ${record.primary?.host ?? '?'}`);
      const told = this.#told.get(`${machine.name} ${vm}`);
      if (told?.life.alive === true && this.#world.kernel.now - told.wellAt <= LIFTED_WITHIN_MS) continue;
      this.#world.violate(
        `${side.qemu.name} is not silenced any more, and nothing was decided: its agent says ${told?.state ?? 'nothing'}`,
      );
    }
  }

  #isHung(machine: Machine, vm: string, born: number): void {
    const qemu = machine.running().find((each) => each.vm === vm && each.born === born);
    if (qemu === undefined || qemu.stopped || qemu.hang !== null) return;
    if (this.#world.kernel.now - qemu.stoodStillUntil <= STOOD_STILL_MS) return;
    this.#world.violate(`${machine.name} says that ${qemu.name} hangs, and it answers`);
  }
}

/** The QEMU that is half of a pair and was not told to go on alone; null = there is none. */
function sideOf(machine: Machine, vm: string): { readonly qemu: Qemu; readonly taps: readonly string[] } | null {
  const journal = machine.vmJournals.get(vm);
  const own = journal?.qemu ?? null;
  if (journal === undefined || own === null) return null;
  if (isToBeReleased(journal)) return null;
  const qemu = machine.running().find((each) => each.vm === vm && each.born === own.born);
  if (qemu === undefined || qemu.colo.mode === 'none' || (qemu.outputPath() !== 'secondary' && !qemu.hasFilters())) return null;
  return { qemu, taps: own.taps };
}

function isToBeReleased({ goal }: VmJournal): boolean {
  return goal.kind === 'release-primary' || goal.kind === 'release-secondary';
}
