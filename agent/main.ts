#!/usr/bin/env node
// colo-agent: wires the state folder, the store, the loop and the gRPC service together. It decides nothing itself, and when it ends,
// however it ends, every QEMU runs on.

import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import { systemDisks } from './io/disks.js';
import { keepHeartbeatKeys, type HeartbeatKeys } from './io/heartbeat-keys.js';
import { canonicalAddress, udpHeartbeats } from './io/host-heartbeat.js';
import { openJournals } from './io/journal.js';
import { procSockets, tcpProbe } from './io/kernel-evidence.js';
import { startAsUnit, startDetached } from './io/launcher.js';
import { lockStateFolder } from './io/lock.js';
import { findQemuUser, type QemuUser } from './io/qemu-user.js';
import { watchQemuCertificate } from './io/qemu-certificate.js';
import { systemQemus } from './io/qemus.js';
import { agentService } from './io/rpc-service.js';
import { run } from './io/run.js';
import { nftSilence } from './io/silence.js';
import { systemTaps } from './io/taps.js';
import { agentMetrics } from './core/metrics.js';
import { versionFromText } from './core/capabilities.js';
import { messageOf } from './io/files.js';
import { runAgent, type AgentLoop } from './loop.js';
import { Peers } from './loop/peers.js';
import { hostKeyCodec } from '../shared/core/codec.js';
import { keysOf } from '../shared/core/keys.js';
import { REPORT_INTERVAL_MS } from '../shared/core/limits.js';
import type { Metric } from '../shared/core/metrics.js';
import type { HostKey } from '../shared/core/model.js';
import { countEvents } from '../shared/event-counts.js';
import { systemClock } from '../shared/io/clock.js';
import { describeProblems, loadAgentConfig, type AgentConfig } from '../shared/io/config.js';
import { openStore } from '../shared/io/etcd/store.js';
import { createLog } from '../shared/io/log.js';
import { serveMetrics } from '../shared/io/metrics.js';
import { systemRandom } from '../shared/io/random.js';
import { certificateOf, etcdSecurity, securityMetrics, securityOf } from '../shared/io/rpc/security.js';
import { serveGrpc } from '../shared/io/rpc/server.js';
import { connectSystemd } from '../shared/io/systemd.js';
import { keepLease } from '../shared/lease.js';
import type { Clock, Log, Random } from '../shared/ports.js';

const EXIT_CONFIG = 2;
const EXIT_CANNOT_SERVE = 1;
/** A shutdown that hangs is cut off: the guests do not depend on it. */
const SHUTDOWN_MS = 3_000;
/** The watchdog is fed only while the loop has ended a tick so recently. */
const TICK_TOO_OLD_MS = 4 * REPORT_INTERVAL_MS;
const VERSION_MS = 10_000;
/** Made by the package. */
const QEMU_USER = 'colo-qemu';

const version = (JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string }).version;

const program = new Command('colo-agent')
  .description('owns the QEMUs of this host: starts them, carries out what a coordinator orders, and tells the truth about them')
  .version(version)
  .option('--config <file>', 'configuration file', '/etc/colo-ha/agent.yaml')
  .option('--insecure-lab', 'without certificates: whoever reaches a port may do everything')
  .helpOption('-h, --help');

program.parse();
void main(program.opts<{ config: string; insecureLab?: true }>());

async function main(options: { readonly config: string; readonly insecureLab?: true }): Promise<void> {
  // Whatever is made here, by us or by a QEMU that we start, is nobody else's: above all the sockets of QEMU's monitors.
  process.umask(0o077);
  const loaded = loadAgentConfig(options.config, options.insecureLab === true ? { insecureLab: true } : {});
  if (!loaded.ok) return end(EXIT_CONFIG, describeProblems(loaded.error));
  const config = loaded.value;
  // Before any monitor is opened: two agents on one QEMU would each see half of its answers.
  const lock = lockStateFolder(config.stateDir);
  if (!lock.ok) return end(EXIT_CANNOT_SERVE, lock.error);
  const shown = await run(config.qemu.system, ['--version'], VERSION_MS);
  if (!shown.ok) return end(EXIT_CONFIG, `qemu.system: ${shown.error}`);
  const qemuVersion = versionFromText(shown.value);
  if (qemuVersion === null)
    return end(EXIT_CONFIG, `qemu.system: ${config.qemu.system} says no version of QEMU: ${shown.value.slice(0, 80)}`);
  const user = await findQemuUser(config.qemu.user ?? (config.launcher === 'systemd' ? QEMU_USER : null));
  if (!user.ok) return end(EXIT_CONFIG, `qemu.user: ${user.error}`);
  try {
    await serve(config, qemuVersion, user.value);
  } catch (error) {
    end(EXIT_CANNOT_SERVE, messageOf(error));
  }
}

async function serve(config: AgentConfig, qemuVersion: NonNullable<ReturnType<typeof versionFromText>>, user: QemuUser): Promise<void> {
  const clock = systemClock();
  const random = systemRandom();
  const counted = countEvents(createLog({ level: config.logLevel, fields: { program: 'colo-agent', host: config.host } }));
  const { log } = counted;
  const systemd = connectSystemd(log);
  const keys = keysOf(config.prefix);
  const secured = securityOf({ clock, log }, config, { role: 'agent', name: config.host });
  if (!secured.ok) return end(EXIT_CONFIG, secured.error);
  const security = secured.value;
  const store = openStore(config.etcd.endpoints, clock, log, { security: etcdSecurity(security, config.etcd.serverName) });
  const journals = await openJournals(config.stateDir, random, log);
  const { hostId } = journals.agent;
  const kept = config.heartbeat.keyFile === undefined ? null : keepHeartbeatKeys({ clock, log }, config.heartbeat.keyFile);
  if (kept?.ok === false) return end(EXIT_CONFIG, `heartbeat.keyFile: ${kept.error}`);
  const heartbeatKeys = kept?.value ?? null;
  const pairs = watchPairs(config, heartbeatKeys, clock, random, log);
  const folders = { stateDir: config.stateDir, runtimeDir: config.runtimeDir };

  const agent = runAgent(
    {
      clock,
      random,
      log,
      store,
      journal: journals.store,
      qemus: systemQemus(folders, clock, config.launcher === 'systemd' ? startAsUnit : startDetached, user),
      disks: systemDisks(config.qemu.img, config.stateDir),
      taps: systemTaps(user),
    },
    {
      host: config.host,
      hostId,
      replicationAddress: config.replicationAddress,
      folders,
      keys,
      bridge: config.bridge ?? null,
      program: config.qemu.system,
      version: qemuVersion,
      sandbox: config.qemu.sandbox,
      tls: config.qemu.tlsDir === undefined ? null : { folder: config.qemu.tlsDir },
    },
    journals,
    pairs,
  );
  pairs.start();

  const server = await serveGrpc(
    { clock, log },
    { address: config.listen, security, services: [agentService({ clock, log }, agent, () => certificateOf(security))] },
  );
  if (!server.ok) return end(EXIT_CANNOT_SERVE, server.error);
  const { tlsDir } = config.qemu;
  const qemuCertificate = tlsDir === undefined ? null : watchQemuCertificate({ clock, log }, tlsDir, config.replicationAddress);
  const figures = (): readonly Metric[] => [
    ...agentMetrics(agent.report(), heartbeatKeys?.ids() ?? []),
    ...securityMetrics(security, qemuCertificate?.report() ?? null),
    counted.metric(),
  ];
  const metrics = config.metrics === undefined ? null : await serveMetrics({ clock, log }, config.metrics.listen, figures);
  if (metrics?.ok === false) return end(EXIT_CANNOT_SERVE, `metrics: ${metrics.error}`);
  server.value.setServing(true);

  const hostKey: HostKey = {
    host: config.host,
    hostId,
    agentAddress: config.advertise,
    replicationAddress: config.replicationAddress,
    qemuVersion: `${qemuVersion.major}.${qemuVersion.minor}.${qemuVersion.micro}`,
    agentVersion: version,
  };
  const value = hostKeyCodec.encode(hostKey);
  const lease = keepLease(
    { clock, random, log, store },
    {
      ttlMs: config.leaseTtlMs,
      keys: () => [
        { key: keys.host(config.host), value, leased: true },
        { key: keys.inventoryOf(config.host), value, leased: false },
      ],
    },
    {
      held: (id) => log.info({ lease: id }, 'lease-held'),
      lost: (detail) => log.warn({ detail }, 'lease-lost'),
    },
  );
  log.info({ version, listen: config.listen, qemu: hostKey.qemuVersion, prefix: config.prefix, vms: journals.vms.length }, 'started');
  systemd.ready();
  const stopFeeding = feedWatchdog(clock, agent, systemd);

  let ending = false;
  const shutDown = (signal: string): void => {
    if (ending) return;
    ending = true;
    log.info({ signal }, 'ending');
    systemd.stopping();
    clock.after(SHUTDOWN_MS, () => process.exit(0));
    stopFeeding();
    pairs.stop();
    void Promise.all([agent.close(), lease.close(), server.value.close(200)]).then(() => process.exit(0));
  };
  process.on('SIGTERM', () => shutDown('SIGTERM'));
  process.on('SIGINT', () => shutDown('SIGINT'));
}

function watchPairs(config: AgentConfig, keys: HeartbeatKeys | null, clock: Clock, random: Random, log: Log): Peers {
  const { port, intervalMs, suspectAfterMs } = config.heartbeat;
  const address = config.replicationAddress;
  return new Peers(
    {
      clock,
      log,
      probe: tcpProbe(address, port),
      sockets: procSockets(),
      silence: nftSilence(log),
      openWire: (handlers) => udpHeartbeats({ address, port, keys: () => keys?.current() ?? [] }, handlers),
      canonical: canonicalAddress,
    },
    { cluster: config.prefix, host: config.host, session: random.id(), intervalMs, suspectAfterMs },
  );
}

function feedWatchdog(clock: Clock, agent: AgentLoop, systemd: ReturnType<typeof connectSystemd>): () => void {
  let cancel: () => void = () => undefined;
  const turn = (): void => {
    if (clock.now() - agent.lastTickAt() < TICK_TOO_OLD_MS) systemd.alive();
    const vms = agent.report().vms;
    systemd.status(vms.length === 0 ? 'no VMs' : vms.map((each) => `${each.vm}: ${each.qemu.kind}, pair ${each.pair.state}`).join('; '));
    cancel = clock.after(Math.min(1_000, (systemd.watchdogMs ?? 2_000) / 3), turn);
  };
  turn();
  return () => cancel();
}

function end(code: number, message: string): void {
  process.stderr.write(`colo-agent: ${message}\n`);
  process.exit(code);
}
