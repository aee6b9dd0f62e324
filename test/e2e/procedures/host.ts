// One host of the stage: starts a QEMU in its namespace, connects the real monitor, and runs procedures on it.

import { spawn, type ChildProcess } from 'node:child_process';
import { openSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Ports, VmSpec } from '../../../shared/core/model.js';
import { systemClock } from '../../../shared/io/clock.js';
import { versionFromText } from '../../../agent/core/capabilities.js';
import { procedureContext, type ProcedureContext } from '../../../agent/core/procedures/context.js';
import type { Monitor, QmpEvent } from '../../../agent/core/procedures/port.js';
import type { Procedure, ProcedureResult, Progress } from '../../../agent/core/procedures/step.js';
import type { PairTls } from '../../../agent/core/pair-tls.js';
import { qemuCommand, type QemuStart } from '../../../agent/core/qemu-args.js';
import { readCapabilities, readFacts } from '../../../agent/read-facts.js';
import type { QemuFacts } from '../../../agent/core/facts.js';
import { connectMonitor } from '../../../agent/io/qemu-monitor.js';
import { runProcedure } from '../../../agent/procedure-runner.js';
import { inSpace, QEMU, REPLICATION, run, type HostName } from './stage.js';

const clock = systemClock();

export class Host {
  readonly #folder: string;
  readonly #spec: VmSpec;
  readonly #tls: PairTls | null;
  #process: ChildProcess | null = null;
  #monitor: Monitor | null = null;
  #starts = 0;
  events: QmpEvent[] = [];
  progress: Progress[] = [];
  closedAt: number | null = null;

  constructor(
    readonly name: HostName,
    folder: string,
    spec: VmSpec,
    tls: PairTls | null = null,
  ) {
    this.#folder = join(folder, name);
    this.#spec = spec;
    this.#tls = tls;
  }

  get disk(): string {
    return join(this.#folder, 'disk0.raw');
  }

  get overlays(): { readonly active: string; readonly hidden: string } {
    return { active: join(this.#folder, 'active0.qcow2'), hidden: join(this.#folder, 'hidden0.qcow2') };
  }

  get runtimeDir(): string {
    return join(this.#folder, `run${this.#starts}`);
  }

  get monitor(): Monitor {
    if (this.#monitor === null) throw new Error(`host ${this.name} has no QEMU`);
    return this.#monitor;
  }

  makeDisk(): void {
    rmSync(this.disk, { force: true });
    run('truncate', '-s', String(this.#spec.disks[0]?.sizeBytes ?? 0), this.disk);
  }

  makeOverlays(): void {
    const size = String(this.#spec.disks[0]?.sizeBytes ?? 0);
    for (const path of [this.overlays.active, this.overlays.hidden]) run(QEMU.img, 'create', '-q', '-f', 'qcow2', path, size);
  }

  async start(how: QemuStart): Promise<void> {
    this.#starts += 1;
    this.events = [];
    this.closedAt = null;
    mkdirSync(this.runtimeDir, { recursive: true });
    const version = versionFromText(run(QEMU.system, '--version'));
    if (version === null) throw new Error('QEMU tells no version');
    const { argv, sockets } = qemuCommand(this.#spec, how, {
      program: QEMU.system,
      version,
      sandbox: true,
      runtimeDir: this.runtimeDir,
      serialFile: join(this.#folder, 'serial.log'),
      taps: ['tap0'],
      tls: this.#tls,
    });
    const log = openSync(join(this.#folder, 'qemu.log'), 'a');
    const [command = '', ...args] = inSpace(this.name, argv);
    this.#process = spawn(command, args, { stdio: ['ignore', log, log], detached: true });
    this.#monitor = await this.#connect(sockets);
  }

  async #connect(sockets: readonly string[]): Promise<Monitor> {
    const until = clock.now() + 10_000;
    for (;;) {
      const connected = await connectMonitor(
        sockets,
        {
          onEvent: (event) => this.events.push(event),
          onClosed: (closed) => {
            this.closedAt = closed.at;
          },
          onStray: () => undefined,
        },
        { clock, deadlineMs: 5_000 },
      );
      if (connected.ok) return connected.value;
      if (clock.now() > until) throw new Error(`host ${this.name}: ${JSON.stringify(connected.error)}`);
      await new Promise((resolve) => clock.after(20, () => resolve(null)));
    }
  }

  async context(ports: Ports): Promise<ProcedureContext> {
    const capabilities = await readCapabilities(this.monitor, 5_000);
    if (!capabilities.ok) throw new Error(JSON.stringify(capabilities.error));
    const peer = this.name === 'a' ? 'b' : 'a';
    const facts = await this.facts();
    return procedureContext(
      this.#spec,
      {
        ports,
        peer: { host: peer, address: REPLICATION[peer] },
        bindAddress: REPLICATION[this.name],
        runtimeDir: this.runtimeDir,
        capabilities: capabilities.value,
        tls: this.#tls,
      },
      { rewriters: facts.rewriters, coloExited: this.events.some((event) => event.name === 'COLO_EXIT') },
    );
  }

  async facts(): Promise<QemuFacts> {
    const facts = await readFacts(this.monitor, { disks: this.#spec.disks.length, nics: this.#spec.nics.length }, 5_000);
    if (!facts.ok) throw new Error(JSON.stringify(facts.error));
    return facts.value;
  }

  run(procedure: Procedure, signal = new AbortController().signal): Promise<ProcedureResult> {
    this.progress = [];
    return runProcedure(procedure, this.monitor, (progress) => this.progress.push(progress), signal);
  }

  /** SIGKILL, and the monitor's end awaited. */
  async kill(): Promise<void> {
    const child = this.#process;
    if (child?.pid === undefined) return;
    const gone = new Promise((resolve) => child.once('exit', resolve));
    if (child.exitCode === null && child.signalCode === null) {
      process.kill(child.pid, 'SIGKILL');
      await gone;
    }
    this.#process = null;
    this.#monitor?.close();
    this.#monitor = null;
  }
}
