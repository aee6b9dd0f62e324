// A host in memory for the agent's loop: one QEMU whose answers a test sets, a journal that notes when it was written, and virtual time.
// It has no mind of its own; the simulator's QEMU has.

import { runAgent, type AgentLoop } from '../../../agent/loop.js';
import type { AgentJournal, VmJournal } from '../../../agent/core/journal.js';
import type { Json, JsonObject, Monitor, MonitorClosed, MonitorHandlers, QmpError } from '../../../agent/core/procedures/port.js';
import type { AgentPorts, ProcessState } from '../../../agent/ports.js';
import { epoch } from '../../../shared/core/ids.js';
import type { DiskState } from '../../../shared/core/model.js';
import { keysOf } from '../../../shared/core/keys.js';
import { fail, ok, type Result } from '../../../shared/core/result.js';
import { fakeClock, fakeLog, fakeRandom } from '../../fakes/clock.js';
import { fakeEtcd } from '../../fakes/store.js';
import { anAgent, HERE, UID } from './builders.js';

const PROCESS = { pid: 4711, startTime: '1', bootId: 'boot' };
const CAPABLE: Readonly<Record<string, Json>> = {
  'query-version': { qemu: { major: 11, minor: 1, micro: 2 } },
  'query-migrate-capabilities': ['x-colo', 'events', 'return-path', 'pause-before-switchover'].map((capability) => ({
    capability,
    state: false,
  })),
  'qom-list-types': ['colo-compare', 'filter-mirror', 'filter-redirector', 'filter-rewriter'].map((name) => ({ name })),
};
/** What a guest that runs alone answers. */
export const ALONE: Readonly<Record<string, Json>> = {
  'query-status': { status: 'running', running: true },
  'query-colo-status': { mode: 'none', 'last-mode': 'none', reason: 'none' },
  'query-migrate': {},
  'qom-list': [],
  'query-chardev': [],
  'query-named-block-nodes': [],
  'x-debug-query-block-graph': { nodes: [], edges: [] },
  'query-block-exports': [],
  'query-block-jobs': [],
  'query-xen-replication-status': { error: false },
};
/** What a secondary in COLO answers. */
export const SECONDARY: Readonly<Record<string, Json>> = {
  ...ALONE,
  'query-colo-status': { mode: 'secondary', 'last-mode': 'none', reason: 'none' },
  'query-migrate': { status: 'colo' },
};

export type Doing = { readonly what: 'journal' | 'command' | 'oob' | 'kill' | 'tap' | 'launch'; readonly name: string };

export class FakeWorld {
  readonly clock = fakeClock();
  readonly etcd = fakeEtcd(this.clock);
  readonly store = this.etcd.connect();
  /** Everything that left the loop, in order. */
  readonly doings: Doing[] = [];
  answers: Record<string, Json> = { ...ALONE };
  /** Commands that get no answer until the monitor ends or the caller gives up. */
  readonly hanging = new Set<string>();
  process: ProcessState = 'running';
  journalError: string | null = null;
  /** State in the stamp of every image. */
  stamped: DiskState = 'clean';
  #handlers: MonitorHandlers | null = null;
  #close: (closed: MonitorClosed) => void = () => undefined;
  #owed: (() => void)[] = [];
  #listeners = new Set<Parameters<Monitor['subscribe']>[0]>();

  start(vms: readonly VmJournal[], agent: AgentJournal = anAgent()): AgentLoop {
    return runAgent(
      this.#ports(),
      {
        host: 'a',
        hostId: HERE,
        replicationAddress: '10.0.0.1',
        folders: { stateDir: '/s', runtimeDir: '/r' },
        keys: keysOf('/colo/test'),
        bridge: 'br0',
        program: 'qemu',
        version: { major: 11, minor: 1, micro: 2 },
        sandbox: true,
        tls: null,
      },
      { agent, vms },
    );
  }

  emit(name: string, data: JsonObject = {}): void {
    const event = { name, data, at: this.clock.now() };
    this.#handlers?.onEvent(event);
    for (const listener of [...this.#listeners]) listener(event);
  }

  /** Whatever hung answers now, late. */
  answerAll(): void {
    this.hanging.clear();
    for (const answer of this.#owed.splice(0)) answer();
  }

  /** The kernel closes the monitor. */
  endMonitor(): void {
    const closed = { at: this.clock.now(), error: { kind: 'lost', cause: 'closed', description: 'gone' } as const };
    this.#close(closed);
    this.#handlers?.onClosed(closed);
  }

  /** Names of the commands sent since the last call, without the watch's own questions. */
  takeDoings(): readonly string[] {
    return this.doings.splice(0).map((each) => `${each.what} ${each.name}`);
  }

  #monitor(): Monitor {
    const { clock } = this;
    return {
      version: { major: 11, minor: 1, micro: 2 },
      now: () => clock.now(),
      closed: new Promise((resolve) => {
        this.#close = resolve;
      }),
      close: () => undefined,
      subscribe: (listener) => {
        this.#listeners.add(listener);
        return () => this.#listeners.delete(listener);
      },
      sleep: (ms, signal) =>
        new Promise((resolve) => {
          clock.after(ms, resolve);
          signal.addEventListener('abort', () => resolve(), { once: true });
        }),
      execute: (command, args, { oob, signal }) => {
        const isProbe = command === 'yank' && Array.isArray(args['instances']) && args['instances'].length === 0;
        if (!isProbe && !command.startsWith('query-') && !command.startsWith('qom-') && !command.startsWith('x-debug')) {
          this.doings.push({ what: oob ? 'oob' : 'command', name: command });
        }
        if (!this.hanging.has(command)) return Promise.resolve(ok({ ...CAPABLE, ...this.answers }[command] ?? {}));
        return new Promise<Result<Json, QmpError>>((resolve) => {
          this.#owed.push(() => resolve(ok({ ...CAPABLE, ...this.answers }[command] ?? {})));
          signal?.addEventListener('abort', () => resolve(fail({ kind: 'lost', cause: 'aborted', description: 'aborted' })), {
            once: true,
          });
        });
      },
    };
  }

  #ports(): AgentPorts {
    const done = Promise.resolve(ok(null));
    const write = (name: string): Promise<Result<null, string>> => {
      if (this.journalError !== null) return Promise.resolve(fail(this.journalError));
      this.doings.push({ what: 'journal', name });
      return done;
    };
    return {
      clock: this.clock,
      random: fakeRandom(),
      log: fakeLog(),
      store: this.store,
      journal: { saveVm: (journal) => write(journal.goal.kind), saveAgent: () => write('agent') },
      qemus: {
        launch: () => {
          this.doings.push({ what: 'launch', name: '' });
          return Promise.resolve(ok(PROCESS));
        },
        processOf: () => (this.process === 'gone' ? null : PROCESS),
        inspect: () => this.process,
        kill: () => {
          this.doings.push({ what: 'kill', name: '' });
          this.process = 'gone';
        },
        connect: (_sockets, handlers) => {
          this.#handlers = handlers;
          return Promise.resolve(ok(this.#monitor()));
        },
        abandoned: () => Promise.resolve(false),
        readLog: (_file, offset) => ({ text: '', offset }),
        forget: () => Promise.resolve(),
        run: () => done,
        makeRuntimeFolder: () => done,
      },
      disks: {
        look: (path) =>
          Promise.resolve(
            ok({
              kind: 'present',
              sizeBytes: 1,
              stamp: {
                format: 1,
                uid: UID,
                diskId: 'd' as never,
                epoch: epoch(2),
                state: this.stamped,
                images: [path],
                offline: false,
              },
            }),
          ),
        create: () => done,
        recreate: () => done,
        grow: () => done,
        writeStamp: (_image, { state }) => {
          this.stamped = state;
          return done;
        },
        reserve: () => done,
        makeOverlay: () => done,
        merged: () => Promise.resolve(ok(false)),
        flatten: () => done,
        remove: () => Promise.resolve(),
        sweepOverlays: () => Promise.resolve(),
        freeBytes: () => Promise.resolve(1),
      },
      taps: {
        make: () => done,
        setUp: (name, up) => {
          this.doings.push({ what: 'tap', name: `${name} ${up ? 'up' : 'down'}` });
          return done;
        },
        remove: () => done,
      },
    };
  }
}
