// Direct calls to the daemons over gRPC, for what a command line is too slow or too well-behaved for: to see within milliseconds what a
// coordinator says, to see each step of an agent, and to give an agent orders that no leader would give.

import type { HostPlan, LabPlan } from '../../../deploy/lab/plan.js';
import { members } from '../../../deploy/lab/plan.js';
import type { Order, OrderAnswer } from '../../../shared/core/model.js';
import { AgentServiceService as agentService, type HostReport } from '../../../shared/gen/colo/v1/agent.js';
import { CoordinatorServiceService as coordinatorService, type Status, type Vm } from '../../../shared/gen/colo/v1/coordinator.js';
import { systemClock } from '../../../shared/io/clock.js';
import { systemRandom } from '../../../shared/io/random.js';
import { dial, type Line } from '../../../shared/io/rpc/client.js';
import { describeRpcError } from '../../../shared/io/rpc/errors.js';
import { answerFromWire, orderToWire } from '../../../shared/io/wire/order.js';
import { waitFor } from '../../support/wait.js';

const CALL_MS = 2_000;
const ports = { clock: systemClock(), random: systemRandom() };

async function onLine<T>(address: string, use: (line: Line) => Promise<T>): Promise<T> {
  const line = dial(ports, address);
  try {
    return await use(line);
  } finally {
    line.close();
  }
}

/** As the first coordinator that answers has it. */
export async function readVm(plan: LabPlan, name: string): Promise<Vm> {
  return waitFor(
    async () => {
      for (const host of members(plan)) {
        const answer = await onLine(host.coordinatorAddress, (line) => line.call(coordinatorService.getVm, { name }, CALL_MS));
        if (answer.ok) return answer.value;
      }
      return null;
    },
    { what: `definition of VM ${name}`, boundMs: 10 * CALL_MS },
  );
}

/** A wish for a VM, by the first coordinator that takes it. */
export async function changeVm(plan: LabPlan, wish: 'startVm' | 'stopVm', name: string): Promise<void> {
  for (const host of members(plan)) {
    const answer = await onLine(host.coordinatorAddress, (line) => line.call(coordinatorService[wish], { name, dryRun: false }, CALL_MS));
    if (answer.ok) return;
  }
  throw new Error(`no coordinator took ${wish} of ${name}`);
}

/** Milliseconds until any coordinator tells a status that is as wished for. */
export async function untilTold(plan: LabPlan, what: string, boundMs: number, wished: (status: Status) => boolean): Promise<number> {
  const began = performance.now();
  const lines = members(plan).map((host) => dial(ports, host.coordinatorAddress));
  let last = 'no coordinator answered';
  try {
    await waitFor(
      async () => {
        const answers = await Promise.all(lines.map((line) => line.call(coordinatorService.getStatus, {}, CALL_MS)));
        const told = answers.flatMap((each) => (each.ok ? [each.value] : []));
        last = JSON.stringify(told);
        return told.some(wished);
      },
      { what, boundMs, everyMs: 10, context: () => last },
    );
  } finally {
    for (const line of lines) line.close();
  }
  return performance.now() - began;
}

export async function reportOf(host: HostPlan): Promise<HostReport> {
  const answer = await onLine(host.agentAddress, (line) => line.call(agentService.getHost, {}, CALL_MS));
  if (!answer.ok) throw new Error(`agent of ${host.name}: ${describeRpcError(answer.error)}`);
  return answer.value;
}

export async function giveOrder(host: HostPlan, order: Order): Promise<OrderAnswer> {
  const answer = await onLine(host.agentAddress, (line) => line.call(agentService.order, orderToWire(order), CALL_MS));
  if (!answer.ok) throw new Error(`agent of ${host.name}: ${describeRpcError(answer.error)}`);
  const read = answerFromWire(answer.value);
  if (!read.ok) throw new Error(read.error.join('; '));
  return read.value;
}

/** Follows the reports of all agents, and acts in the very moment in which one shows what is waited for. */
export class AgentWatch {
  readonly #lines: readonly Line[];
  readonly #seen: string[] = [];
  #waiting: { readonly look: (report: HostReport) => boolean; readonly done: () => void } | null = null;

  constructor(plan: LabPlan) {
    this.#lines = plan.hosts.map((host) => dial(ports, host.agentAddress));
    for (const line of this.#lines) {
      line.follow(
        agentService.watch,
        { intervalMs: 50 },
        { silentAfterMs: null, firstMessageMs: CALL_MS },
        { message: (report) => this.#heard(report), down: () => undefined },
      );
    }
  }

  #heard(report: HostReport): void {
    for (const vm of report.vms) {
      const said = `${report.host}: ${vm.qemu?.kind ?? '?'} ${vm.qemu?.role ?? ''} ${vm.task?.goal ?? ''} ${vm.task?.procedure ?? ''} ${vm.task?.step ?? ''}`;
      if (this.#seen.at(-1) !== said) this.#seen.push(said);
    }
    if (this.#waiting?.look(report) !== true) return;
    const { done } = this.#waiting;
    this.#waiting = null;
    done();
  }

  /** `act` runs as soon as a report is as wished for, before anything else can happen in this process. */
  async when(what: string, boundMs: number, wished: (report: HostReport) => boolean, act: () => void): Promise<void> {
    let happened = false;
    this.#seen.length = 0;
    this.#waiting = {
      look: wished,
      done: () => {
        happened = true;
        act();
      },
    };
    await waitFor(() => happened, { what, boundMs, everyMs: 10, context: () => this.steps().join('\n') });
  }

  /** What the agents said since the last `when` began. */
  steps(): readonly string[] {
    return this.#seen;
  }

  close(): void {
    for (const line of this.#lines) line.close();
  }
}
