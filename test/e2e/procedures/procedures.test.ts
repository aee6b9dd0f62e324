// The procedures on two real QEMUs, in the order in which a night could bring them, with one TCP connection held all the time.
// Each test goes on from where the one before left the pair.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Ports } from '../../../shared/core/model.js';
import { primaryFailover, secondaryFailover } from '../../../agent/core/procedures/failover.js';
import {
  liveResumeReplication,
  primaryResumeReplication,
  rollbackProtection,
  secondaryResumeReplication,
  switchoverResumeReplication,
} from '../../../agent/core/procedures/resume.js';
import { forceCheckpointNow, primaryStart, secondaryStart } from '../../../agent/core/procedures/start.js';
import type { ProcedureContext } from '../../../agent/core/procedures/context.js';
import type { Procedure, ProcedureResult } from '../../../agent/core/procedures/step.js';
import { flattenCommands } from '../../../agent/core/qemu-args.js';
import { guestImage } from '../../../deploy/lab/tree.js';
import { aSpec } from '../../support/spec.js';
import { Client } from './client.js';
import { Host } from './host.js';
import { makeCertificates } from './certificates.js';
import { GUEST_ADDRESS, inSpace, missing, QEMU, raiseStage, REPLICATION, run, silenceReplication, strikeStage } from './stage.js';

const FOLDER = `/tmp/colo-ha-procedures-${process.pid}`;
const cannot = missing();
if (cannot !== null) console.warn(`skipped: procedures on real QEMU: ${cannot}`);

const guest = cannot === null ? await guestImage() : null;
const spec = aSpec({
  name: 'procedures',
  accel: 'tcg',
  boot: {
    kind: 'kernel',
    kernel: guest?.kernel ?? '',
    initrd: guest?.initrd ?? '',
    append: `console=ttyS0 quiet loglevel=3 mitigations=off nokaslr no_timer_check random.trust_cpu=on panic=-1 tsc=reliable gip=${GUEST_ADDRESS}`,
  },
  checkpointDelayMs: 1_000,
});

let attempts = 0;
function freshPorts(): Ports {
  attempts += 1;
  const base = 24_000 + attempts * 20;
  return { migration: base, nbd: base + 1, mirror: [base + 2], compare: [base + 3] };
}

type Resume = (context: ProcedureContext) => Procedure;

describe.skipIf(cannot !== null).each([
  ['in the open', false],
  ['under TLS', true],
])('procedures on real QEMU %s', { timeout: 120_000 }, (_, secured) => {
  const a = new Host('a', FOLDER, spec, secured ? { folder: join(FOLDER, 'a', 'tls') } : null);
  const b = new Host('b', FOLDER, spec, secured ? { folder: join(FOLDER, 'b', 'tls') } : null);
  let client: Client;
  const timings: string[] = [];

  beforeAll(async () => {
    raiseStage(FOLDER);
    if (secured) await makeCertificates(FOLDER);
    a.makeDisk();
    b.makeDisk();
    await a.start({ kind: 'alone', images: [[a.disk]] });
    client = await Client.connect(60_000);
    await client.more(10, 10_000);
  }, 120_000);

  afterAll(async () => {
    client?.stop();
    await a.kill();
    await b.kill();
    strikeStage();
    run('rm', '-rf', FOLDER);
    console.log(`milliseconds by step:\n${timings.join('\n')}`);
  });

  function note(what: string, result: ProcedureResult, host: Host): void {
    const released = host.progress.find((progress) => progress.kind === 'released');
    const slow = result.timings
      .filter((timing) => timing.durationMs >= 3)
      .map((timing) => `${timing.step} ${timing.durationMs.toFixed(1)}`);
    const releasedMs = released?.kind === 'released' ? `, released ${released.sinceStartMs.toFixed(1)}` : '';
    timings.push(`${what}: ${result.kind} in ${result.durationMs.toFixed(1)}${releasedMs} (${slow.join('; ')})`);
  }

  async function startSecondary(secondary: Host, ports: Ports): Promise<void> {
    secondary.makeOverlays();
    await secondary.start({
      kind: 'secondary',
      images: [secondary.disk],
      overlays: [secondary.overlays],
      ports,
      bindAddress: REPLICATION[secondary.name],
      primaryAddress: REPLICATION[secondary.name === 'a' ? 'b' : 'a'],
    });
    const started = await secondary.run(secondaryStart(await secondary.context(ports)));
    expect(started).toMatchObject({ kind: 'done' });
  }

  async function protect(primary: Host, secondary: Host, resume: Resume): Promise<void> {
    const ports = freshPorts();
    await startSecondary(secondary, ports);
    const from = performance.now();
    const result = await primary.run(resume(await primary.context(ports)));
    note(resume.name, result, primary);
    expect(result, told(result)).toMatchObject({ kind: 'done' });
    await client.more(20, 10_000);
    timings.push(`  client gap ${client.longestGapMs(from).toFixed(0)}`);
    await expectProtected(primary, secondary);
  }

  async function factsBetweenCheckpoints(host: Host): Promise<Awaited<ReturnType<Host['facts']>>> {
    let facts = await host.facts();
    await expect.poll(async () => facts.running || (facts = await host.facts()).running, { timeout: 10_000 }).toBe(true);
    return facts;
  }

  async function expectProtected(primary: Host, secondary: Host): Promise<void> {
    // A checkpoint that is under way stops both guests for a moment.
    const [ours, theirs] = [await factsBetweenCheckpoints(primary), await factsBetweenCheckpoints(secondary)];
    expect(ours).toMatchObject({ role: 'primary', running: true, colo: { mode: 'primary' }, migration: { status: 'colo' } });
    expect(theirs).toMatchObject({ role: 'secondary', running: true, colo: { mode: 'secondary' }, replication: 'clean' });
    expect(ours.filters.map((filter) => filter.id)).toEqual(expect.arrayContaining(['m0', 'redire0', 'redire1', 'comp0']));
    expect(theirs.filters.map((filter) => filter.id).sort()).toEqual(['f1', 'f2', 'rew0']);
    expect([...ours.filters, ...theirs.filters].filter((filter) => !filter.on || !filter.vnetHdr)).toEqual([]);
    expect(ours.chardevs.filter((chardev) => ['mirror0', 'compare1'].includes(chardev.id) && !chardev.connected)).toEqual([]);
    expect(ours.disks[0]?.peer).not.toBe('none');
  }

  async function expectAlone(host: Host, lastMode: 'primary' | 'secondary'): Promise<void> {
    await expect.poll(async () => (await host.facts()).disks[0]?.images.length, { timeout: 10_000 }).toBe(1);
    const facts = await host.facts();
    expect(facts).toMatchObject({
      role: 'alone',
      running: true,
      colo: { mode: 'none', lastMode, reason: 'request' },
      exports: [],
      jobs: [],
    });
    expect(facts.filters.filter((filter) => filter.id !== 'rew0')).toEqual([]);
    expect(facts.disks[0]).toEqual({ present: true, images: [host.disk], peer: 'none', innerJob: false });
  }

  async function killAndRelease(victim: Host, survivor: Host, as: 'primary' | 'secondary'): Promise<void> {
    const from = performance.now();
    await victim.kill();
    const context = await survivor.context(freshPorts());
    const release = as === 'primary' ? primaryFailover(context) : secondaryFailover(context);
    const result = await survivor.run(release);
    note(release.name, result, survivor);
    expect(result, told(result)).toMatchObject({ kind: 'done' });
    await client.more(20, 15_000);
    timings.push(`  client gap ${client.longestGapMs(from).toFixed(0)}`);
    await expectAlone(survivor, as);
  }

  test('a guest that runs alone, stop-copy -> a pair that has shown a checkpoint', () => protect(a, b, primaryResumeReplication));

  test.runIf(secured)(
    'a pair, its export asked for by strangers -> told nothing without a certificate, nor with one that is no QEMU’s',
    async () => {
      const nbd = String(24_001 + attempts * 20);
      const seen = (who: string | null): string => {
        const creds = who === null ? [] : ['--object', `tls-creds-x509,id=t,endpoint=client,dir=${join(FOLDER, 'a', who)}`];
        const image = `driver=nbd,server.type=inet,server.host=${REPLICATION.b},server.port=${nbd},export=parent0`;
        const [program = '', ...args] = inSpace('a', [
          QEMU.img,
          'info',
          ...creds,
          '--image-opts',
          who === null ? image : `${image},tls-creds=t`,
        ]);
        try {
          return run(program, ...args);
        } catch (error) {
          return `refused: ${error instanceof Error ? error.message : String(error)}`;
        }
      };
      expect(seen('tls')).toContain('virtual size: 64 MiB');
      expect(seen(null)).toMatch(/^refused: .*TLS/s);
      expect(seen('tls-of-agent')).toMatch(/^refused: /);
      await client.more(5, 10_000);
    },
  );

  test('a pair, forced checkpoint -> STOP and RESUME on both sides', async () => {
    const [before, beforeThere] = [a.events.length, b.events.length];
    expect(await a.run(forceCheckpointNow(await a.context(freshPorts())))).toMatchObject({ kind: 'done' });
    const names = (events: readonly { readonly name: string }[]): readonly string[] => events.map((event) => event.name);
    expect(names(a.events.slice(before))).toEqual(expect.arrayContaining(['STOP', 'RESUME']));
    await expect.poll(() => names(b.events.slice(beforeThere))).toEqual(expect.arrayContaining(['STOP', 'RESUME']));
  });

  test('secondary killed -> the primary goes on alone', () => killAndRelease(b, a, 'primary'));

  test('primary failover run again -> all is done already', async () => {
    const result = await a.run(primaryFailover(await a.context(freshPorts())));
    expect(result, told(result)).toMatchObject({ kind: 'done' });
    expect(result.timings.filter((timing) => timing.outcome === 'done').map((timing) => timing.step)).toEqual([
      'wait COLO left on request',
      'wait guest running',
    ]);
  });

  test('a second protection, live -> protected while the guest ran', () => protect(a, b, liveResumeReplication));

  test('primary killed -> the secondary goes on alone', () => killAndRelease(a, b, 'secondary'));

  test('secondary failover run again -> nothing is refused', async () => {
    const ports = freshPorts();
    const context = await b.context(ports);
    expect(await b.run(secondaryFailover(context))).toMatchObject({ kind: 'done' });
  });

  test('an ex-secondary, stop-copy with filters before rew0 -> protected', () => protect(b, a, secondaryResumeReplication));

  test('the new secondary killed -> the ex-secondary goes on alone', () => killAndRelease(a, b, 'primary'));

  test('an ex-secondary, primary resume -> rew0 is noticed', () => protect(b, a, primaryResumeReplication));

  test('primary killed again -> roles change back', () => killAndRelease(b, a, 'secondary'));

  test('live with one stop -> protected', () => protect(a, b, switchoverResumeReplication));

  test('the replication network falls silent -> yank first, and the primary goes on alone', async () => {
    silenceReplication(true);
    const from = performance.now();
    const result = await a.run(primaryFailover(await a.context(freshPorts())));
    note('primaryFailover (silent)', result, a);
    expect(result, told(result)).toMatchObject({ kind: 'done' });
    expect(result.durationMs).toBeLessThan(2_000);
    await client.more(20, 15_000);
    timings.push(`  client gap ${client.longestGapMs(from).toFixed(0)}`);
    await expectAlone(a, 'primary');
    await b.kill();
    silenceReplication(false);
  });

  test('silence again, now over the replication driver -> the same', async () => {
    await protect(a, b, secondaryResumeReplication);
    silenceReplication(true);
    const result = await a.run(primaryFailover(await a.context(freshPorts())));
    note('primaryFailover (silent, replication)', result, a);
    expect(result, told(result)).toMatchObject({ kind: 'done' });
    await client.more(20, 15_000);
    await expectAlone(a, 'primary');
    await b.kill();
    silenceReplication(false);
  });

  test('silence, and the secondary takes over -> the yank brings COLO_EXIT, then it goes on alone', async () => {
    await protect(a, b, liveResumeReplication);
    silenceReplication(true);
    const from = performance.now();
    const result = await b.run(secondaryFailover(await b.context(freshPorts())));
    note('secondaryFailover (silent)', result, b);
    await a.kill();
    expect(result, told(result)).toMatchObject({ kind: 'done' });
    expect(result.timings.map((timing) => timing.step)).toContain('wait COLO_EXIT');
    await client.more(20, 15_000);
    timings.push(`  client gap ${client.longestGapMs(from).toFixed(0)}`);
    await expectAlone(b, 'secondary');
    silenceReplication(false);
    await protect(b, a, liveResumeReplication);
    await killAndRelease(b, a, 'secondary');
  });

  test.each([
    ['stop-copy', secondaryResumeReplication, 'drive-mirror resync'],
    ['stop-copy in its stop', secondaryResumeReplication, 'migrate'],
    ['live', liveResumeReplication, 'migrate'],
  ] as const)('secondary killed in the middle of %s -> rolled back, the guest runs', async (_, resume, killBefore) => {
    const ports = freshPorts();
    await startSecondary(b, ports);
    const whole = resume(await a.context(ports));
    const cut = whole.steps.findIndex((step) => step.name === killBefore);
    expect(await a.run({ ...whole, steps: whole.steps.slice(0, cut) })).toMatchObject({ kind: 'done' });
    await b.kill();
    const rest = await a.run({ ...whole, steps: whole.steps.slice(cut) });
    expect(rest.kind).toBe('refused');
    const back = await a.run(rollbackProtection(await a.context(ports)));
    note(`rollback from ${resume.name} before ${killBefore}`, back, a);
    expect(back).toMatchObject({ kind: 'done' });
    await client.more(20, 15_000);
    expect(await a.facts()).toMatchObject({ role: 'alone', running: true });
  });

  test('after all this -> one boot, no hole, every answer on the surviving disk', async () => {
    await client.more(5, 5_000);
    client.stop();
    await a.kill();
    const counters = client.answers.map((answer) => answer.counter);
    expect(counters).toEqual(counters.map((_, k) => k + 1));
    expect(new Set(client.answers.map((answer) => answer.boot)).size).toBe(1);
    expect(client.answers.filter((answer) => answer.diskError !== 0)).toEqual([]);
    expect(missingRecords(a.disk, counters.length)).toEqual([]);
  });

  // Under TCG a secondary whose guest booted by itself may run translations of code that a checkpoint has replaced, and panic (QEMU
  // 11.1; KVM has no translations). So the side that survives here is the primary.
  test('identical images, cold start -> protected, and the primary outlives its secondary', async () => {
    run('cp', a.disk, b.disk);
    const ports = freshPorts();
    await startSecondary(b, ports);
    await a.start({ kind: 'cold-primary', images: [a.disk], ports, bindAddress: REPLICATION.a });
    const started = await a.run(primaryStart(await a.context(ports)));
    note('primaryStart', started, a);
    expect(started).toMatchObject({ kind: 'done' });
    await expectProtected(a, b);
    client = await Client.connect(60_000);
    await client.more(5, 30_000);
    await killAndRelease(b, a, 'primary');
  });

  test('both killed in a pair -> the chain of the secondary boots, and so does the image it is flattened into', async () => {
    await protect(a, b, liveResumeReplication);
    const last = client.answers.at(-1)?.counter ?? 0;
    client.stop();
    await b.kill();
    await a.kill();
    const chain = [b.overlays.active, b.overlays.hidden, b.disk];
    await b.start({ kind: 'alone', images: [chain] });
    client = await Client.connect(60_000);
    await client.more(5, 10_000);
    expect((await b.facts()).disks[0]).toEqual({ present: true, images: chain, peer: 'none', innerJob: false });
    client.stop();
    await b.kill();
    for (const [program = '', ...args] of flattenCommands(QEMU.img, chain)) run(program, ...args);
    await b.start({ kind: 'alone', images: [[b.disk]] });
    client = await Client.connect(60_000);
    await client.more(5, 10_000);
    expect(missingRecords(b.disk, last)).toEqual([]);
  });
});

/** Of one that was not done: at which step, and QEMU's words. */
function told(result: ProcedureResult): string {
  return result.kind === 'done' ? '' : JSON.stringify({ ...result, timings: [] });
}

/** Counters 1..last that are not on the disk image, where the guest wrote them before it answered. */
function missingRecords(image: string, last: number): readonly number[] {
  const bytes = readFileSync(image);
  return Array.from({ length: last }, (_, k) => k + 1).filter((counter) => {
    const at = 1024 * 1024 + counter * 512;
    return !bytes
      .subarray(at, at + 32)
      .toString('latin1')
      .startsWith(`N ${counter} `);
  });
}
