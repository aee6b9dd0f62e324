// `coloctl cluster init`, `coloctl host add`, `coloctl person add`, `coloctl certs renew`: the folder of a cluster, made offline; and
// `coloctl cluster etcd-users`, which makes etcd know its users. The libraries for certificates and etcd are loaded only where they are needed.

import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { InvalidArgumentError, type Command } from 'commander';
import { fail, ok, type Result } from '../../shared/core/result.js';
import { ETCD_SERVER_NAME, etcdEndpoints, isMember, type Member } from '../../shared/io/pki/cluster-plan.js';
import type { Folder } from '../../shared/io/pki/cluster-folder.js';
import { EXIT } from './exit-codes.js';
import { failure, type CliWorld, type Failure } from './world.js';

export type Alone = (work: () => Promise<number | Failure>) => Promise<void>;

interface FolderFlag {
  readonly folder: string;
}

export function addClusterCommands(program: Command, world: CliWorld, alone: Alone): void {
  const cluster = program.command('cluster').description('make the authority, certificates and configuration of a cluster, offline');
  cluster
    .command('init')
    .description('begin a cluster: its certificate authority, heartbeat key, and an operator')
    .argument('<name>', 'of the cluster')
    .requiredOption('--member <name=address>', 'a machine with etcd and a coordinator; three of them', member)
    .option('--folder <folder>', 'where to (default ./NAME)')
    .option('--operator <name>', 'whose certificate is made at once', 'admin')
    .option('--encrypt-replication', "TLS for QEMU's own streams as well")
    .action((name: string, flags: InitFlags) => alone(() => init(world, name, flags)));
  folderOf(cluster.command('etcd-users'))
    .description('make the users and roles in etcd and let it ask for them; again after each host add')
    .option('--prefix <prefix>', 'of the keys in etcd (default /colo/NAME)')
    .action((flags: FolderFlag & { readonly prefix?: string }) => alone(() => etcdUsers(world, flags.folder, flags.prefix ?? null)));

  folderOf(cluster.command('heartbeat-key'))
    .description("replace the key of the hosts' heartbeats, in two steps, while everything runs")
    .option('--add', 'first: make a new key, beside the old one')
    .option('--drop', 'then, when every host has both: take the old one away')
    .action((flags: HeartbeatKeyFlags) => alone(() => heartbeatKey(world, flags)));

  const host = program.command('host').description('machines of a cluster');
  folderOf(host.command('add'))
    .description('make certificates and configuration of one more machine')
    .argument('<name>')
    .option('--address <address>', 'on the management network (of members it is known)')
    .option('--replication <address>', 'on the replication network')
    .option('--bridge <bridge>', 'that guests are put on')
    .option('--votes-only', 'no guest ever runs here')
    .action((name: string, flags: HostFlags) => alone(() => addHostTo(world, name, flags)));

  const person = program.command('person').description('people and programs that use coloctl');
  folderOf(person.command('add'))
    .description('make a certificate for a person; again to renew it')
    .argument('<name>')
    .option('--viewer', 'may look and change nothing')
    .action((name: string, flags: FolderFlag & { readonly viewer?: boolean }) =>
      alone(async () => {
        const role = flags.viewer === true ? 'viewer' : 'operator';
        return made(world, await withFolder(world, flags.folder, async (folder, pki, now) => pki.addPerson(folder, { role, name }, now)));
      }),
    );
}

export function addRenewCommand(certs: Command, world: CliWorld, alone: Alone): void {
  folderOf(certs.command('renew'))
    .description('make new certificates for hosts, from the folder of the cluster; copy and install them as at first')
    .option('--host <name>', 'only this one; can be given again', (text: string, before: readonly string[] | undefined) => [
      ...(before ?? []),
      text,
    ])
    .action((flags: FolderFlag & { readonly host?: readonly string[] }) => alone(() => renew(world, flags.folder, flags.host ?? null)));
}

interface InitFlags {
  readonly member: readonly Member[];
  readonly folder?: string;
  readonly operator: string;
  readonly encryptReplication?: boolean;
}

interface HostFlags extends FolderFlag {
  readonly address?: string;
  readonly replication?: string;
  readonly bridge?: string;
  readonly votesOnly?: boolean;
}

interface HeartbeatKeyFlags extends FolderFlag {
  readonly add?: boolean;
  readonly drop?: boolean;
}

type Pki = typeof import('../../shared/io/pki/cluster-folder.js');

const pki = (): Promise<Pki> => import('../../shared/io/pki/cluster-folder.js');

async function init(world: CliWorld, name: string, flags: InitFlags): Promise<number | Failure> {
  const { folder = name, member: members, operator } = flags;
  const path = resolve(folder);
  const plan = { cluster: name, members, ...(flags.encryptReplication === true ? { encryptReplication: true } : {}) };
  const done = await (await pki()).initCluster(path, plan, operator, world.clock.wallMs());
  if (!done.ok) return failure(EXIT.error, `${done.error}\nNothing was changed.`);
  world.out(
    [
      `The cluster ${name} has an authority. Whoever has ${path}/ca/ca.key can be anybody in it: keep the folder offline, and a copy of it.`,
      `For ${operator}: copy ${done.value.join(', ')} to ~/.config/colo`,
      `Next, for each machine: coloctl host add ${members[0]?.name ?? 'NAME'} --folder ${folder} --replication ADDRESS --bridge BRIDGE`,
      `A machine that only votes: coloctl host add NAME --folder ${folder} --votes-only`,
      '',
    ].join('\n'),
  );
  return EXIT.ok;
}

async function addHostTo(world: CliWorld, name: string, flags: HostFlags): Promise<number | Failure> {
  if ((flags.replication === undefined) !== (flags.votesOnly === true))
    return failure(EXIT.usage, 'say either --replication ADDRESS, or --votes-only for a machine without guests');
  return made(
    world,
    await withFolder(world, flags.folder, (folder, { addHost }, now) => {
      const known = folder.plan.members.find((each) => each.name === name)?.address;
      const address = flags.address ?? known;
      if (address === undefined) return Promise.resolve(fail(`${name} is no member, so its address is not known: give --address`));
      if (known !== undefined && address !== known)
        return Promise.resolve(fail(`${name} is a member at ${known}, as was said at the beginning`));
      return addHost(folder, { name, address, replicationAddress: flags.replication ?? null, bridge: flags.bridge ?? null }, now);
    }),
  );
}

async function renew(world: CliWorld, path: string, names: readonly string[] | null): Promise<number | Failure> {
  const done = await withFolder(world, path, async (folder, { hostsOf, renewHost }, now) => {
    const renewed: string[] = [];
    for (const name of names ?? hostsOf(folder)) {
      const one = await renewHost(folder, name, now);
      if (!one.ok) return one;
      renewed.push(one.value);
    }
    return ok(renewed);
  });
  if (!done.ok) return failure(EXIT.error, done.error);
  for (const each of done.value)
    world.out(`New certificates are in ${each}: copy it to the host and run install.sh there. Nothing is restarted.\n`);
  return EXIT.ok;
}

async function heartbeatKey(world: CliWorld, flags: HeartbeatKeyFlags): Promise<number | Failure> {
  if ((flags.add === true) === (flags.drop === true)) return failure(EXIT.usage, 'say either --add, which comes first, or --drop');
  const step = flags.add === true ? 'add' : 'drop';
  const done = await withFolder(world, flags.folder, (folder, { replaceHeartbeatKey }) =>
    Promise.resolve(replaceHeartbeatKey(folder, step)),
  );
  if (!done.ok) return failure(EXIT.error, `${done.error}\nNothing was changed.`);
  for (const each of done.value) world.out(`${each}: copy it to the host and run install.sh there. Nothing is restarted.\n`);
  if (step === 'add')
    world.out(
      'When every agent has said heartbeat-keys-changed with two keys: coloctl cluster heartbeat-key --drop, and the same again.\n',
    );
  return EXIT.ok;
}

async function etcdUsers(world: CliWorld, path: string, prefix: string | null): Promise<number | Failure> {
  const done = await withFolder(world, path, async (folder, { hostsOf }) => {
    const { plan } = folder;
    const root = join(folder.path, 'etcd-root');
    const read = (name: string): Buffer => readFileSync(join(root, name));
    const hosts = hostsOf(folder);
    const { prepareUsers } = await import('../../shared/io/etcd/users.js');
    return prepareUsers(
      {
        endpoints: etcdEndpoints(plan, null),
        serverName: ETCD_SERVER_NAME,
        ca: read('ca.crt'),
        certificate: read('root.crt'),
        key: read('root.key'),
      },
      prefix ?? `/colo/${plan.cluster}`,
      hosts,
      hosts.filter((each) => isMember(plan, each)),
    );
  });
  if (!done.ok) return failure(EXIT.error, done.error);
  world.out(done.value.length === 0 ? 'etcd knows all users already.\n' : `Made: ${done.value.join('; ')}.\n`);
  return EXIT.ok;
}

async function withFolder<T>(
  world: CliWorld,
  path: string,
  work: (folder: Folder, pki: Pki, nowMs: number) => Promise<Result<T, string>>,
): Promise<Result<T, string>> {
  const library = await pki();
  const now = world.clock.wallMs();
  const folder = library.openFolder(resolve(path), now);
  return folder.ok ? work(folder.value, library, now) : folder;
}

function made(world: CliWorld, done: Result<string, string>): number | Failure {
  if (!done.ok) return failure(EXIT.error, `${done.error}\nNothing was changed.`);
  const isHost = done.value.includes('/hosts/');
  world.out(`Made ${done.value}: copy it to the ${isHost ? 'host and run install.sh in it, as root' : "person's ~/.config/colo"}.\n`);
  return EXIT.ok;
}

function folderOf(command: Command): Command {
  return command.option('--folder <folder>', 'of the cluster, as cluster init made it', '.');
}

function member(text: string, before: readonly Member[] | undefined): readonly Member[] {
  const match = /^([a-z0-9-]+)=(.+)$/.exec(text);
  if (match?.[1] === undefined || match[2] === undefined) throw new InvalidArgumentError('It must be NAME=ADDRESS.');
  return [...(before ?? []), { name: match[1], address: match[2] }];
}
