// One host as its agent finds it: processes, images, taps and journals. All of it outlives the agent, and what is on disk outlives the
// machine's power. The ports are in host-ports.ts; this only holds what is there.

import type { AgentJournal, VmJournal } from '../../../agent/core/journal.js';
import type { Machine, Qemu, SimImage } from './shapes.js';

export class SimMachine implements Machine {
  readonly name: string;
  readonly address: string;
  up = true;
  boots = 1;
  readonly images = new Map<string, SimImage>();
  readonly taps = new Map<string, { up: boolean }>();
  /** By pid. Dead ones stay until the next boot, as their notes do. */
  readonly processes = new Map<number, Qemu>();
  readonly notes = new Map<string, { readonly born: number; readonly pid: number }>();
  readonly logs = new Map<string, string>();
  readonly vmJournals = new Map<string, VmJournal>();
  agentJournal: AgentJournal | null = null;
  silenced: ReadonlySet<string> = new Set();
  hearHeartbeat: ((from: string, text: string) => boolean) | null = null;
  /** No space is left for what a secondary must write. */
  isFull = false;

  constructor(name: string, address: string) {
    this.name = name;
    this.address = address;
  }

  image(path: string): SimImage | null {
    return this.images.get(path) ?? null;
  }

  running(): readonly Qemu[] {
    return [...this.processes.values()].filter((each) => each.alive);
  }

  writeLog(path: string, line: string): void {
    this.logs.set(path, `${this.logs.get(path) ?? ''}${line}\n`);
  }
}
