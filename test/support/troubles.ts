// What makes a lab a bad place without breaking any part of it: processors that are taken, frames that are lost, agents whose words do not come
// through, and processes that stand still for a moment. Each begins with one call and ends with another.

import { spawn } from 'node:child_process';
import { run, waitFor } from '../../deploy/lab/command.js';
import type { HostPlan, LabPlan } from '../../deploy/lab/plan.js';
import { identify, sendSignal, waitForEnd, type ProcessIdentity } from '../../deploy/lab/process-identity.js';
import { monoMs } from '../../deploy/lab/probes.js';
import { livingDaemon } from '../../deploy/lab/processes.js';
import type { Daemon } from '../../deploy/lab/record.js';
import type { Rng } from '../sim/world/rng.js';

const END_MS = 10_000;
const LONGEST_MS = 24 * 3_600_000;

/** Processes that do nothing but burn a processor each, at normal priority, spread over the hosts. The answer ends them. */
export async function takeProcessors(hosts: readonly HostPlan[], count: number): Promise<() => Promise<void>> {
  const started: ProcessIdentity[] = [];
  for (let number = 0; number < count; number += 1) {
    const host = hosts[number % hosts.length];
    if (host === undefined) throw new Error('no host to burn processors on');
    const child = spawn('ip', ['netns', 'exec', host.namespace, 'sh', '-c', 'while :; do :; done'], { stdio: 'ignore' });
    const known = await waitFor({ what: 'busy loop', boundMs: END_MS }, () => (child.pid === undefined ? null : identify(child.pid)));
    started.push(known);
  }
  return async () => {
    for (const each of started) sendSignal(each, 'SIGKILL');
    for (const each of started) await waitForEnd(each, END_MS);
  };
}

export interface Loss {
  /** Frames that came to the switch from hosts, and how many of them were dropped. */
  counts(): Promise<{ readonly seen: number; readonly dropped: number }>;
  stop(): Promise<void>;
}

const LOSS = 'colo_loss';
const DEAF = 'colo_deaf';

/**
 * Drops frames at random in the middle of the switch. By nft and not by netem, which kernels without modules often lack. A frame counts when
 * it comes from a host, so that of a question and its answer each may be lost.
 */
export async function loseFrames(plan: LabPlan, percent: number): Promise<Loss> {
  const ports = plan.hosts.map((host) => `"${host.links.management.switchPort}"`).join(', ');
  await nft(
    plan,
    `table bridge ${LOSS} {
      counter seen { }
      counter dropped { }
      chain forward {
        type filter hook forward priority 10; policy accept;
        iifname { ${ports} } counter name seen
        iifname { ${ports} } numgen random mod 100 < ${percent} counter name dropped drop
      }
    }`,
  );
  return {
    counts: async () => {
      const text = await run('ip', ['netns', 'exec', plan.switchNamespace, 'nft', '-j', 'list', 'counters', 'table', 'bridge', LOSS]);
      const { nftables } = JSON.parse(text) as {
        readonly nftables: readonly { readonly counter?: { readonly name: string; readonly packets: number } }[];
      };
      const packets = (name: string): number => nftables.find((each) => each.counter?.name === name)?.counter?.packets ?? Number.NaN;
      return { seen: packets('seen'), dropped: packets('dropped') };
    },
    stop: () => nft(plan, `delete table bridge ${LOSS}`),
  };
}

/** No frame to or from any agent's gRPC port passes the switch; etcd and the coordinators hear each other. The answer undoes it. */
export async function muteAgents(plan: LabPlan): Promise<() => Promise<void>> {
  const ports = [...new Set(plan.hosts.map((host) => host.agentAddress.split(':')[1] ?? ''))].join(', ');
  await nft(
    plan,
    `table bridge ${DEAF} {
      chain forward {
        type filter hook forward priority 10; policy accept;
        ether type ip tcp dport { ${ports} } drop
        ether type ip tcp sport { ${ports} } drop
      }
    }`,
  );
  return () => nft(plan, `delete table bridge ${DEAF}`);
}

async function nft(plan: LabPlan, text: string): Promise<void> {
  await run('ip', ['netns', 'exec', plan.switchNamespace, 'nft', '-f', '-'], { input: `${text}\n` });
}

export interface Pauses {
  /** How long each one lasted; more than was wished for when the machine is busy. */
  readonly lastedMs: readonly number[];
  stop(): Promise<void>;
}

/** Stops each of these daemons again and again, each by its own plan of the seed, for `pauseMs` with up to `calmMs` on average in between. */
export function pauseAtRandom(
  plan: LabPlan,
  daemons: readonly { readonly host: HostPlan; readonly daemon: Daemon }[],
  { rng, pauseMs, calmMs }: { readonly rng: Rng; readonly pauseMs: number; readonly calmMs: number },
): Pauses {
  const lastedMs: number[] = [];
  let stopped = false;
  const until = (atMs: number, whole: boolean): Promise<true> =>
    waitFor({ what: 'instant of a pause', boundMs: LONGEST_MS, everyMs: 5 }, () => (monoMs() >= atMs || (stopped && !whole) ? true : null));

  async function course(target: ProcessIdentity, own: Rng): Promise<void> {
    while (!stopped) {
      await until(monoMs() + own.between(0, 2 * calmMs), false);
      if (stopped) return;
      const began = monoMs();
      if (!sendSignal(target, 'SIGSTOP')) return;
      await until(began + pauseMs, true).finally(() => sendSignal(target, 'SIGCONT'));
      lastedMs.push(monoMs() - began);
    }
  }

  const courses = daemons.map(({ host, daemon }) => course(livingDaemon(plan, host, daemon), rng.fork(`${host.name} ${daemon}`)));
  return {
    lastedMs,
    stop: async () => {
      stopped = true;
      await Promise.all(courses);
    },
  };
}
