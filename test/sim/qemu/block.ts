// The disk of one QEMU: its own image or, on a secondary, overlays above the parent that the primary writes through NBD; the copy job that
// fills a parent; and the second child of a primary's quorum. Errors of that child are swallowed as QEMU swallows them (SAFETY 1).

import { written, type Answer, type Content } from './content.js';
import { SimChannel } from './channel.js';
import type { Block, Chain, Channel, Child, CopyJob, Qemu, SimImage } from './shapes.js';

const WRITE_MS = 0.5;
const COPY_TICK_MS = 20;
const MERGE_MS = { least: 20, most: 2_500 };

export class SimBlock implements Block {
  readonly #qemu: Qemu;
  /** The raw image as it was opened: a file put in its place afterwards is another one. */
  readonly image: SimImage;
  /** A secondary's own view; null = the raw image is the guest's disk. */
  chain: Chain | null = null;
  /** The replication driver stands between quorum and parent: at work, done, or with a merge that failed. */
  replicationNode: 'none' | 'active' | 'done' | 'failed' = 'none';
  replicationError = false;
  missedByPeer = false;
  lacksWrites = false;
  merging = false;
  child: Child | null = null;
  /** Nodes that are there beside the quorum's children. */
  readonly nodes = new Map<string, Channel>();
  job: CopyJob | null = null;
  server: { readonly port: number; readonly exports: Set<string> } | null = null;

  constructor(qemu: Qemu, image: SimImage) {
    this.#qemu = qemu;
    this.image = image;
  }

  /** With overlays: a secondary. */
  useOverlays(active: string, hidden: string): void {
    const { machine } = this.#qemu;
    this.replicationNode = 'active';
    const chain: Chain = { view: this.image.content, files: [active, hidden], merged: false };
    this.chain = chain;
    for (const path of chain.files) {
      const image = machine.image(path);
      if (image !== null) image.chain = chain;
    }
  }

  /** The disk as the guest sees it. */
  read(): Content {
    return this.chain?.view ?? this.image.content;
  }

  /** `done` when every child that can has it. */
  write(answer: Answer, done: () => void): void {
    const qemu = this.#qemu;
    if (this.chain !== null) {
      if (qemu.machine.image(this.chain.files[0] ?? '')?.bad === true) return this.#ioError();
      this.chain.view = written(this.chain.view, answer);
      qemu.after(WRITE_MS, done);
      return;
    }
    const { image } = this;
    const copies = this.child !== null;
    if (image.bad) {
      if (!copies) {
        this.#failed = () => this.write(answer, done);
        return this.#ioError();
      }
      // One child of the quorum suffices: the guest is told that all is well.
      qemu.emit('QUORUM_REPORT_BAD', { 'node-name': '#block042', type: 'write', error: 'Input/output error', 'sector-num': 0 });
    } else image.content = written(image.content, answer);
    if (this.job !== null) this.#copyWrite(this.job, answer);
    const { child } = this;
    if (child === null) qemu.after(WRITE_MS, done);
    else this.#writeToPeer(child, answer, image.bad, done);
  }

  /** QEMU's `io-status`. */
  get hasFailedWrite(): boolean {
    return this.#failed !== null;
  }

  /** A write whose error stopped the guest is tried again when it goes on. */
  guestRuns(): void {
    const again = this.#failed;
    this.#failed = null;
    if (again !== null) this.#qemu.after(WRITE_MS, again);
  }

  #failed: (() => void) | null = null;

  #writeToPeer(child: Child, answer: Answer, ownFailed: boolean, done: () => void): void {
    const qemu = this.#qemu;
    let over = false;
    const end = (failed: boolean): void => {
      if (over) return;
      over = true;
      this.#pending.delete(end);
      if (this.#pending.size === 0) this.#drained();
      qemu.after(0, () => {
        if (failed) this.#peerError(child);
        // A plain NBD child does not swallow its error: with both children failed the write has failed, and stops the guest.
        if (failed && ownFailed && child.node !== 'replication0') {
          this.#failed = () => this.write(answer, done);
          return this.#ioError();
        }
        if (ownFailed) this.lacksWrites = true;
        done();
      });
    };
    if (!child.channel.isOpen(qemu)) return end(true);
    this.#pending.add(end);
    const peer = child.channel.peerOf(qemu);
    child.channel.send(qemu, () => {
      const taken = peer.block.takeFromPrimary(answer);
      if (!taken) qemu.world.refused(qemu, peer, answer.k);
      child.channel.send(peer, () => end(!taken));
    });
  }

  /** QEMU waits with the big lock held (bdrv_drain_all in do_vm_stop): where the peer says nothing its main loop stands still. */
  drain(then: () => void): void {
    if (this.#pending.size === 0) return then();
    this.#qemu.hold('nbd0');
    this.#whenDrained.push(then);
  }

  #drained(): void {
    const waiting = this.#whenDrained.splice(0);
    if (waiting.length === 0) return;
    this.#qemu.release('nbd0');
    for (const each of waiting) each();
  }

  readonly #whenDrained: (() => void)[] = [];

  /** Writes that wait for the peer; they fail together when the connection ends. */
  readonly #pending = new Set<(failed: boolean) => void>();

  /** A swallowed error is seen only by who asks for it; a plain NBD child is reported. */
  #peerError(child: Child): void {
    const qemu = this.#qemu;
    this.missedByPeer = true;
    if (child.node === 'replication0') this.replicationError = true;
    else qemu.emit('QUORUM_REPORT_BAD', { 'node-name': child.node, type: 'write', error: 'Input/output error', 'sector-num': 0 });
    qemu.world.touched();
  }

  /** A secondary's side of the primary's write. False = it had no place for it. */
  takeFromPrimary(answer: Answer): boolean {
    const { image } = this;
    const { isFull } = this.#qemu.machine;
    // What was there before could not be copied into the hidden overlay, and its own driver says so.
    if (isFull) this.replicationError = true;
    // A write that is refused goes back to the primary, whose driver alone remembers it.
    if (isFull || image.bad) {
      this.lacksWrites = true;
      return false;
    }
    image.content = written(image.content, answer);
    return true;
  }

  #ioError(): void {
    this.#qemu.emit('BLOCK_IO_ERROR', {
      'node-name': '#block042',
      device: 'colo-disk0',
      operation: 'write',
      action: 'stop',
      reason: 'EIO',
    });
    this.#qemu.setRunstate('io-error');
  }

  /** Opens a connection to an NBD server; null = nobody answers. `silent` = it will hang. */
  connect(host: string, port: number): Channel | 'refused' | 'silent' {
    const qemu = this.#qemu;
    const machine = qemu.world.machineAt(host);
    if (machine === null || !qemu.world.network.passesBothWays('repl', qemu.machine.name, machine.name)) return 'silent';
    const server = machine.running().find((each) => each.block.server?.port === port);
    if (server === undefined) return 'refused';
    if (server.stopped) return 'silent';
    const channel: Channel = new SimChannel(qemu.world.kernel, qemu.world.network, port, qemu, server, {
      one: () => this.peerGone(channel),
      other: () => undefined,
    });
    return channel;
  }

  /** The NBD connection has ended: by the peer, or by a yank. */
  peerGone(channel: Channel): void {
    for (const end of [...this.#pending]) end(true);
    this.#pending.clear();
    if (this.job?.channel === channel) this.#jobFailed();
    this.#qemu.release('nbd0');
  }

  startCopy(id: string, channel: Channel): void {
    const qemu = this.#qemu;
    const target = channel.peerOf(qemu).block.image;
    const job: CopyJob = { id, ready: false, offset: 0, length: target.sizeBytes, channel };
    this.job = job;
    target.content = { last: null, torn: `being filled by ${qemu.name}` };
    this.#copyOn(job);
  }

  #copyOn(job: CopyJob): void {
    const qemu = this.#qemu;
    qemu.after(COPY_TICK_MS, () => {
      if (this.job !== job || job.ready) return;
      if (!job.channel.isOpen(qemu)) return this.#jobFailed();
      if (!job.channel.isSilent()) job.offset = Math.min(job.length, job.offset + qemu.maxBandwidthBytes * (COPY_TICK_MS / 1_000));
      if (job.offset < job.length) return this.#copyOn(job);
      const { machine, block } = job.channel.peerOf(qemu);
      // A write that the target refuses ends the job, as `on-target-error=report` says: it never becomes ready.
      if (block.image.bad || machine.isFull) return this.#jobFailed();
      job.ready = true;
      block.image.content = this.image.content;
      qemu.emit('BLOCK_JOB_READY', { device: job.id, type: 'mirror' });
    });
  }

  /** What the guest writes while the job is ready goes to both. */
  #copyWrite(job: CopyJob, answer: Answer): void {
    const qemu = this.#qemu;
    if (!job.ready) return;
    const peer = job.channel.peerOf(qemu);
    job.channel.send(qemu, () => void peer.block.takeFromPrimary(answer));
  }

  #jobFailed(): void {
    const { job } = this;
    if (job === null) return;
    this.job = null;
    this.#qemu.emit('BLOCK_JOB_COMPLETED', { device: job.id, type: 'mirror', error: 'Input/output error' });
  }

  /** Ends the copy: whole when it was ready and the guest stands still. */
  cancelCopy(force: boolean): boolean {
    const { job } = this;
    if (job === null) return false;
    this.job = null;
    const qemu = this.#qemu;
    const target = job.channel.peerOf(qemu).block.image;
    if (!job.ready || force) target.content = { ...target.content, torn: target.content.torn ?? 'its copy was cancelled' };
    if (!this.nodes.has('nbd0')) job.channel.close(qemu);
    qemu.emit(force ? 'BLOCK_JOB_CANCELLED' : 'BLOCK_JOB_COMPLETED', { device: job.id, type: 'mirror' });
    return true;
  }

  /** A checkpoint was loaded: from now on the parent is what the guest sees. */
  discardOverlays(): void {
    if (this.chain !== null && this.replicationNode === 'active' && !this.merging) this.chain.view = this.image.content;
  }

  /** Secondary failover: the overlays are merged into the parent by an invisible job, and until it ends only the chain is whole. */
  mergeOverlays(): void {
    const qemu = this.#qemu;
    if (this.chain === null || this.merging) return;
    this.merging = true;
    const { image } = this;
    image.content = { last: image.content.last, torn: 'its overlays are being merged' };
    qemu.after(qemu.world.rng.between(MERGE_MS.least, MERGE_MS.most), () => {
      if (this.chain === null || !this.merging) return;
      this.merging = false;
      if (qemu.machine.isFull || image.bad) {
        // FAILOVER_FAILED: the chain stays what the guest sees, and nothing merges it any more.
        this.replicationNode = 'failed';
        this.replicationError = true;
        return qemu.world.touched();
      }
      image.content = this.chain.view;
      this.chain.merged = true;
      this.chain = null;
      this.replicationNode = 'done';
      // A driver that has nothing more to do forgets what went wrong before.
      this.replicationError = false;
      qemu.world.touched();
    });
  }

  stopServer(): void {
    if (this.server === null) return;
    this.server = null;
    const qemu = this.#qemu;
    for (const channel of [...qemu.channels]) if (channel.peerOf(qemu).block.usesForDisk(channel)) channel.close(qemu);
    qemu.emit('BLOCK_EXPORT_DELETED', { id: 'parent0' });
  }

  usesForDisk(channel: Channel): boolean {
    return this.job?.channel === channel || this.child?.channel === channel || [...this.nodes.values()].includes(channel);
  }

  /** The process has ended; what it was doing to its images stays as it is. */
  ended(): void {
    this.merging = false;
    if (this.job === null) return;
    const target = this.#qemu.machine.up ? this.job.channel.peerOf(this.#qemu).block.image : null;
    if (target !== null && this.job.ready) target.content = { ...target.content, torn: 'its copy ended with the primary' };
    this.job = null;
  }
}
