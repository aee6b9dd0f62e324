// Everything that can be done to a world, as lines of text: a story writes them down, a search draws them, and a failing run prints them.
// Who is meant may be named by what he is at that moment (who.ts): `leader`, `agent-primary`, `host-secondary`.

import { clusterCodec, vmRecordCodec } from '../../../shared/core/codec.js';
import { epoch, incarnation, term, vmUid } from '../../../shared/core/ids.js';
import type { Order } from '../../../shared/core/model.js';
import { CLIENT } from '../qemu/client.js';
import { ETCD } from '../world/etcd-client.js';
import { setMember } from '../world/etcd-members.js';
import type { Net } from '../world/network.js';
import type { World } from '../world/world.js';
import { everyVmHurt, hostOf, processOf, qemuAt, strike, vmOf } from './who.js';

type Run = (world: World, args: readonly string[]) => void;

/** Carries out one line. Throws when there is no such command. */
export function perform(world: World, line: string): void {
  const [name = '', ...args] = line.split(' ');
  const run = COMMANDS[name];
  if (run === undefined) throw new Error(`no such command: ${line}`);
  world.note(`> ${line}`);
  run(world, args);
}

/** The next time that a line of the event log contains this text, the command is carried out, once. */
export function arm(world: World, text: string, line: string): void {
  // A death that is waited for may come also after all else is healed.
  world.triggers.push({ text, run: () => perform(world, line), lasts: line.startsWith('strike ') });
}

/** Contact may be as old as a beat and its echo when a way is cut, and is proven a beat after it is mended. */
const NOT_FELT_MS = 180;

function ways(world: World, net: Net, args: readonly string[], act: (from: string, to: string) => void): void {
  if (net === 'repl') everyVmHurt(world);
  const [one = '', other = ''] = args.map((each) => hostOf(world, each));
  if (one !== '' && other !== '') act(one, other);
}

function everybody(world: World): readonly string[] {
  return [...new Set([...world.setup.hosts, ...world.setup.coordinators.values(), ETCD, CLIENT])];
}

/** As the last order that this host obeyed, or that the record would give, but for what is wrong with it. */
function stray(world: World, host: string, kind: string, how: string): void {
  const name = vmOf(world, undefined);
  const [agent, wanted, record] = [world.agents.get(host), world.wanted(name), world.record(name)];
  const journal = world.machines.get(host)?.vmJournals.get(name) ?? null;
  const cluster = world.etcd.read(world.keys.cluster);
  const decoded = cluster === null ? null : clusterCodec.decode(cluster.key, cluster.value);
  if (agent === undefined || wanted === null || decoded?.ok !== true) return;
  const isForeign = how.startsWith('foreign');
  const born = journal?.qemu?.born ?? record?.primary?.born ?? epoch(1);
  const order: Order = {
    incarnation: how === 'foreign-incarnation' ? incarnation('another cluster') : decoded.value.incarnation,
    vm: name,
    uid: how === 'foreign-uid' ? vmUid('uid-other') : (journal?.uid ?? wanted.uid),
    term: term((journal?.term ?? 1) + (isForeign ? 1_000 : how === 'older-term' ? -1 : 0)),
    epoch: epoch(
      how === 'older-epoch'
        ? ((journal ?? record)?.epoch ?? 1) - 1
        : Math.max(journal?.epoch ?? 0, record?.epoch ?? 0) + (isForeign ? 1_000 : 0),
    ),
    goal: kind === 'start-alone' ? { kind, born, images: null, create: true } : kind === 'destroy' ? { kind } : { kind: 'stop', born },
    spec: wanted.spec,
  };
  agent.life.deliver(() => void agent.face.order(order).then((answer) => world.watchers.answered(host, order, answer)));
}

const COMMANDS: Readonly<Record<string, Run>> = {
  // -------------------------------------------------------------- machines and processes
  dark: (world, [machine = '']) => {
    everyVmHurt(world);
    world.powerOffMachine(hostOf(world, machine));
  },
  boot: (world, [machine = '']) => world.bootMachine(machine),
  /** Ends one process by its part in the VM: `leader`, `agent-primary`, `qemu-secondary` and so on. The log says whether there was one. */
  strike: (world, [victim = '']) => {
    const why = strike(world, victim);
    world.note(why === null ? `struck ${victim}` : `nobody ${victim}: ${why}`);
  },
  crash: (world, [name = '']) => world.crash(processOf(world, name)),
  'crash-at': (world, [name = '', call = '1', when = 'before']) =>
    world.crashAt(processOf(world, name), { call: Number(call), when: when === 'after' ? 'after' : 'before', texts: [] }),
  /** At a call that contains these texts: a command to QEMU with its arguments, a transaction with its key, an order, a journal. */
  'crash-on': (world, [name = '', when = 'before', ...text]) =>
    world.crashAt(processOf(world, name), { call: 1, when: when === 'after' ? 'after' : 'before', texts: text.join(' ').split('*') }),
  pause: (world, [name = '']) => world.pause(processOf(world, name)),
  /** It stands still right behind such a call, as in `crash-on`. */
  'pause-on': (world, [name = '', ...text]) =>
    world.crashAt(processOf(world, name), { call: 1, when: 'pause', texts: text.join(' ').split('*') }),
  wake: (world, [name = '']) => world.wake(processOf(world, name)),
  'wake-all': (world) => {
    for (const each of [...world.agents.values(), ...world.coordinators.values()]) each.life.wake();
  },
  'boot-all': (world) => {
    for (const machine of [...world.setup.hosts, ...world.setup.coordinators.values()]) world.bootMachine(machine);
  },
  'step-clock': (world, [name = '', ms = '0']) => {
    const life = world.lifeOf(processOf(world, name));
    if (life !== null) life.wallOffsetMs += Number(ms);
  },

  // -------------------------------------------------------------- networks
  cut: (world, [net = 'mgmt', ...rest]) => ways(world, net as Net, rest, (from, to) => world.network.cut(net as Net, from, to)),
  mend: (world, [net = 'mgmt', ...rest]) => ways(world, net as Net, rest, (from, to) => world.network.mend(net as Net, from, to)),
  'cut-both': (world, [net = 'mgmt', ...rest]) =>
    ways(world, net as Net, rest, (from, to) => {
      world.network.cut(net as Net, from, to);
      world.network.cut(net as Net, to, from);
    }),
  /** Cut both ways and mended so many milliseconds later: for less than the suspect time that hurts nobody. */
  blink: (world, [net = 'repl', one = '', other = '', ms = '100']) => {
    const ends = [hostOf(world, one), hostOf(world, other)] as const;
    const both = (change: (from: string, to: string) => void): void => (change(...ends), change(ends[1], ends[0]));
    if (Number(ms) > NOT_FELT_MS) everyVmHurt(world);
    both((from, to) => world.network.cut(net as Net, from, to));
    world.kernel.after(Number(ms), () => both((from, to) => world.network.mend(net as Net, from, to)));
  },
  /** `in`, `out` or `both` ways between one machine and all others. */
  isolate: (world, [net = 'mgmt', name = '', direction = 'both']) => {
    const machine = hostOf(world, name);
    if (net === 'repl') everyVmHurt(world);
    for (const other of everybody(world)) {
      if (other === machine || machine === '') continue;
      if (direction !== 'in') world.network.cut(net as Net, machine, other);
      if (direction !== 'out') world.network.cut(net as Net, other, machine);
    }
  },
  /** All that stands between a pair, and nothing else. */
  'heal-links': (world) => {
    world.network.mendAll();
    perform(world, 'wake-all-qemus');
  },
  'mend-all': (world) => world.network.mendAll(),
  weather: (world, [drop = '0', twice = '0', slowMs = '5']) => {
    Object.assign(world.network.weather, { drop: Number(drop), twice: Number(twice), slowMs: Number(slowMs) });
    // Lost heartbeats beside questions that are lost as well are what a cut link looks like.
    if (Number(drop) > 0.05 || Number(slowMs) > 100) everyVmHurt(world);
  },

  // -------------------------------------------------------------- etcd
  etcd: (world, [state = 'up']) => world.etcd.setDown(state === 'down'),
  /** One member by itself: it stands still (`pause`), is cut off from the others (`cut`), or is well again. */
  member: (world, [name = '', how = 'well']) => {
    const server = world.members.find((each) => each.name === name);
    if (server !== undefined) setMember(server, how === 'pause' ? 'paused' : how === 'cut' ? 'cut' : 'well');
  },
  /** Nothing that was is kept but what is there now. */
  compact: (world) => world.etcd.compact(world.etcd.revision),
  'lose-lease': (world, [index = '0']) => {
    const leases = world.etcd.leases();
    const host = hostOf(world, index);
    const lease = /^\d+$/.test(index) ? leases[Number(index) % Math.max(1, leases.length)] : world.etcd.read(world.keys.host(host))?.lease;
    if (lease !== undefined) world.etcd.revoke(lease);
  },
  'freeze-watch': (world, [machine = '', ms = '1000']) =>
    void world.storeFaults.frozenUntil.set(hostOf(world, machine), world.kernel.now + Number(ms)),
  'slow-store': (world, [probability = '0']) => {
    world.storeFaults.slowMember = Number(probability);
  },

  // -------------------------------------------------------------- QEMU, disks and guests
  kill: (world, [role, vm]) => qemuAt(world, role, vm)?.die('killed'),
  stop: (world, [role, vm]) => qemuAt(world, role, vm)?.stop(),
  cont: (world, [role, vm]) => qemuAt(world, role, vm)?.cont(),
  hang: (world, [role, vm]) => qemuAt(world, role, vm)?.hold('a fault'),
  /** Nobody gets a new connection to its monitor; those that are there go on. */
  deaf: (world, [role, vm]) => {
    const name = vmOf(world, vm);
    const qemu = role === 'primary' || role === 'secondary' ? world.side(name, role) : null;
    if (qemu !== null) qemu.listening = false;
  },
  unhang: (world, [role, vm]) => qemuAt(world, role, vm)?.release('a fault'),
  'wake-all-qemus': (world) => {
    for (const machine of world.machines.values()) {
      for (const qemu of machine.running()) {
        qemu.cont();
        qemu.release('a fault');
        qemu.guest.nextLoadFails = false;
        qemu.listening = true;
      }
    }
  },
  full: (world, [host = '']) => {
    everyVmHurt(world);
    const machine = world.machines.get(hostOf(world, host));
    if (machine !== undefined) machine.isFull = true;
  },
  'bad-disk': (world, [role, vm]) => {
    const qemu = qemuAt(world, role, vm);
    if (qemu !== null) qemu.block.image.bad = true;
  },
  'mend-disks': (world) => {
    for (const machine of world.machines.values()) {
      machine.isFull = false;
      for (const image of machine.images.values()) image.bad = false;
    }
  },
  'bad-load': (world, [vm]) => {
    const qemu = qemuAt(world, 'secondary', vm);
    if (qemu !== null) qemu.guest.nextLoadFails = true;
  },
  'guest-poweroff': (world, [vm]) => {
    world.watchers.hurt.add(vmOf(world, vm));
    world.guestPowerOff(vmOf(world, vm));
  },

  // -------------------------------------------------------------- the operator
  want: (world, [state = 'running', vm]) => {
    world.watchers.hurt.add(vmOf(world, vm));
    world.wish(vmOf(world, vm), { wanted: state as 'running' | 'stopped' | 'deleted' });
  },
  protect: (world, [state = 'yes', vm]) => {
    world.watchers.hurt.add(vmOf(world, vm));
    world.wish(vmOf(world, vm), { protect: state === 'yes' });
  },

  /** Another VM of the same name: nothing that is left of the earlier one may be taken for it. */
  define: (world, [vm]) => {
    world.watchers.hurt.add(vmOf(world, vm));
    world.define(vmOf(world, vm));
  },
  /** The same, and the operator has left the images of the earlier one where they are. */
  'define-over': (world, [vm]) => {
    world.watchers.hurt.add(vmOf(world, vm));
    world.define(vmOf(world, vm), true);
  },
  /** An operator has looked into the cause of so many failovers. */
  release: (world, [vm]) => world.wish(vmOf(world, vm), { releasedAtMs: world.wallMs() }),
  // -------------------------------------------------------------- what only a restored store or another cluster does
  'lose-record': (world, [vm]) => {
    world.watchers.hurt.add(vmOf(world, vm));
    world.etcd.apply([{ kind: 'delete', key: world.keys.record(vmOf(world, vm)) }]);
  },
  /** The record is again what it was so many edges ago. */
  'restore-record': (world, [edges = '1', vm]) => {
    const name = vmOf(world, vm);
    const value = world.watchers.earlier(name, Number(edges));
    world.watchers.hurt.add(name);
    if (value !== null) world.etcd.apply([{ kind: 'put', key: world.keys.record(name), value, lease: null }]);
  },
  /** The record of another VM of that name, which is stopped. */
  'foreign-record': (world, [vm]) => {
    const record = world.record(vmOf(world, vm));
    if (record === null) return;
    world.watchers.hurt.add(record.vm);
    const other = {
      ...record,
      uid: vmUid('uid-other'),
      epoch: epoch(record.epoch + 1),
      phase: 'stopped' as const,
      primary: null,
      secondary: null,
    };
    world.etcd.apply([{ kind: 'put', key: world.keys.record(record.vm), value: vmRecordCodec.encode(other), lease: null }]);
  },
  /** An order that no leader of this cluster gives, or not any more: `foreign-incarnation`, `foreign-uid`, `older-term`, `older-epoch`, `same`. */
  stray: (world, [where = '', kind = 'destroy', how = 'same']) => stray(world, hostOf(world, where), kind, how),
  /** What a story says that must be so by now: the VM's phase is one of these. */
  expect: (world, [vm = '', ...phases]) => {
    const phase = world.record(vm)?.phase ?? 'none';
    if (!phases.includes(phase)) world.violate(`${vm} is ${phase} and must be ${phases.join(' or ')} by now`);
  },

  /** The end of all faults. */
  heal: (world) => {
    Object.assign(world.network.weather, { drop: 0, twice: 0, slowMs: 5 });
    world.storeFaults.slowMember = 0;
    world.storeFaults.frozenUntil.clear();
    world.triggers.splice(0, world.triggers.length, ...world.triggers.filter((each) => each.lasts === true));
    world.network.mendAll();
    world.etcd.setDown(false);
    for (const each of world.members) setMember(each, 'well');
    perform(world, 'mend-disks');
    perform(world, 'wake-all-qemus');
    for (const each of [...world.agents.values(), ...world.coordinators.values()]) each.life.crashPlan = null;
    perform(world, 'wake-all');
    perform(world, 'boot-all');
  },
};
