#!/usr/bin/env node
// colo-coordinator: wires the store, the agents' streams, leadership, the loop and the API together. It decides nothing itself.

import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import { followStore } from './catalogue.js';
import { createAgents } from './io/agents.js';
import { whyNotNamed } from './core/incarnation.js';
import { coordinatorMetrics } from './core/metrics.js';
import { createApi } from './io/api.js';
import { startDevEtcd, type DevEtcd } from './io/dev-etcd.js';
import { createLeaderWatch } from './io/leader-watch.js';
import { createLeadership, type Leadership } from './leadership.js';
import { runCoordinator, type CoordinatorLoop } from './loop.js';
import { clusterCodec } from '../shared/core/codec.js';
import { incarnation, term, type Incarnation } from '../shared/core/ids.js';
import { keysOf, type Keys } from '../shared/core/keys.js';
import { RECONCILE_INTERVAL_MS } from '../shared/core/limits.js';
import type { Metric } from '../shared/core/metrics.js';
import { countEvents } from '../shared/event-counts.js';
import { CoordinatorServiceService } from '../shared/gen/colo/v1/coordinator.js';
import { systemClock } from '../shared/io/clock.js';
import { describeProblems, devCoordinatorConfig, loadCoordinatorConfig, type CoordinatorConfig } from '../shared/io/config.js';
import { openStore } from '../shared/io/etcd/store.js';
import { createLog } from '../shared/io/log.js';
import { serveMetrics } from '../shared/io/metrics.js';
import { systemRandom } from '../shared/io/random.js';
import { certificateOf, etcdSecurity, securityMetrics, securityOf } from '../shared/io/rpc/security.js';
import { serveGrpc } from '../shared/io/rpc/server.js';
import { connectSystemd } from '../shared/io/systemd.js';
import type { Clock, Log, Random, Store } from '../shared/ports.js';

const EXIT_CONFIG = 2;
const EXIT_CANNOT_SERVE = 1;
/** A shutdown that hangs is cut off: the guests do not depend on it. */
const SHUTDOWN_MS = 3_000;
/** The watchdog is fed only while the loop has ended a round so recently. */
const ROUND_TOO_OLD_MS = 4 * RECONCILE_INTERVAL_MS;

const version = (JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string }).version;

const program = new Command('colo-coordinator')
  .description('decides which side of a protected VM goes on when a host dies, and makes new pairs')
  .version(version)
  .option('--config <file>', 'configuration file', '/etc/colo-ha/coordinator.yaml')
  .option('--insecure-lab', 'without certificates: whoever reaches a port may do everything')
  .option('--dev', 'for a first try: no configuration, and a local one-member etcd as a child process')
  .option('--data <folder>', 'with --dev: where the etcd keeps its data', './colo-dev')
  .option('--listen <address>', 'with --dev: ADDRESS:PORT of the gRPC server', '127.0.0.1:7500')
  .helpOption('-h, --help');

program.parse();
void main(program.opts<{ config: string; insecureLab?: true; dev?: true; data: string; listen: string }>());

async function main(options: {
  readonly config: string;
  readonly insecureLab?: true;
  readonly dev?: true;
  readonly data: string;
  readonly listen: string;
}): Promise<void> {
  const clock = systemClock();
  let dev: DevEtcd | null = null;
  let config: CoordinatorConfig;
  if (options.dev === true) {
    const started = await startDevEtcd(clock, options.data);
    if (!started.ok) return end(EXIT_CANNOT_SERVE, started.error);
    dev = started.value;
    config = devCoordinatorConfig(options.listen, dev.endpoint);
    process.stderr.write(
      `etcd for development on ${dev.endpoint}, data in ${options.data}\ncoloctl --insecure-lab --endpoints ${config.listen} status\n`,
    );
  } else {
    const loaded = loadCoordinatorConfig(options.config, options.insecureLab === true ? { insecureLab: true } : {});
    if (!loaded.ok) return end(EXIT_CONFIG, describeProblems(loaded.error));
    config = loaded.value;
  }
  await run(config, clock, dev);
}

async function run(config: CoordinatorConfig, clock: Clock, dev: DevEtcd | null): Promise<void> {
  const counted = countEvents(createLog({ level: config.logLevel, fields: { program: 'colo-coordinator', name: config.name } }));
  const { log } = counted;
  const random = systemRandom();
  const systemd = connectSystemd(log);
  const keys = keysOf(config.prefix);
  const secured = securityOf({ clock, log }, config, { role: 'coordinator', name: config.name });
  if (!secured.ok) return end(EXIT_CONFIG, secured.error);
  const security = secured.value;
  const store = openStore(config.etcd.endpoints, clock, log, { security: etcdSecurity(security, config.etcd.serverName) });
  const listeners = new Set<() => void>();

  let loop: CoordinatorLoop | null = null;
  let leadership: Leadership | null = null;
  const wake = (): void => {
    loop?.wake(null);
    listeners.forEach((each) => each());
  };
  const agents = createAgents({ clock, random, log }, { changed: wake }, { security });
  let seenIncarnation: Incarnation | null = null;
  const catalogue = followStore({ clock, store, log }, keys, {
    changed: () => {
      seenIncarnation = catalogue.cluster()?.incarnation ?? seenIncarnation;
      // Followers hold streams to the agents too, so that they know all when they take over.
      agents.follow([...catalogue.hosts().values()].map((each) => each.key));
      wake();
    },
  });
  const isNameless = (): boolean => catalogue.snapshot() !== null && catalogue.cluster() === null;
  const storeDoubt = (): string | null => (isNameless() ? whyNotNamed(seenIncarnation, agents.links().values()) : null);
  const api = createApi({
    name: config.name,
    cluster: config.cluster,
    keys,
    store,
    clock,
    random,
    log,
    portRange: config.ports,
    failoversPerHour: config.failoversPerHour,
    storeDoubt,
    certificate: () => certificateOf(security),
    mirror: () => ({ snapshot: catalogue.snapshot(), lost: catalogue.lost() }),
    links: () => agents.links(),
    leadership: () => leadership?.state() ?? { kind: 'follower', leader: null, address: null, term: term(0) },
    decisionOf: (vm) => loop?.decisionOf(vm) ?? null,
    onChange: (callback) => {
      listeners.add(callback);
      return () => listeners.delete(callback);
    },
  });
  // The address must be bound before it is put into the leader key.
  const server = await serveGrpc(
    { clock, log },
    {
      address: config.listen,
      security,
      services: [{ name: 'colo.v1.CoordinatorService', definition: CoordinatorServiceService, implementation: { ...api.service } }],
    },
  );
  if (!server.ok) return end(EXIT_CANNOT_SERVE, server.error);
  const leaderWatch = createLeaderWatch(
    { clock, random, log },
    { suspected: (reason) => leadership?.suspectLeader(reason), heard: () => leadership?.trustLeader() },
    security,
  );
  const leading = createLeadership(
    { clock, random, log, store },
    { keys, name: config.name, address: config.advertise, ttlMs: config.leaseTtlMs, fit: () => catalogue.lost() === null },
    {
      changed: (state) => {
        leaderWatch.follow(state.kind === 'leader' ? null : state.address);
        wake();
      },
    },
  );
  leadership = leading;
  loop = runCoordinator(
    { clock, random, log, store, agents },
    { keys, portRange: config.ports, failoversPerHour: config.failoversPerHour },
    catalogue,
    leading,
  );
  const figures = (): readonly Metric[] => [...coordinatorMetrics(api.summary()), ...securityMetrics(security), counted.metric()];
  const metrics = config.metrics === undefined ? null : await serveMetrics({ clock, log }, config.metrics.listen, figures);
  if (metrics?.ok === false) return end(EXIT_CANNOT_SERVE, `metrics: ${metrics.error}`);
  server.value.setServing(true);
  log.info({ version, listen: config.listen, prefix: config.prefix, endpoints: config.etcd.endpoints }, 'started');
  systemd.ready();
  const stopNaming = nameCluster({ clock, random, log, store }, keys, config.cluster, () => isNameless() && storeDoubt() === null);
  const stopFeeding = feedWatchdog(
    clock,
    () => {
      const fresh = clock.now() - (loop?.lastRoundAt() ?? 0) < ROUND_TOO_OLD_MS;
      if (fresh) systemd.alive();
      const state = leading.state();
      systemd.status(state.kind === 'leader' ? `leads, term ${state.term}` : `follows ${state.leader ?? 'nobody'}`);
    },
    systemd.watchdogMs,
  );

  let ending = false;
  const shutDown = (signal: string): void => {
    if (ending) return;
    ending = true;
    log.info({ signal }, 'ending');
    systemd.stopping();
    clock.after(SHUTDOWN_MS, () => process.exit(0));
    stopFeeding();
    stopNaming();
    loop?.close();
    leaderWatch.close();
    agents.close();
    void leading.close().then(async () => {
      catalogue.close();
      await server.value.close(200);
      await dev?.stop();
      process.exit(0);
    });
  };
  process.on('SIGTERM', () => shutDown('SIGTERM'));
  process.on('SIGINT', () => shutDown('SIGINT'));
}

/** The first coordinator of a new cluster gives it its incarnation; an existing one is never written over, and a lost one never replaced. */
function nameCluster(
  ports: { clock: Clock; random: Random; log: Log; store: Store },
  keys: Keys,
  name: string,
  missing: () => boolean,
): () => void {
  const { clock, random, log, store } = ports;
  let cancel: () => void = () => undefined;
  let stopped = false;
  const attempt = async (): Promise<void> => {
    if (missing()) {
      const value = clusterCodec.encode({ name, incarnation: incarnation(random.id()) });
      const done = await store.txn(
        [{ kind: 'create', key: keys.cluster, revision: 0 }],
        [{ kind: 'put', key: keys.cluster, value, lease: null }],
      );
      if (done.ok && done.value.succeeded) log.info({ cluster: name }, 'cluster-created');
    }
    if (!stopped) cancel = clock.after(1_000, () => void attempt());
  };
  cancel = clock.after(50, () => void attempt());
  return () => {
    stopped = true;
    cancel();
  };
}

function feedWatchdog(clock: Clock, feed: () => void, watchdogMs: number | null): () => void {
  let cancel: () => void = () => undefined;
  const turn = (): void => {
    feed();
    cancel = clock.after(Math.min(1_000, (watchdogMs ?? 2_000) / 3), turn);
  };
  turn();
  return () => cancel();
}

function end(code: number, message: string): void {
  process.stderr.write(`colo-coordinator: ${message}\n`);
  process.exit(code);
}
