// What the coordinators tell, asked over gRPC without a program started for each question: a bench that asks ten times a second must not be
// the load that it measures under.

import { members, type LabPlan } from '../../deploy/lab/plan.js';
import { LabError, waitFor } from '../../deploy/lab/command.js';
import { historyShape, statusShape, type HistoryShape, type StatusShape, type VmShape } from '../../coordinator/cli/shapes.js';
import { CoordinatorServiceService as service } from '../../shared/gen/colo/v1/coordinator.js';
import { systemClock } from '../../shared/io/clock.js';
import { systemRandom } from '../../shared/io/random.js';
import { dial, type Line } from '../../shared/io/rpc/client.js';

const CALL_MS = 1_000;
const HISTORY_ENTRIES = 200;

export class Told {
  readonly #lines: readonly Line[];

  constructor(plan: LabPlan) {
    const ports = { clock: systemClock(), random: systemRandom() };
    this.#lines = members(plan).map((host) => dial(ports, host.coordinatorAddress));
  }

  close(): void {
    for (const line of this.#lines) line.close();
  }

  /** Every status that is told now; a coordinator that does not answer within a second has none. */
  async statuses(): Promise<readonly StatusShape[]> {
    const answers = await Promise.all(this.#lines.map((line) => line.call(service.getStatus, {}, CALL_MS)));
    return answers.flatMap((each) => (each.ok ? [statusShape(each.value)] : []));
  }

  /** As the coordinator has it that knows the newest epoch of it. */
  async vm(name: string): Promise<VmShape | null> {
    const found = (await this.statuses()).flatMap((status) => status.vms.filter((each) => each.name === name));
    return [...found].sort((one, other) => other.epoch - one.epoch)[0] ?? null;
  }

  /** Name of the leader, when one says that it is. */
  async leader(): Promise<string | null> {
    return (await this.statuses()).find((each) => each.leader !== null && each.answeredBy === each.leader)?.leader ?? null;
  }

  async untilVm(name: string, what: string, boundMs: number, holds: (vm: VmShape) => boolean): Promise<VmShape> {
    let last = 'no coordinator answered';
    try {
      return await waitFor({ what, boundMs, everyMs: 30 }, async () => {
        const vm = await this.vm(name);
        if (vm === null) return null;
        last = `${vm.phase}, epoch ${vm.epoch}, ${vm.reason}; last error: ${vm.lastError ?? 'none'}; ${vm.sides.map((side) => `${side.host} ${side.qemu} ${side.pair} ${side.task}`).join(', ')}`;
        return holds(vm) ? vm : null;
      });
    } catch {
      throw new LabError(`VM ${name}: not ${what} within ${boundMs} ms; it is ${last}`);
    }
  }

  /** Oldest first, and only what is newer than the epoch. */
  async history(name: string, afterEpoch: number): Promise<readonly HistoryShape[]> {
    for (const line of this.#lines) {
      const answer = await line.call(service.listHistory, { vm: name, limit: HISTORY_ENTRIES, sinceMs: 0 }, CALL_MS);
      if (!answer.ok) continue;
      const entries = answer.value.entries.map(historyShape).filter((entry) => entry.vm === name && entry.epoch > afterEpoch);
      return [...entries].sort((one, other) => one.epoch - other.epoch);
    }
    throw new LabError(`no coordinator told the history of ${name}`);
  }
}
