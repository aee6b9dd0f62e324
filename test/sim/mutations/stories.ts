// Small stories in which one rule decides. Each is tried with several seeds, because the seed sets how long everything takes; none of them
// may break anything in the product as it is.

import type { VmSpec } from '../../../shared/core/model.js';
import { aVm, plainSetup, type Setup } from '../world/setup.js';

export interface Story {
  readonly spec: Partial<VmSpec>;
  readonly setup: Partial<Setup>;
  /** Faults begin when the VM is protected; false = at once. */
  readonly warm: boolean;
  /** `<ms> <command>`, or `<ms> on <text of the event log> : <command>`. Milliseconds count from the beginning of the faults. */
  readonly lines: readonly string[];
  /** After so long everything is healed. */
  readonly lastsMs: number;
  /** Whether the world must come to rest afterwards. */
  readonly rests: boolean;
}

const story = (lines: readonly string[], change: Partial<Omit<Story, 'lines'>> = {}): Story => ({
  spec: { checkpointDelayMs: 200 },
  setup: { hosts: ['h1', 'h2'] },
  warm: true,
  lastsMs: 3_000,
  rests: false,
  lines,
  ...change,
});

export const STORIES: Readonly<Record<string, Story>> = {
  'a pair is made': story([], { warm: false, lastsMs: 12_000, rests: true }),
  'primary killed': story(['0 kill primary']),
  'secondary killed, and a new pair': story(['0 kill secondary'], { lastsMs: 8_000 }),
  'primary killed in a checkpoint': story(['0 on has received a checkpoint : kill primary']),
  'primary killed in the copy': story(['0 on migrate { : kill primary'], { warm: false, lastsMs: 4_000 }),
  'primary killed while the store answers late': story(['0 slow-store 0.9', '10 kill primary']),
  'primary killed while the store is away': story(['0 etcd down', '5 kill primary']),
  'primary killed, and the store goes away after the verdict': story(['0 kill primary', '0 on -> verdict@ : etcd down']),
  'two failovers, one after the other': story(['0 kill primary', '0 on -> protected@ : kill primary'], { lastsMs: 10_000 }),
  // An agent that has just started has seen no checkpoint of its pair yet, and nobody hears the other one.
  'one agent is away and the other begins anew': story(['0 isolate mgmt host-secondary both', '400 crash agent-primary'], {
    lastsMs: 5_000,
    spec: { checkpointDelayMs: 1_000 },
  }),
  'one agent is away and the other begins anew, on the other side': story(
    ['0 isolate mgmt host-primary both', '400 crash agent-secondary'],
    { lastsMs: 5_000, spec: { checkpointDelayMs: 1_000 } },
  ),
  'a leader that lost its place and has not heard of it': story(
    [
      '0 freeze-watch host-leader 4000',
      '0 cut-both mgmt c1 c2',
      '0 cut-both mgmt c1 c3',
      '0 cut-both mgmt c2 c3',
      '0 on leadership-won : kill secondary',
    ],
    { lastsMs: 5_000 },
  ),
  'two leaders after another, the new one with a late mirror': story(
    ['0 freeze-watch c1 3000', '0 freeze-watch c2 3000', '0 freeze-watch c3 3000', '5 kill secondary', '300 crash leader'],
    { lastsMs: 6_000 },
  ),
  'the agent of the secondary sleeps while the pair is made': story(['0 on migrate { : pause agent-secondary'], {
    warm: false,
    lastsMs: 8_000,
  }),
  'orders of another cluster': story(['0 stray host-primary stop foreign-incarnation']),
  'orders for another VM of that name': story(['0 stray host-primary stop foreign-uid']),
  'an order of an older term': story(['0 stray host-primary stop older-term']),
  'an order of an older epoch': story(['0 stray host-primary stop older-epoch']),
  'an old start reaches a host that knows nothing': story(
    ['0 cut-both mgmt c1 h3', '0 cut-both mgmt c2 h3', '0 cut-both mgmt c3 h3', '5 stray h3 start-alone older-epoch'],
    {
      setup: { hosts: ['h1', 'h2', 'h3'] },
    },
  ),
  'a leader orders too much': story(['0 stray host-secondary destroy same']),
  'the record is lost and a destroy comes': story(['0 lose-record', '20 stray h1 destroy same']),
  'the record is of another VM and a destroy comes': story(['0 foreign-record', '20 stray h1 destroy same']),
  'the store is restored and a destroy comes': story(['0 restore-record 2', '20 stray h2 destroy same']),
  'the store is restored': story(['0 restore-record 2', '500 want stopped'], { lastsMs: 6_000 }),
  'the secondary does not load a checkpoint, and the primary dies': story(['0 bad-load', '0 on event COLO_EXIT : kill primary']),
  "the secondary's disk is full, and the primary dies": story(['0 full host-secondary', '1500 kill primary'], {
    spec: { checkpointDelayMs: 1_000, method: 'stop-copy' },
  }),
  "the secondary's disk is full while nobody hears the primary": story(['0 isolate mgmt host-primary both', '600 full host-secondary'], {
    lastsMs: 5_000,
    spec: { checkpointDelayMs: 500, method: 'stop-copy' },
  }),
  'the guest powers off': story(['0 guest-poweroff'], { rests: true }),
  'the promoted side dies while it merges': story(['0 kill primary', '0 on -> solo@ : kill primary'], { lastsMs: 6_000 }),
  'the link is cut': story(['0 cut-both repl host-primary host-secondary'], { lastsMs: 5_000 }),
  'the winner dies before it is heard of': story(
    ['0 cut-both repl host-primary host-secondary', '0 on -> verdict@ : etcd down', '4000 kill primary', '4300 etcd up'],
    { lastsMs: 7_000 },
  ),
  'the agent of the winner dies as it releases, and its QEMU before it is back': story(
    [
      '0 cut-both repl host-primary host-secondary',
      '0 on x-colo-lost-heartbeat : crash agent-primary',
      '1500 on agent h1 starts : kill primary',
    ],
    { lastsMs: 8_000 },
  ),
  'the secondary goes dark': story(['0 dark host-secondary', '4500 expect demo executed solo syncing protected'], { lastsMs: 5_000 }),
  'the primary is cut off, another is promoted, and it comes back': story(
    ['0 isolate mgmt host-primary both', '0 cut-both repl host-primary host-secondary', '5000 mend-all'],
    { lastsMs: 6_500 },
  ),
  'the agent of the primary stands still': story([
    '0 pause agent-primary',
    '900 wake agent-primary',
    '1500 pause agent-primary',
    '2600 wake-all',
  ]),
  'the agent of the primary stands still in the middle of a question': story(
    ['0 pause-on agent-primary qmp yank *[]', '1200 wake-all', '1500 pause-on agent-primary qmp yank *[]', '2400 wake-all'],
    { lastsMs: 4_000 },
  ),
  'the agent of the secondary stands still for long': story(['0 pause agent-secondary', '2500 wake-all'], {
    spec: { checkpointDelayMs: 1_000 },
  }),
  "both agents begin anew, and the primary's monitor is not reached": story(
    ['0 deaf primary', '0 crash agent-secondary', '300 crash agent-primary', '4000 wake-all-qemus'],
    {
      lastsMs: 5_000,
      spec: { checkpointDelayMs: 1_500 },
    },
  ),
  'nobody gets at the monitor of the secondary any more': story(['0 deaf secondary', '0 crash agent-secondary', '6000 wake-all-qemus'], {
    lastsMs: 7_000,
  }),
  'all coordinators stand still while the link is cut for a moment': story(
    [
      '0 pause c1',
      '0 pause c2',
      '0 pause c3',
      '10 cut-both repl host-primary host-secondary',
      '560 mend-all',
      '1000 wake-all',
      '1400 expect demo protected',
    ],
    { spec: { checkpointDelayMs: 1_000 } },
  ),
  'the link blinks for less than the suspect time': story(
    [0, 1_000, 2_000, 3_000, 4_000].map((at) => `${at} blink repl host-primary host-secondary 180`),
    { lastsMs: 5_000, spec: { checkpointDelayMs: 1_000 } },
  ),
  'the link is cut while the store is away': story(['0 etcd down', '5 cut-both repl host-primary host-secondary']),
  'the link is cut, and of the secondary only its host comes back': story(
    ['0 etcd down', '5 cut-both repl host-primary host-secondary', '1000 stop secondary', '1000 pause agent-secondary', '1100 mend-all'],
    { spec: { checkpointDelayMs: 1_000 } },
  ),
  'the link is cut while the store is away, and the agent of the primary begins anew': story(
    ['0 etcd down', '5 cut-both repl host-primary host-secondary', '1000 crash agent-primary'],
    { lastsMs: 8_000 },
  ),
  "the lease of the primary's host ends too early": story(['0 lose-lease host-primary']),
  'the leader is cut off from all agents': story(['0 cut-both mgmt host-leader h1', '0 cut-both mgmt host-leader h2']),
  'the primary dies while nobody hears the secondary': story(['0 isolate mgmt host-secondary both', '600 kill primary'], {
    lastsMs: 4_000,
  }),
  "the primary's disk fails, and later its secondary dies": story(['0 bad-disk primary', '1500 mend-disks', '1600 kill secondary'], {
    lastsMs: 4_000,
  }),
  'the network is cut, and heals while the secondary is let go': story(
    ['0 isolate mgmt host-primary', '0 cut repl host-primary host-secondary', '240 stop secondary', '420 mend-all', '2000 wake-all'],
    { lastsMs: 4_000 },
  ),
  "the primary's disk fails, and its secondary dies before its agent can say so": story(
    ['0 pause agent-primary', '0 bad-disk primary', '150 kill secondary', '300 wake-all', '1000 mend-disks'],
    { lastsMs: 5_000, spec: { checkpointDelayMs: 1_000, method: 'stop-copy' } },
  ),
  "the secondary's disk is full, and the primary dies as it wins": story(
    // Its agent is late, so that the checkpoint in which the secondary forgets what it refused ends before the primary dies.
    ['0 full host-secondary', '0 on -> verdict@ : pause agent-primary', '2500 kill primary', '2600 wake-all'],
    { lastsMs: 5_000, spec: { checkpointDelayMs: 1_000, method: 'stop-copy' } },
  ),
  'the secondary refused a write, a checkpoint forgot it, and the primary dies before the next regular look': story(
    ['0 full host-secondary', '50 on event RESUME : kill primary'],
    { lastsMs: 4_000 },
  ),
  'the pairs of two VMs are made in one moment': story(
    [0, 1, 2, 3].flatMap((k) => [
      `${3_000 * k} protect no demo`,
      `${3_000 * k} protect no other`,
      `${3_000 * k + 1_500} protect yes demo`,
      `${3_000 * k + 1_500} protect yes other`,
    ]),
    { lastsMs: 12_000, setup: { hosts: ['h1', 'h2'], portBlocks: 4, vms: [aVm('demo'), aVm('other')] } },
  ),
  'what the watches are at is compacted': story(
    ['0 freeze-watch c1 350', '0 freeze-watch c2 350', '0 freeze-watch c3 350', '10 want stopped', '100 compact'],
    { rests: true, setup: { hosts: ['h1', 'h2'], members: true } },
  ),
  'every member in turn is cut off from the others': story(
    [
      '0 member e1 cut',
      '5 want stopped',
      '3000 member e1 well',
      '3000 member e2 cut',
      '3005 want running',
      '6000 expect demo protected solo syncing',
      '6000 member e2 well',
      '6000 member e3 cut',
      '6005 want stopped',
      '8900 expect demo stopped',
    ],
    { lastsMs: 9_000, setup: { hosts: ['h1', 'h2'], members: true } },
  ),
  "the primary's disk fails, and the secondary dies as it wins": story(
    // While nobody can decide, the client is told of what only the secondary has written.
    ['0 etcd down', '0 bad-disk primary', '600 etcd up', '600 on -> verdict@ : kill primary', '2600 mend-disks'],
    { lastsMs: 7_000 },
  ),
  'the winner dies in the moment of its verdict': story(
    ['0 cut-both repl host-primary host-secondary', '0 on -> verdict@ : kill primary'],
    { lastsMs: 4_000, spec: { checkpointDelayMs: 1_000 } },
  ),
  'a VM of the same name is defined over the files of another': story(['0 want deleted', '3000 define-over'], { lastsMs: 6_000 }),
  'a start that is on its way when the stop comes': story(
    [
      '0 want stopped',
      '400 want running',
      '400 on -> starting@ : pause agent-h1',
      '550 want stopped',
      '1400 cut-both mgmt c1 h1',
      '1400 cut-both mgmt c2 h1',
      '1400 cut-both mgmt c3 h1',
      '1500 wake-all',
    ],
    { lastsMs: 4_000 },
  ),
  'the host with the valid disk is away when the VM is started again': story(
    ['0 protect no', '1500 want stopped', '0 on -> stopped@ : isolate mgmt h1 both', '4000 want running'],
    { lastsMs: 8_000 },
  ),
};

/** The setup of a story. `seed` decides on all luck. */
export function setupOf({ spec, setup }: Story, seed: number): Setup {
  return plainSetup(seed, { vms: [aVm('demo', spec)], ...setup });
}
