// The guest: it counts requests, writes each answer to its disk, and then says it. What it knows and what it has told its disk to write change
// in one instant, and no instant of it passes while its QEMU has stopped it. In a pair the primary's answer is withheld until the
// secondary has said the same, or until a checkpoint has made the secondary equal. Frames without payload (acknowledgements, ARP) are not
// compared by QEMU and not modelled as answers: `leaked` counts them.

import { answerTo, type Answer } from './content.js';
import type { Guest, Qemu } from './shapes.js';

const WORK_MS = 1;
/** So many frames fit into a socket that nobody reads, then filter-mirror holds the main loop. */
const SOCKET_FRAMES = { least: 4, most: 60 };

interface Thought {
  readonly k: number;
  readonly v: number;
}

export class SimGuest implements Guest {
  readonly #qemu: Qemu;
  /** All that it knows. */
  ram: Answer | null = null;
  /** RAM of one moment and devices of another: a state that failed to load. */
  ramTorn = false;
  /** The next checkpoint that this secondary receives does not load. */
  nextLoadFails = false;
  booted = false;
  /** Before a migration stopped it. */
  wasRunning = false;
  /** Frames without payload that left an orphaned primary. */
  leaked = 0;
  /** What it works out at the moment; neither its RAM nor its disk knows of it yet. */
  #thought: Thought | null = null;
  /** Written to disk and not yet said. */
  #writing: number | null = null;
  /** What the primary said and the secondary did not say yet. */
  readonly #withheld = new Map<number, { readonly v: number; readonly since: number }>();
  readonly #heardFromSecondary = new Map<number, number>();
  #unread = 0;
  readonly #socketFrames: number;

  constructor(qemu: Qemu) {
    this.#qemu = qemu;
    this.#socketFrames = qemu.world.rng.between(SOCKET_FRAMES.least, SOCKET_FRAMES.most);
  }

  /** A request from the client, at this host's tap. */
  fromClient(k: number): void {
    const qemu = this.#qemu;
    const path = qemu.outputPath();
    if (path === 'nowhere' || path === 'secondary') return;
    if (path === 'compare') this.leaked += 1;
    this.#mirror(k);
    this.handle(k);
  }

  handle(k: number): void {
    const qemu = this.#qemu;
    if (!qemu.running || qemu.hang !== null || !this.booted || this.#thought !== null || this.#writing !== null) return;
    const last = this.ram?.k ?? 0;
    if (k > last + 1) return;
    const known = k <= last ? answerTo(this.ram, k) : null;
    if (known !== null) return this.say(known.k, known.v);
    if (k <= last) return;
    this.#thought = { k, v: this.#think(k) };
    this.goesOn();
  }

  /** It runs, perhaps after it was stopped in the middle of a thought. */
  goesOn(): void {
    const thought = this.#thought;
    if (thought !== null) this.#qemu.after(WORK_MS, () => this.#answer(thought));
  }

  /**
   * QEMU stops the processors before it waits for what they have asked of its disks (do_vm_stop in system/cpus.c: pause_all_vcpus, then
   * bdrv_drain_all), so a guest that is stopped asks for nothing more: neither on a disk from which its second child was just taken away,
   * nor behind the state that a checkpoint is about to take.
   */
  #answer(thought: Thought): void {
    const qemu = this.#qemu;
    if (this.#thought !== thought || !qemu.running) return;
    const { k, v } = thought;
    const answer: Answer = { k, v, before: this.ram };
    this.#thought = null;
    this.ram = answer;
    this.#writing = k;
    qemu.block.write(answer, () => {
      if (this.#writing !== k) return;
      this.#writing = null;
      this.say(k, v);
    });
  }

  say(k: number, v: number): void {
    const qemu = this.#qemu;
    switch (qemu.outputPath()) {
      case 'tap':
        if (qemu.tapIsUp()) qemu.world.sent(qemu, k, v);
        return;
      case 'secondary': {
        const out = [...qemu.chardevs.values()].find((each) => each.id.startsWith('red1'));
        const primary = out?.channel?.peerOf(qemu);
        out?.channel?.send(qemu, () => primary?.guest.saidBySecondary(k, v));
        return;
      }
      case 'compare':
        if (this.#heardFromSecondary.get(k) === v) return this.#release(k, v);
        this.#withheld.set(k, { v, since: qemu.world.kernel.now });
        if (this.#heardFromSecondary.has(k)) qemu.pair?.checkpoint();
        else qemu.after(qemu.compareTimeoutMs, () => this.#withheld.has(k) && qemu.pair?.checkpoint());
        return;
      case 'nowhere':
        return;
    }
  }

  saidBySecondary(k: number, v: number): void {
    const mine = this.#withheld.get(k);
    if (mine === undefined) {
      this.#heardFromSecondary.set(k, v);
      return;
    }
    if (mine.v === v) this.#release(k, v);
    else this.#qemu.pair?.checkpoint();
  }

  /** The secondary has received the whole state: all that was withheld is said. */
  flush(): void {
    const all = [...this.#withheld];
    this.forgetWithheld();
    for (const [k, { v }] of all) if (this.#qemu.tapIsUp()) this.#qemu.world.sent(this.#qemu, k, v);
  }

  /** colo-compare was deleted: its queue is lost, and the guest's TCP says it again. */
  forgetWithheld(): void {
    this.#withheld.clear();
    this.#heardFromSecondary.clear();
  }

  /** The state of another moment takes the place of this one. */
  load(ram: Answer | null): void {
    this.ram = ram;
    this.#thought = null;
    this.#writing = null;
    this.booted = true;
  }

  boot(ms: number): void {
    const qemu = this.#qemu;
    qemu.after(ms, () => {
      if (!qemu.running) return this.boot(20);
      this.ram = qemu.block.read().last;
      this.booted = true;
      qemu.world.touched();
    });
  }

  #release(k: number, v: number): void {
    const qemu = this.#qemu;
    this.#withheld.delete(k);
    this.#heardFromSecondary.delete(k);
    if (qemu.tapIsUp()) qemu.world.sent(qemu, k, v);
  }

  #mirror(k: number): void {
    const qemu = this.#qemu;
    const filter = [...qemu.objects.values()].find((each) => each.type === 'filter-mirror');
    if (filter === undefined || !filter.on) return;
    const chardev = qemu.chardevs.get(filter.outdev);
    const channel = chardev?.channel ?? null;
    if (channel === null) return;
    if (channel.isSilent()) {
      this.#unread += 1;
      if (this.#unread > this.#socketFrames) qemu.hold(filter.outdev);
    } else this.#unread = 0;
    const secondary = channel.peerOf(qemu);
    channel.send(qemu, () => secondary.guest.handle(k));
  }

  /** Mostly a function of the request; a guest that looks at its clock says something else on each side. */
  #think(k: number): number {
    const { rng } = this.#qemu.world;
    const usual = (k * 7_919) % 1_000;
    return rng.chance(0.1) ? 1_000 + rng.int(1_000_000) : usual;
  }
}
