// A whole cluster in one process: hosts with their agents and QEMUs, coordinators, etcd, clients, and whoever breaks them. It is built from
// a seed and a setup, and everything that can go wrong has a method here; nothing goes wrong by itself.

import { vmRecordCodec, vmWantedCodec, type Codec } from '../../../shared/core/codec.js';
import { vmUid } from '../../../shared/core/ids.js';
import { keysOf, type Keys } from '../../../shared/core/keys.js';
import type { Order, OrderAnswer, VmRecord, VmWanted } from '../../../shared/core/model.js';
import type { KeyValue } from '../../../shared/ports.js';
import { Client } from '../qemu/client.js';
import { SimMachine } from '../qemu/machine.js';
import { rawImage } from '../qemu/host-ports.js';
import { powerOff } from '../qemu/commands.js';
import type { Machine, Qemu, QemuWorld } from '../qemu/shapes.js';
import { Watchers, type Seen } from '../invariants/watchers.js';
import { startAgent, type AgentProcess } from './agent.js';
import { startCoordinator, type CoordinatorProcess } from './coordinator.js';
import { Etcd } from './etcd.js';
import { simulatedStore, type StoreFaults } from './etcd-client.js';
import { memberServer, storeOverMembers } from './etcd-members.js';
import { Kernel } from './kernel.js';
import { Life, WALL_AT_ZERO, type CrashPlan } from './life.js';
import { Network } from './network.js';
import { Rng } from './rng.js';
import type { Setup } from './setup.js';
import { useSimulatedSignals } from './signals.js';

useSimulatedSignals();

const FIRST_PORT = 20_000;
const PORTS_IN_BLOCK = 20;
const RESTART_MS = { least: 50, most: 2_000 };
const BOOT_MS = { least: 500, most: 3_000 };

export class World {
  readonly setup: Setup;
  readonly rng: Rng;
  readonly kernel = new Kernel();
  readonly keys: Keys = keysOf('/colo/sim');
  readonly network: Network;
  readonly etcd: Etcd;
  /** Each process asks another one first. */
  readonly members = ['e1', 'e2', 'e3'].map(memberServer);
  readonly storeFaults: StoreFaults = { slowMember: 0, frozenUntil: new Map() };
  readonly machines = new Map<string, Machine>();
  readonly agents = new Map<string, AgentProcess>();
  readonly coordinators = new Map<string, CoordinatorProcess>();
  readonly clients = new Map<string, Client>();
  readonly watchers: Watchers;
  /** What must never happen and did. The first one ends the run. */
  readonly violations: string[] = [];
  /** Called with each line of the event log; null = nobody reads it. */
  trace: ((line: string) => void) | null = null;
  /** What processes said, for coverage. */
  onSeen: (seen: Seen) => void = () => undefined;
  /** Carried out, once each, when a line of the event log contains their text. */
  readonly triggers: { readonly text: string; readonly run: () => void; readonly lasts?: boolean }[] = [];
  /** For coverage: what each VM's leader last said about it, and who that leader was. */
  readonly lastRow = new Map<string, string>();
  leaderWas = '';
  readonly #qemuWorld: QemuWorld;
  readonly #decoded = new WeakMap<KeyValue, VmRecord | VmWanted | null>();
  readonly #shown = new WeakMap<object, Map<string, string>>();
  #lives = 0;
  #defined = 0;

  constructor(setup: Setup, trace: ((line: string) => void) | null = null) {
    this.setup = setup;
    this.trace = trace;
    this.rng = new Rng(setup.seed);
    this.network = new Network(this.kernel, this.rng.fork('network'));
    this.watchers = new Watchers(this);
    this.etcd = new Etcd(this.kernel, this.rng.fork('etcd'), {
      changed: (key, value, before, by) => this.watchers.stored(key, value, before, by),
    });
    this.kernel.afterEvent = () => this.watchers.afterEvent();
    this.#qemuWorld = {
      kernel: this.kernel,
      network: this.network,
      rng: this.rng.fork('qemu'),
      version: setup.version,
      machineAt: (address) => [...this.machines.values()].find((each) => each.address === address) ?? null,
      note: (text) => this.note(text),
      touched: () => this.watchers.touch(),
      told: (qemu, command) => this.watchers.told(qemu, command),
      sent: (qemu, k, v) => this.watchers.sent(qemu, k, v),
      refused: (primary, secondary, k) => this.watchers.refusals.refused(primary, secondary, k),
      silenced: (machine, before) => this.watchers.words.silenced(machine, before),
    };
    for (const host of setup.hosts) this.machines.set(host, new SimMachine(host, `10.0.0.${host.slice(1)}`));
    for (const vm of setup.vms) {
      const client = new Client(this.kernel, this.network, this.rng.fork(`client ${vm.spec.name}`), () => this.qemusOf(vm.spec.name), {
        contradicted: (what) => this.violate(what),
        hears: (qemu) => this.note(`client of ${vm.spec.name} hears ${qemu.name}`),
      });
      this.clients.set(vm.spec.name, client);
      this.#provideImages(vm);
      this.want(vm);
    }
    for (const host of setup.hosts) this.startAgent(host);
    for (const name of setup.coordinators.keys()) this.startCoordinator(name);
  }

  // ---------------------------------------------------------------- looking

  qemusOf(vm: string): readonly Qemu[] {
    return [...this.machines.values()].flatMap((machine) => machine.running().filter((each) => each.vm === vm));
  }

  record(vm: string): VmRecord | null {
    return this.#stored(this.keys.record(vm), vmRecordCodec);
  }

  wanted(vm: string): VmWanted | null {
    return this.#stored(this.keys.spec(vm), vmWantedCodec);
  }

  /** The invariants ask after every event, so each value is decoded once. */
  #stored<T extends VmRecord | VmWanted>(key: string, codec: Codec<T>): T | null {
    const kv = this.etcd.read(key);
    if (kv === null) return null;
    const known = this.#decoded.get(kv);
    if (known !== undefined) return known as T | null;
    const read = codec.decode(kv.key, kv.value);
    const value = read.ok ? read.value : null;
    this.#decoded.set(kv, value);
    return value;
  }

  leader(): CoordinatorProcess | null {
    return [...this.coordinators.values()].find((each) => each.life.alive && each.leadership.state().kind === 'leader') ?? null;
  }

  /** The QEMU that the record places there. */
  side(vm: string, role: 'primary' | 'secondary'): Qemu | null {
    const side = this.record(vm)?.[role] ?? null;
    if (side === null) return null;
    return this.qemusOf(vm).find((each) => each.machine.name === side.host && each.born === side.born) ?? null;
  }

  // ---------------------------------------------------------------- processes

  startAgent(host: string): void {
    const machine = this.machines.get(host);
    if (machine?.up !== true || this.agents.get(host)?.life.alive === true) return;
    const life = this.#life(`agent ${host}`, host);
    const store = this.#store(life);
    this.agents.set(host, startAgent(this.#qemuWorld, machine, life, store, this.keys, `${host}:7400`, this.watchers));
    this.note(`agent ${host} starts`);
  }

  startCoordinator(name: string): void {
    const machine = this.setup.coordinators.get(name) ?? name;
    if (this.network.isDark(machine) || this.coordinators.get(name)?.life.alive === true) return;
    const life = this.#life(name, machine);
    const store = this.#store(life);
    const place = {
      kernel: this.kernel,
      network: this.network,
      agentAt: (address: string) => {
        const agent = this.agents.get(address.replace(':7400', ''));
        return agent?.life.alive === true ? agent : null;
      },
      coordinatorAt: (address: string) =>
        [...this.coordinators.values()].find((each) => each.address === address && each.life.alive)?.life ?? null,
      answered: (host: string, order: Order, answer: OrderAnswer) => this.watchers.answered(host, order, answer),
      machineOf: (address: string) => this.setup.coordinators.get(address.replace(':7500', '')) ?? address.replace(/:\d+$/, ''),
    };
    const { failoversPerHour, portBlocks } = this.setup;
    const ports = { first: FIRST_PORT, last: FIRST_PORT + portBlocks * PORTS_IN_BLOCK - 1 };
    const options = { keys: this.keys, name, address: `${name}:7500`, ports, failoversPerHour };
    this.coordinators.set(name, startCoordinator(place, life, store, options));
    this.note(`${name} starts`);
  }

  lifeOf(name: string): Life | null {
    return (this.coordinators.get(name) ?? this.agents.get(name.replace('agent ', '')))?.life ?? null;
  }

  /** SIGKILL; it is started again by its service manager. */
  crash(name: string): void {
    this.lifeOf(name)?.die('crash');
  }

  crashAt(name: string, plan: CrashPlan): void {
    const life = this.lifeOf(name);
    if (life !== null) life.crashPlan = plan;
  }

  pause(name: string): void {
    this.lifeOf(name)?.pause();
  }

  wake(name: string): void {
    this.lifeOf(name)?.wake();
  }

  // ---------------------------------------------------------------- machines and QEMUs

  powerOffMachine(name: string): void {
    this.network.setDark(name, true);
    const machine = this.machines.get(name);
    if (machine !== undefined) {
      machine.up = false;
      for (const qemu of machine.running()) qemu.die('host without power', true);
      machine.taps.clear();
    }
    for (const process of [...this.agents.values(), ...this.coordinators.values()])
      if (process.life.machine === name) process.life.die('host without power');
    this.watchers.touch();
  }

  bootMachine(name: string): void {
    if (!this.network.isDark(name)) return;
    const machine = this.machines.get(name);
    if (machine !== undefined) {
      machine.up = true;
      machine.boots += 1;
      machine.processes.clear();
      machine.silenced = new Set();
    }
    this.network.setDark(name, false);
    const { rng } = this.#qemuWorld;
    this.kernel.after(rng.between(BOOT_MS.least, BOOT_MS.most), () => this.startAgent(name));
    for (const [coordinator, where] of this.setup.coordinators) {
      if (where === name) this.kernel.after(rng.between(BOOT_MS.least, BOOT_MS.most), () => this.startCoordinator(coordinator));
    }
  }

  /** The guest shuts itself down. */
  guestPowerOff(vm: string): void {
    const running = this.side(vm, 'primary');
    if (running?.running === true) powerOff(running);
  }

  // ---------------------------------------------------------------- the operator

  want(wanted: VmWanted): void {
    const { name } = wanted.spec;
    this.etcd.apply([{ kind: 'put', key: this.keys.spec(name), value: vmWantedCodec.encode(wanted), lease: null }]);
  }

  /** A VM of that name that was deleted comes anew, and is another one. The operator has moved the files of the earlier one away, or not. */
  define(vm: string, keepsFiles = false): void {
    const was = this.setup.vms.find((each) => each.spec.name === vm);
    if (was === undefined || this.wanted(vm) !== null) return;
    this.#defined += 1;
    if (!keepsFiles) {
      for (const machine of this.machines.values())
        for (const path of machine.images.keys()) if (path.startsWith(`/state/vms/${vm}/`)) machine.images.delete(path);
      this.#provideImages(was);
    }
    this.clients.get(vm)?.beginAnew();
    this.want({ ...was, uid: vmUid(`uid-${vm}-${this.#defined}`) });
  }

  /** The true wall clock. */
  wallMs(): number {
    return WALL_AT_ZERO + this.kernel.now;
  }

  wish(vm: string, change: Partial<Pick<VmWanted, 'wanted' | 'protect' | 'releasedAtMs'>>): void {
    const now = this.wanted(vm);
    if (now !== null) this.want({ ...now, ...change });
  }

  // ---------------------------------------------------------------- telling

  note(text: string): void {
    this.trace?.(`${this.kernel.now.toFixed(1).padStart(10)} ${text}`);
    for (let at = this.triggers.length - 1; at >= 0; at -= 1) {
      const trigger = this.triggers[at];
      if (trigger === undefined || !text.includes(trigger.text)) continue;
      this.triggers.splice(at, 1);
      this.kernel.after(0, trigger.run);
    }
  }

  /** A leader's rows that only wait or order are in no record: its loop is asked what it shows. */
  lookAtRows(): void {
    for (const { life, loop } of this.coordinators.values()) {
      if (!life.stirred || !life.alive) continue;
      life.stirred = false;
      for (const { spec } of this.setup.vms) {
        const shown = loop.decisionOf(spec.name);
        const known = this.#shown.get(loop) ?? new Map<string, string>();
        this.#shown.set(loop, known);
        if (shown === null || known.get(spec.name) === shown.row) continue;
        known.set(spec.name, shown.row);
        this.rowFired(spec.name, shown.row);
      }
    }
  }

  rowFired(vm: string, row: string): void {
    this.note(`row ${row} of ${vm}`);
    this.onSeen({ process: this.leaderWas, event: 'row', fields: { vm, row } });
  }

  violate(what: string): void {
    if (this.violations.length >= 8) return;
    this.violations.push(`at ${this.kernel.now.toFixed(1)} ms: ${what}`);
    this.note(`VIOLATION ${what}`);
  }

  /** Of a VM that is said to start from identical images. */
  #provideImages({ spec }: VmWanted): void {
    if (spec.method !== 'identical-images') return;
    const path = `/state/vms/${spec.name}/disk0.raw`;
    for (const machine of this.machines.values()) machine.images.set(path, rawImage(path, spec.disks[0]?.sizeBytes ?? 0));
  }

  #store(life: Life) {
    const rng = this.rng.fork(`store ${this.#lives}`);
    const place = { kernel: this.kernel, network: this.network, etcd: this.etcd, rng, faults: this.storeFaults };
    if (!this.setup.members) return simulatedStore(place, life);
    const first = this.#lives % this.members.length;
    return storeOverMembers(place, life, [...this.members.slice(first), ...this.members.slice(0, first)]);
  }

  #life(name: string, machine: string): Life {
    this.#lives += 1;
    const rng = this.rng.fork(`life ${this.#lives}`);
    const rate = 1 + rng.between(-1, 1) * this.setup.drift;
    const life = new Life(
      this.kernel,
      rng,
      { name, machine, rate, wallOffsetMs: rng.between(-200, 200) },
      {
        logged: (life, level, event, fields) => {
          if (event === 'leadership-won') this.leaderWas = life.name;
          this.watchers.words.said(life, event, fields);
          this.onSeen({ process: life.name, event, fields });
          // What is waited for must be seen whether or not anybody reads along.
          if (this.trace !== null || this.triggers.length > 0) this.note(`${life.name} ${level} ${event} ${JSON.stringify(fields)}`);
        },
        died: (life, by) => {
          this.note(`${life.name} dies: ${by}`);
          this.onSeen({ process: life.name, event: 'died', fields: { by, after: life.lastCall } });
          const restartMs = this.rng.between(RESTART_MS.least, RESTART_MS.most);
          this.kernel.after(restartMs, () => {
            if (life.name.startsWith('agent ')) this.startAgent(machine);
            else this.startCoordinator(life.name);
          });
        },
      },
    );
    this.watchers.began(life);
    return life;
  }
}
