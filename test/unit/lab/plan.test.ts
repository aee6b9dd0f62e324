// Names and addresses of labs: what two labs have must never be the same, and what the kernel limits must fit.

import { describe, expect, it } from 'vitest';
import { checkSocketPaths } from '../../../agent/core/paths.js';
import {
  coordinatorEndpoints,
  guestAddress,
  guestMac,
  LINKS,
  members,
  MOST_HOSTS,
  MOST_LABS,
  nameProblem,
  namespaces,
  planLab,
  type LabPlan,
} from '../../../deploy/lab/plan.js';
import { epoch } from '../../../shared/core/ids.js';

const LONGEST_NAME = 'a234567890b234567890';
/** Of the kernel, for the names of interfaces. */
const INTERFACE_BYTES = 15;

function addressesOf(plan: LabPlan): readonly string[] {
  return [
    plan.client.guestAddress,
    plan.client.managementAddress,
    plan.root.address,
    plan.guest.address,
    ...plan.hosts.flatMap((host) => LINKS.flatMap((link) => host.links[link].address ?? [])),
  ];
}

describe('the name of a lab', () => {
  it.each(['demo', 'a', 'e2e-12345', LONGEST_NAME])('"%s" -> is one', (name) => {
    expect(nameProblem(name)).toBeNull();
  });

  it.each(['', 'Demo', '-a', 'a-', 'a b', 'a/b', '..', 'ä', `${LONGEST_NAME}1`])('"%s" -> is none, and is told why', (name) => {
    expect(nameProblem(name)).toMatch(/cannot name a lab/);
  });
});

describe('the plan of a lab', () => {
  it('with as many hosts as there may be -> gives every address once', () => {
    const addresses = addressesOf(planLab('big', 0, MOST_HOSTS));
    expect(new Set(addresses).size).toBe(addresses.length);
  });

  it('beside all other labs -> shares no subnet, address, namespace or interface of this machine with them', () => {
    const plans = Array.from({ length: MOST_LABS }, (_, index) => planLab(`lab${index}`, index, 3));
    const all = plans.flatMap((plan) => [
      ...Object.values(plan.subnets),
      ...addressesOf(plan),
      ...namespaces(plan),
      plan.root.interface,
      plan.runFolder,
      plan.dataFolder,
    ]);
    expect(new Set(all).size).toBe(all.length);
  });

  it('for whatever name and number -> has interfaces whose names the kernel takes', () => {
    const plan = planLab(LONGEST_NAME, MOST_LABS - 1, MOST_HOSTS);
    const names = [
      plan.root.interface,
      ...plan.hosts.flatMap((host) => LINKS.flatMap((link) => [host.links[link].interface, host.links[link].switchPort])),
    ];
    expect(names.filter((name) => name.length > INTERFACE_BYTES)).toEqual([]);
  });

  it('with the longest name -> leaves room for the sockets of the lab’s VMs', () => {
    const { agentStateDir: stateDir, agentRuntimeDir: runtimeDir } = planLab(LONGEST_NAME, MOST_LABS - 1, MOST_HOSTS).hosts.at(-1) ?? {
      agentStateDir: '',
      agentRuntimeDir: '',
    };
    expect(checkSocketPaths({ stateDir, runtimeDir }, 'demo', epoch(99_999))).toMatchObject({ ok: true });
  });

  it('with more than three hosts -> has three members, whose coordinators are the endpoints', () => {
    const plan = planLab('five', 7, 5);
    expect(members(plan).map((host) => host.name)).toEqual(['host1', 'host2', 'host3']);
    expect(coordinatorEndpoints(plan)).toBe('10.98.7.1:7500,10.98.7.2:7500,10.98.7.3:7500');
  });

  it('for many guests -> gives each its address and a MAC that a card may have', () => {
    const plan = planLab('many', 3, 3);
    const numbers = Array.from({ length: 50 }, (_, k) => k);
    expect(new Set(numbers.map((k) => guestAddress(plan, k))).size).toBe(50);
    const macs = numbers.map(guestMac);
    expect(new Set(macs).size).toBe(50);
    expect(macs.filter((mac) => !/^52:54:00(:[0-9a-f]{2}){3}$/.test(mac))).toEqual([]);
    expect([guestAddress(plan, 0), guestMac(0)]).toEqual([plan.guest.address, plan.guest.mac]);
  });
});
