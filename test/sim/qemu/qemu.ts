// One QEMU process: what can be seen of it from outside and how it lives and dies. Its guest is in guest.ts, its disks in block.ts, its
// half of a pair in pair.ts, and what its monitor answers in commands.ts.

import type { JsonObject } from '../../../agent/core/procedures/port.js';
import type { LaunchRequest } from '../../../agent/ports.js';
import { SimBlock } from './block.js';
import { SimChannel } from './channel.js';
import type { Block, Channel, Chardev, EventSink, Guest, Machine, Pair, Qemu, QemuWorld, SimImage, SimObject } from './shapes.js';
import { SimGuest } from './guest.js';
import type { CommandLine } from './options.js';

const RECONNECT_MS = 100;

export class SimQemu implements Qemu {
  readonly world: QemuWorld;
  readonly machine: Machine;
  readonly pid: number;
  readonly vm: string;
  readonly born: number;
  readonly line: CommandLine;
  readonly logFile: string;
  readonly chardevs = new Map<string, Chardev>();
  readonly objects = new Map<string, SimObject>();
  readonly channels = new Set<Channel>();
  readonly sinks = new Set<EventSink>();
  readonly capabilities = new Set<string>();
  alive = true;
  /** SIGSTOP. */
  stopped = false;
  /** Monitors can be opened. */
  listening = false;
  runstate = 'prelaunch';
  migration: string | null = null;
  colo: { mode: 'none' | 'primary' | 'secondary'; lastMode: string; reason: string } = { mode: 'none', lastMode: 'none', reason: 'none' };
  checkpointDelayMs = 20_000;
  compareTimeoutMs = 3_000;
  maxBandwidthBytes = 128 * 1024 * 1024;
  /** What holds the main loop, and what a yank of that very thing frees. */
  hang: string | null = null;
  stoodStillUntil = -Infinity;
  resumedAt = -Infinity;
  gaveUpConnecting = false;
  pair: Pair | null = null;
  /** How its death came: by its host's agent, by the world, or by itself. */
  endedBy: string | null = null;
  readonly guest: Guest;
  readonly block: Block;
  #waiting: (() => void)[] = [];
  readonly #hangEnds: (() => void)[] = [];

  constructor(world: QemuWorld, machine: Machine, pid: number, request: LaunchRequest, line: CommandLine, image: SimImage) {
    this.world = world;
    this.machine = machine;
    this.pid = pid;
    this.vm = request.vm;
    this.born = request.born;
    this.line = line;
    this.logFile = request.logFile;
    this.guest = new SimGuest(this);
    this.block = new SimBlock(this, image);
  }

  get name(): string {
    return `${this.machine.name}/${this.vm}#${this.born}`;
  }

  get running(): boolean {
    return this.alive && this.runstate === 'running';
  }

  /** A timer of its own: it fires only while it lives, and late when it was stopped. */
  after(ms: number, run: () => void): () => void {
    return this.world.kernel.after(ms, () => this.receive(run));
  }

  receive(run: () => void): void {
    if (!this.alive) return;
    if (this.stopped) this.#waiting.push(run);
    else run();
  }

  emit(name: string, data: JsonObject = {}): void {
    if (name === 'RESUME') this.resumedAt = this.world.kernel.now;
    this.world.note(`${this.name} event ${name}${Object.keys(data).length === 0 ? '' : ` ${JSON.stringify(data)}`}`);
    for (const sink of [...this.sinks]) this.world.kernel.after(this.world.rng.between(0.1, 1), () => this.alive && sink.event(name, data));
  }

  setRunstate(runstate: string): void {
    const before = this.runstate;
    if (before === runstate) return;
    this.runstate = runstate;
    if (runstate === 'running') {
      this.block.guestRuns();
      this.guest.goesOn();
      this.emit('RESUME');
    } else if (before === 'running') this.emit('STOP');
    this.world.touched();
  }

  setMigration(status: string): void {
    this.migration = status;
    if (this.capabilities.has('events')) this.emit('MIGRATION', { status });
    this.world.touched();
  }

  /** Where frames of the guest go. */
  outputPath(): 'tap' | 'compare' | 'secondary' | 'nowhere' {
    if (!this.running || this.hang !== null || this.stopped) return 'nowhere';
    if (this.objects.size === 0) return 'tap';
    const objects = [...this.objects.values()];
    if (objects.some((each) => each.type === 'filter-redirector' && each.id.startsWith('f2'))) return 'secondary';
    if (!this.hasFilters()) return 'tap';
    const compare = objects.find((each) => each.type === 'colo-compare');
    if (compare === undefined) return 'nowhere';
    // What is not understood is passed on.
    return compare.vnetHdr ? 'compare' : 'tap';
  }

  hasFilters(): boolean {
    for (const each of this.objects.values())
      if (each.type === 'filter-redirector' && each.id.startsWith('redire1') && each.on) return true;
    return false;
  }

  tapIsUp(): boolean {
    return [...this.line.taps.values()].every((tap) => this.machine.taps.get(tap)?.up === true);
  }

  /** Its guest is heard, and nobody compares what it says. */
  releases(): boolean {
    return this.outputPath() === 'tap' && this.tapIsUp() && this.machine.up;
  }

  /** The main loop stands still until `release` of the same thing. */
  hold(by: string): void {
    if (this.hang !== null) return;
    this.hang = by;
    this.world.note(`${this.name} main loop held by ${by}`);
    this.world.touched();
  }

  release(by: string): void {
    if (this.hang !== by) return;
    this.hang = null;
    this.stoodStillUntil = this.world.kernel.now;
    this.world.note(`${this.name} main loop free again`);
    for (const each of this.#hangEnds.splice(0)) this.after(0, each);
    this.world.touched();
  }

  onHangEnd(run: () => void): void {
    this.#hangEnds.push(run);
  }

  stop(): void {
    this.stopped = this.alive;
    this.world.touched();
  }

  cont(): void {
    if (!this.stopped) return;
    this.stopped = false;
    this.stoodStillUntil = this.world.kernel.now;
    for (const each of this.#waiting.splice(0)) this.world.kernel.after(0, () => this.receive(each));
    this.world.touched();
  }

  /** `silently`: with its whole machine, so that no kernel is left to close its sockets. */
  die(by: string, silently = false): void {
    if (!this.alive) return;
    this.alive = false;
    this.endedBy = by;
    this.world.note(`${this.name} ends: ${by}`);
    this.block.ended();
    if (!silently) for (const each of [...this.channels]) each.close(this);
    for (const sink of [...this.sinks]) this.world.kernel.after(this.world.rng.between(0.1, 2), () => sink.ended());
    this.sinks.clear();
    this.world.touched();
  }

  /** A client chardev tries again and again while nobody is at its other end. */
  keepConnecting(chardev: Chardev): void {
    if (chardev.listens || chardev.port === null || this.chardevs.get(chardev.id) !== chardev) return;
    if (chardev.channel === null) this.#connect(chardev);
    if (chardev.channel === null) this.after(RECONNECT_MS, () => this.keepConnecting(chardev));
  }

  #connect(chardev: Chardev): void {
    const { network, kernel } = this.world;
    const machine = this.world.machineAt(chardev.host);
    if (machine === null || !network.passesBothWays('repl', this.machine.name, machine.name)) return;
    for (const other of machine.running()) {
      const listener = [...other.chardevs.values()].find((each) => each.listens && each.port === chardev.port && each.channel === null);
      if (listener === undefined || other.stopped) continue;
      const forget = (owner: Qemu, mine: Chardev) => (): void => {
        mine.channel = null;
        owner.world.touched();
        owner.after(RECONNECT_MS, () => owner.keepConnecting(mine));
      };
      const channel = new SimChannel(kernel, network, listener.port ?? 0, this, other, {
        one: forget(this, chardev),
        other: forget(other, listener),
      });
      chardev.channel = channel;
      listener.channel = channel;
      return;
    }
  }

  /** By `yank` or `chardev-remove`. */
  closeChardev(chardev: Chardev): void {
    chardev.channel?.close(this);
    chardev.channel = null;
    this.after(RECONNECT_MS, () => this.keepConnecting(chardev));
  }
}
