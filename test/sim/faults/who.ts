// Who is meant by a name in a command: a machine or process by its own name, or by what it is at that moment for the VM.

import type { Qemu } from '../qemu/shapes.js';
import type { World } from '../world/world.js';

export const vmOf = (world: World, name: string | undefined): string => name ?? world.setup.vms[0]?.spec.name ?? '';

export function processOf(world: World, name: string): string {
  if (name === 'leader') return world.leader()?.life.name ?? '';
  if (name === 'follower')
    return [...world.coordinators.values()].find((each) => each.life.alive && each !== world.leader())?.life.name ?? '';
  const role = /^agent-(primary|secondary|spare)$/.exec(name)?.[1];
  if (role !== undefined) return `agent ${hostOf(world, `host-${role}`)}`;
  return name.replace(/^agent-/, 'agent ');
}

/** A machine by its name, or by what runs there. */
export function hostOf(world: World, name: string): string {
  const role = /^host-(primary|secondary|leader|spare)$/.exec(name)?.[1];
  if (role === undefined) return name;
  if (role === 'leader') return world.leader()?.life.machine ?? '';
  const record = world.record(vmOf(world, undefined));
  if (role === 'primary' || role === 'secondary') return record?.[role]?.host ?? '';
  return world.setup.hosts.find((each) => each !== record?.primary?.host && each !== record?.secondary?.host) ?? '';
}

export function qemuAt(world: World, role: string | undefined, vm: string | undefined): Qemu | null {
  const name = vmOf(world, vm);
  const found =
    role === 'primary' || role === 'secondary'
      ? world.side(name, role)
      : (world.qemusOf(name).find((each) => each.machine.name === role) ?? null);
  if (found !== null) world.watchers.hurt.add(name);
  return found;
}

export function everyVmHurt(world: World): void {
  for (const { spec } of world.setup.vms) world.watchers.hurt.add(spec.name);
}

/** Null = it has ended; else why there is nobody to end. */
export function strike(world: World, victim: string): string | null {
  const record = world.record(vmOf(world, undefined));
  const role = /-(primary|secondary)$/.exec(victim)?.[1] as 'primary' | 'secondary' | undefined;
  if (role !== undefined && (record?.[role] ?? null) === null) return `a record that is ${record?.phase ?? 'not there'} names no ${role}`;
  if (victim.startsWith('qemu-')) {
    const qemu = qemuAt(world, role, undefined);
    qemu?.die('killed');
    return qemu === null ? `its QEMU does not run, and the record is ${record?.phase ?? 'not there'}` : null;
  }
  const life = world.lifeOf(processOf(world, victim));
  if (life?.alive !== true) return victim === 'leader' ? 'nobody leads' : 'its agent is dead, or there is no such host';
  life.die('crash');
  return null;
}
