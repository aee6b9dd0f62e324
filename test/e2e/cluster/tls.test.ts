// A whole cluster under mutual TLS, with users in etcd and signed heartbeats: it protects, fails over, and takes up new certificates under a
// client without missing a heartbeat. What needs no guest is in test/e2e/tls.

import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { renewCertificates, replaceHeartbeatKeys } from '../../../deploy/lab/certificates.js';
import { logFile } from '../../../deploy/lab/daemons.js';
import type { HostPlan, LabPlan } from '../../../deploy/lab/plan.js';
import { summarise } from '../../../deploy/lab/probe-analysis.js';
import { startProber } from '../../../deploy/lab/prober.js';
import { killSide, sideOf } from '../../../deploy/lab/sides.js';
import { HEARTBEAT_SUSPECT_AFTER_MS } from '../../../shared/core/limits.js';
import { waitFor } from '../../support/wait.js';
import { coloctl, historyOf, PROTECT_MS, statusOf, untilPhase } from './cluster.js';
import { missing, useCluster, VM } from './stage.js';

const ANSWER_MS = 60_000;
const AGAIN_MS = 90_000;

const why = missing();
if (why !== null) console.warn(`skipped: ${why}`);

interface CertificateShape {
  readonly identity: string;
  readonly serial: string;
  readonly problem: string | null;
}

async function certificates(plan: LabPlan): Promise<readonly CertificateShape[]> {
  return JSON.parse((await coloctl(plan, ['certs', 'show', '-o', 'json'])).out) as readonly CertificateShape[];
}

/** Log events of all daemons that tell of trouble on a link. */
function troublesOf(plan: LabPlan): readonly string[] {
  const words =
    /"(agent-unheard|lease-lost|lease-gone|leader-suspected|leadership-changed|leadership-won|mirror-lost|peer-put-out|pair-judged|edge)"/;
  return plan.hosts.flatMap((host) =>
    (['agent', 'coordinator'] as const).flatMap((daemon) =>
      readFileSync(logFile(host, daemon), 'utf8')
        .split('\n')
        .filter((line) => words.test(line))
        .map((line) => `${host.name} ${daemon} ${line}`),
    ),
  );
}

/** The keys that a host's agent took up last. */
function keysTaken(host: HostPlan): readonly string[] {
  const lines = readFileSync(logFile(host, 'agent'), 'utf8')
    .split('\n')
    .filter((line) => line.includes('"heartbeat-keys-changed"'));
  return lines.length === 0 ? [] : (JSON.parse(lines.at(-1) ?? '') as { readonly keys: readonly string[] }).keys;
}

describe.skipIf(why !== null)('a cluster under TLS', () => {
  const cluster = useCluster(import.meta.url, { tls: true });

  it('that is brought up -> protects its VM, and every daemon shows a certificate', async () => {
    const plan = cluster();
    await untilPhase(plan, VM, 'protected', PROTECT_MS);
    expect((await coloctl(plan, ['status'])).exit).toBe(0);
    const shown = await certificates(plan);
    console.log((await coloctl(plan, ['certs', 'show'])).out);
    expect(shown.map((each) => each.identity).sort()).toEqual(
      ['operator/admin', ...plan.hosts.flatMap((host) => [`agent/${host.name}`, `coordinator/${host.name}`])].sort(),
    );
    expect(shown.filter((each) => each.problem !== null)).toEqual([]);
    // And between the two QEMUs nothing goes in the open.
    const secondary = readFileSync(`/proc/${(await sideOf(plan, VM, 'secondary')).pid}/cmdline`, 'utf8').split('\0');
    const dialled = secondary.filter((each) => each.startsWith('socket,') && each.includes(',host='));
    expect(dialled).toHaveLength(2);
    expect(dialled.filter((each) => !each.includes('tls-creds=tls-client'))).toEqual([]);
  });

  it('that is given new certificates under a client -> takes them up, and no heartbeat, stream or lease is lost', async () => {
    const plan = cluster();
    const before = new Map((await certificates(plan)).map((each) => [each.identity, each.serial]));
    const quiet = troublesOf(plan);
    const prober = startProber(plan, { probe: 'closed-loop' });
    await prober.waitForMore(40, ANSWER_MS);
    for (const host of plan.hosts) await renewCertificates(plan, host);
    const daemons = plan.hosts.flatMap((host) => [`agent/${host.name}`, `coordinator/${host.name}`]);
    await waitFor(
      async () => {
        const now = new Map((await certificates(plan)).map((each) => [each.identity, each.serial]));
        return daemons.every((each) => now.has(each) && now.get(each) !== before.get(each)) ? true : null;
      },
      { what: 'new certificates of all daemons', boundMs: 20_000, everyMs: 200 },
    );
    await prober.waitForMore(100, ANSWER_MS);
    const summary = summarise(await prober.stop());
    console.log('client over the renewal', JSON.stringify(summary).slice(0, 400));
    expect(troublesOf(plan).slice(quiet.length)).toEqual([]);
    expect((await statusOf(plan))?.exit).toBe(0);
  });

  it('whose heartbeat key is replaced under a protected pair -> no heartbeat is missed, and the old key is heard no more', async () => {
    const plan = cluster();
    const quiet = troublesOf(plan);
    for (const [step, keys] of [
      ['add', 2],
      ['drop', 1],
    ] as const) {
      replaceHeartbeatKeys(plan, step);
      const taken = await waitFor(
        () => {
          const latest = plan.hosts.map((host) => keysTaken(host));
          return latest.every((each) => each.length === keys) ? latest : null;
        },
        { what: `the keys of step "${step}" on all hosts`, boundMs: 20_000, everyMs: 100 },
      );
      expect(new Set(taken.map((each) => each.join())).size).toBe(1);
      // Longer than a host may be silent without being suspected, by the clock of the pair itself.
      const since = Date.now();
      await waitFor(() => Date.now() - since > 2 * HEARTBEAT_SUSPECT_AFTER_MS, { what: 'time for a suspicion', boundMs: 20_000 });
    }
    expect(troublesOf(plan).slice(quiet.length)).toEqual([]);
    expect((await statusOf(plan))?.exit).toBe(0);
  });

  it('whose primary dies -> fails over, is protected again, and the history names who asked for what', async () => {
    const plan = cluster();
    const before = await untilPhase(plan, VM, 'protected', PROTECT_MS);
    killSide(await sideOf(plan, VM, 'primary'));
    await untilPhase(plan, VM, 'protected', AGAIN_MS, before.epoch);
    expect((await historyOf(plan, VM, before.epoch)).map((entry) => entry.to)).toContain('executed');
    const asked = (await historyOf(plan, VM, -1)).filter((entry) => entry.row.startsWith('asked-'));
    expect(asked.map((entry) => `${entry.row} ${entry.by}`)).toEqual(
      expect.arrayContaining(['asked-define operator/admin', 'asked-start operator/admin', 'asked-protect operator/admin']),
    );
  });
});
