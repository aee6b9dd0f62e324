// Two QEMUs and the migration stream between them: the copy, COLO, and its checkpoints, step by step as migration/colo.c takes them. The
// window of SAFETY 2 is here: between RECEIVED and the load a failover of the secondary is accepted, and gets new RAM on an old disk.

import type { Answer } from './content.js';
import { SimChannel } from './channel.js';
import type { Channel, Pair, Qemu } from './shapes.js';

type Step = 'copying' | 'before-switch' | 'colo' | 'over';

export class SimPair implements Pair {
  readonly primary: Qemu;
  readonly secondary: Qemu;
  readonly channel: Channel;
  step: Step = 'copying';
  /** The first whole transfer has ended. */
  resumed = false;
  readonly #exited = { primary: false, secondary: false };
  /** The primary's thread is in a checkpoint: it would see the end of the stream at once. */
  #busy = false;
  /** The state that the secondary has received and not loaded yet. */
  #received: { readonly ram: Answer | null } | null = null;
  #cancelTimer: () => void = () => undefined;

  constructor(primary: Qemu, secondary: Qemu, port: number) {
    this.primary = primary;
    this.secondary = secondary;
    const { kernel, network } = primary.world;
    this.channel = new SimChannel(kernel, network, port, primary, secondary, {
      one: () => this.#primaryLost(),
      other: () => this.#secondaryLost(),
    });
    primary.pair = this;
    secondary.pair = this;
  }

  begin(memoryBytes: number): void {
    const { primary, secondary } = this;
    primary.setMigration('active');
    secondary.migration = 'active';
    const { rng } = primary.world;
    primary.after((memoryBytes / primary.maxBandwidthBytes) * 1_000 * rng.between(0.8, 1.5), () => {
      if (primary.pair !== this || this.step !== 'copying') return;
      // Acknowledged like any other part of the stream: a way that is cut holds it up.
      this.channel.send(primary, () => this.channel.send(secondary, () => this.#copied()));
    });
  }

  #copied(): void {
    const { primary } = this;
    if (this.step !== 'copying' || primary.migration !== 'active') return;
    if (primary.capabilities.has('pause-before-switchover')) {
      this.step = 'before-switch';
      primary.setRunstate('finish-migrate');
      primary.setMigration('pre-switchover');
      return;
    }
    primary.setRunstate('finish-migrate');
    this.switchOver();
  }

  /** The last part of the state goes over, and COLO begins. */
  switchOver(): void {
    const { primary, secondary } = this;
    const needsColo = primary.world.version.major >= 10;
    this.step = 'colo';
    this.channel.send(primary, () => {
      if (needsColo && !secondary.capabilities.has('x-colo')) return secondary.die('migration failed: x-colo is not set');
      secondary.colo = { mode: 'secondary', lastMode: 'none', reason: 'none' };
      secondary.setMigration('colo');
      this.channel.send(secondary, () => {
        primary.colo = { mode: 'primary', lastMode: 'none', reason: 'none' };
        primary.setMigration('colo');
        primary.after(primary.world.rng.between(5, 40), () => this.checkpoint());
      });
    });
  }

  /** Asked for by the timer, by packets that differ, or by an operator's command. In the middle of one it is forgotten. */
  checkpoint(): void {
    const { primary } = this;
    if (this.#busy || primary.colo.mode !== 'primary' || this.#exited.primary || !primary.alive) return;
    this.#cancelTimer();
    if (!this.channel.isOpen(primary)) return this.#exit(primary, 'error');
    this.#busy = true;
    primary.world.note(`${primary.name} begins a checkpoint`);
    if (primary.runstate === 'running') primary.setRunstate('colo');
    const { secondary } = this;
    const { rng } = primary.world;
    this.channel.send(primary, () => {
      if (secondary.colo.mode !== 'secondary') return;
      if (secondary.runstate === 'running') secondary.setRunstate('colo');
      // It reads RAM from the socket holding the big lock; when the rest does not come its main loop hangs.
      if (rng.chance(0.4)) secondary.hold('migration');
    });
    // vm_stop_force_state comes first, and what the guest has asked of its disk is over when it returns (migration/colo.c).
    primary.block.drain(() =>
      primary.after(rng.between(2, 12), () => {
        const { ram } = primary.guest;
        this.channel.send(primary, () => this.#receive(ram));
      }),
    );
  }

  #receive(ram: Answer | null): void {
    const { secondary } = this;
    const { rng } = secondary.world;
    if (secondary.colo.mode !== 'secondary') return;
    secondary.release('migration');
    if (!this.channel.isOpen(secondary)) return;
    this.#received = { ram };
    secondary.world.note(`${secondary.name} has received a checkpoint`);
    this.channel.send(secondary, () => this.primary.guest.flush());
    // Much memory takes its time.
    secondary.after(rng.chance(0.3) ? rng.between(12, 150) : rng.between(1, 12), () => this.#load(ram));
  }

  /** The big lock is had: RAM and devices, then the disk, unless a failover was accepted meanwhile. */
  #load(ram: Answer | null): void {
    const { secondary } = this;
    this.#received = null;
    if (secondary.guest.nextLoadFails) secondary.guest.ramTorn = true;
    secondary.guest.load(ram);
    if (secondary.guest.ramTorn) secondary.machine.writeLog(secondary.logFile, 'qemu-system-x86_64: load device state failed');
    secondary.world.touched();
    if (secondary.colo.mode !== 'secondary') return;
    secondary.block.discardOverlays();
    if (secondary.guest.ramTorn || !this.channel.isOpen(secondary)) return this.#exit(secondary, 'error');
    secondary.setRunstate('running');
    this.channel.send(secondary, () => this.#loaded());
  }

  #loaded(): void {
    const { primary } = this;
    if (primary.colo.mode !== 'primary' || this.#exited.primary) return;
    this.resumed = true;
    this.#busy = false;
    primary.setRunstate('running');
    this.#cancelTimer();
    this.#cancelTimer = primary.after(primary.checkpointDelayMs, () => this.checkpoint());
  }

  #primaryLost(): void {
    const { primary } = this;
    if (this.step === 'copying' || this.step === 'before-switch') return this.fail();
    // Between checkpoints the thread waits for its timer and sees nothing.
    if (primary.colo.mode === 'primary' && this.#busy) this.#exit(primary, 'error');
    else if (primary.colo.mode === 'none' && primary.migration !== 'completed') this.fail();
  }

  #secondaryLost(): void {
    const { secondary } = this;
    if (secondary.colo.mode === 'none' && secondary.migration !== 'completed') {
      secondary.die('its migration stream ended before COLO');
      return;
    }
    secondary.release('migration');
    if (this.#received === null) this.#exit(secondary, 'error');
  }

  /** The copy never reached COLO. */
  fail(): void {
    const { primary } = this;
    if (this.step === 'over') return;
    const paused = this.step === 'before-switch' || primary.runstate === 'finish-migrate';
    this.step = 'over';
    this.channel.close(primary);
    primary.setMigration('failed');
    if (paused && primary.guest.wasRunning) primary.setRunstate('running');
  }

  cancel(): void {
    const { primary } = this;
    if (this.step !== 'copying' && this.step !== 'before-switch') return;
    const paused = this.step === 'before-switch';
    this.step = 'over';
    this.channel.close(primary);
    primary.setMigration('cancelled');
    if (paused && primary.guest.wasRunning) primary.setRunstate('running');
  }

  /** `yank migration` on one side. */
  yank(qemu: Qemu): void {
    this.channel.close(qemu);
    if (qemu === this.primary) this.#primaryLost();
    else {
      qemu.release('migration');
      if (this.#received === null) this.#secondaryLost();
    }
  }

  #exit(qemu: Qemu, reason: string): void {
    const mode = qemu === this.primary ? 'primary' : 'secondary';
    if (this.#exited[mode] || !qemu.alive) return;
    this.#exited[mode] = true;
    qemu.release('migration');
    if (mode === 'secondary' && reason === 'error')
      qemu.machine.writeLog(qemu.logFile, "qemu-system-x86_64: Can't receive COLO message: Input/output error");
    qemu.after(qemu.world.rng.between(0.5, 20), () => qemu.emit('COLO_EXIT', { mode, reason }));
  }

  /** `x-colo-lost-heartbeat`, carried out by the main loop. */
  failOver(qemu: Qemu): void {
    const mode = qemu === this.primary ? 'primary' : 'secondary';
    this.channel.close(qemu);
    this.#exit(qemu, 'request');
    qemu.colo = { mode: 'none', lastMode: mode, reason: 'request' };
    qemu.migration = 'completed';
    if (mode === 'secondary') qemu.block.mergeOverlays();
    if (qemu.runstate === 'colo' || qemu.runstate === 'finish-migrate') qemu.setRunstate('running');
    qemu.pair = null;
    qemu.world.touched();
  }
}
