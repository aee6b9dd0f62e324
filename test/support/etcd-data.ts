// What an operator does to etcd's data when something went wrong, or by mistake: a snapshot is taken, all members are emptied, or all of them
// begin with a snapshot that is older than what the hosts have obeyed.

import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { run } from '../../deploy/lab/command.js';
import { members, type LabPlan } from '../../deploy/lab/plan.js';
import { killDaemon, startDaemon } from '../../deploy/lab/processes.js';
import { programs } from '../../deploy/lab/tree.js';

/** As the handbook has it, so that no program mistakes old for new. */
const BUMP = ['--bump-revision', '1000000000', '--mark-compacted'];

const dataOf = (host: { readonly dataFolder: string }): string => join(host.dataFolder, 'etcd');

export async function takeSnapshot(plan: LabPlan): Promise<string> {
  const file = join(plan.runFolder, 'etcd.snapshot');
  rmSync(file, { force: true });
  const [first] = members(plan);
  await run(programs.etcdctl, ['snapshot', 'save', file], {
    environment: { ETCDCTL_ENDPOINTS: first?.etcdClientUrl ?? '', ETCDCTL_API: '3' },
  });
  return file;
}

/** All members begin anew, knowing nothing. */
export async function emptyEtcd(plan: LabPlan): Promise<void> {
  await Promise.all(members(plan).map((host) => killDaemon(plan, host, 'etcd')));
  for (const host of members(plan)) rmSync(dataOf(host), { recursive: true, force: true });
  await Promise.all(members(plan).map((host) => startDaemon(plan, host, 'etcd')));
}

/** `bumped`: as the handbook has it; without it the store's revisions go back as well. */
export async function restoreSnapshot(plan: LabPlan, snapshot: string, { bumped }: { readonly bumped: boolean }): Promise<void> {
  await Promise.all(members(plan).map((host) => killDaemon(plan, host, 'etcd')));
  for (const host of members(plan)) {
    rmSync(dataOf(host), { recursive: true, force: true });
    const options = {
      name: host.name,
      'data-dir': dataOf(host),
      'initial-cluster': members(plan)
        .map((each) => `${each.name}=${each.etcdPeerUrl}`)
        .join(','),
      'initial-cluster-token': `colo-lab-${plan.name}`,
      'initial-advertise-peer-urls': host.etcdPeerUrl,
    };
    const args = Object.entries(options).map(([key, value]) => `--${key}=${value}`);
    await run(programs.etcdutl, ['snapshot', 'restore', snapshot, ...args, ...(bumped ? BUMP : [])]);
  }
  await Promise.all(members(plan).map((host) => startDaemon(plan, host, 'etcd')));
}
