// Hosts in memory behind the Agents port: each obeys orders at once or after a while, and can die, fall silent or fail. It models what an
// agent reports, not what QEMU does; the real thing is tried end to end.

import type { HostLink } from '../../coordinator/core/link.js';
import type { AgentHandlers, Agents, OrderOutcome } from '../../coordinator/ports.js';
import { epoch, hostId, type Epoch } from '../../shared/core/ids.js';
import type { HostKey, HostReport, Order, QemuReport, VmReport } from '../../shared/core/model.js';
import type { Clock } from '../../shared/ports.js';

export interface FakeHost {
  readonly key: HostKey;
  /** Its agent answers and its stream is open. */
  heard: boolean;
  readonly orders: Order[];
  /** Next orders of this kind fail with this error. */
  failing: { kind: string; error: string } | null;
  /** So many orders to come are lost on their way. */
  losing: number;
  vm(name: string): VmReport | undefined;
  set(name: string, change: Partial<VmReport>): void;
  /** SIGKILL of its QEMU. */
  killQemu(name: string): void;
}

export interface FakeAgents extends Agents {
  host(name: string): FakeHost;
}

export function fakeAgents(clock: Clock, names: readonly string[], handlers: AgentHandlers): FakeAgents {
  const hosts = new Map<string, FakeHost>();
  const reports = new Map<string, Map<string, VmReport>>();

  for (const name of names) {
    const vms = new Map<string, VmReport>();
    reports.set(name, vms);
    const host: FakeHost = {
      key: {
        host: name,
        hostId: hostId(`id-${name}`),
        agentAddress: `${name}:1`,
        replicationAddress: `${name}-repl`,
        qemuVersion: '11.1',
        agentVersion: '0',
      },
      heard: true,
      orders: [],
      failing: null,
      losing: 0,
      vm: (vm) => vms.get(vm),
      set: (vm, change) => {
        const before = vms.get(vm);
        if (before === undefined) throw new Error(`${name} has no VM ${vm}`);
        vms.set(vm, { ...before, ...change });
        handlers.changed(name);
      },
      killQemu: (vm) => {
        const report = vms.get(vm);
        if (report === undefined || report.qemu.kind === 'absent') throw new Error(`${name} runs no QEMU of ${vm}`);
        host.set(vm, {
          qemu: { kind: 'dead', born: report.qemu.born, why: 'killed', guestShutdown: false },
          pair: { state: 'none', evidence: [] },
        });
        for (const other of hosts.values()) {
          const paired = other.vm(vm);
          if (other !== host && paired?.qemu.kind === 'alive' && paired.qemu.role !== 'alone')
            other.set(vm, { pair: { state: 'hard', evidence: ['COLO_EXIT'] } });
        }
      },
    };
    hosts.set(name, host);
  }

  function obey(host: FakeHost, order: Order): void {
    const vms = reports.get(host.key.host);
    const { goal, vm } = order;
    const before = vms?.get(vm) ?? fresh(order);
    const base: VmReport = { ...before, term: order.term, epoch: order.epoch, task: { kind: 'idle' } };
    const alive = (born: Epoch, role: 'alone' | 'primary' | 'secondary'): QemuReport => ({
      kind: 'alive',
      born,
      pid: 1,
      role,
      runstate: 'running',
    });
    const put = (report: VmReport): void => {
      vms?.set(vm, report);
      handlers.changed(host.key.host);
    };
    if (host.failing?.kind === goal.kind) {
      put({ ...base, task: { kind: 'failed', goal: goal.kind, epoch: order.epoch, step: 'step', error: host.failing.error } });
      return;
    }
    switch (goal.kind) {
      case 'start-alone':
        return put({ ...base, qemu: alive(goal.born, 'alone'), aloneSince: order.epoch, disk: { ...base.disk, state: 'clean' } });
      case 'start-cold-primary':
        return put({ ...base, qemu: alive(goal.born, 'primary'), readyFor: order.epoch });
      case 'start-secondary':
        return put({ ...base, qemu: alive(goal.born, 'secondary'), readyFor: order.epoch, aloneSince: null });
      case 'protect': {
        put({ ...base, qemu: alive(goal.born, 'primary'), provenFor: order.epoch, aloneSince: null, pair: { state: 'ok', evidence: [] } });
        const peer = hosts.get(goal.peer.host);
        peer?.set(vm, { provenFor: order.epoch, pair: { state: 'ok', evidence: [] } });
        return;
      }
      case 'release-primary':
      case 'release-secondary':
        return put({ ...base, qemu: alive(goal.born, 'alone'), aloneSince: order.epoch, pair: { state: 'none', evidence: [] } });
      case 'hold':
        return put({ ...base, held: true });
      case 'checkpoint':
        return put(base);
      case 'stop':
      case 'destroy':
        return put({
          ...base,
          qemu: { kind: 'absent' },
          aloneSince: null,
          provenFor: null,
          readyFor: null,
          held: false,
          pair: { state: 'none', evidence: [] },
        });
    }
  }

  const link = (host: FakeHost): HostLink => {
    const report: HostReport = {
      host: host.key.host,
      hostId: host.key.hostId,
      session: 's',
      sequence: 1,
      latenessMs: 0,
      incarnation: null,
      vms: [...(reports.get(host.key.host)?.values() ?? [])],
      peersSilentMs: {},
      freeDiskBytes: 1e12,
      etcdSilentMs: 0,
    };
    return { host: host.key.host, heard: host.heard, lastReportAt: clock.now(), report, strange: [] };
  };

  return {
    follow: () => undefined,
    links: () => new Map([...hosts].map(([name, host]) => [name, link(host)])),
    order: (name, order): Promise<OrderOutcome> => {
      const host = hosts.get(name);
      if (host === undefined || !host.heard) return Promise.resolve({ kind: 'lost', detail: 'not heard' });
      host.orders.push(order);
      if (host.losing > 0) {
        host.losing -= 1;
        return Promise.resolve({ kind: 'lost', detail: 'lost on its way' });
      }
      clock.after(1, () => obey(host, order));
      return Promise.resolve({ kind: 'accepted' });
    },
    probe: () => Promise.resolve(),
    close: () => undefined,
    host: (name) => {
      const host = hosts.get(name);
      if (host === undefined) throw new Error(`no host ${name}`);
      return host;
    },
  };
}

function fresh(order: Order): VmReport {
  return {
    vm: order.vm,
    uid: order.uid,
    term: order.term,
    epoch: epoch(0),
    qemu: { kind: 'absent' },
    pair: { state: 'none', evidence: [] },
    aloneSince: null,
    readyFor: null,
    provenFor: null,
    guestShutdown: false,
    held: false,
    coloExited: false,
    unpromotable: null,
    task: { kind: 'idle' },
    disk: {
      diskId: `disk-${order.vm}` as never,
      stampEpoch: null,
      state: 'clean',
      images: ['/d/disk0.raw'],
      replication: 'none',
      localError: false,
    },
    resync: null,
    durationsMs: {},
  };
}
