// Users and roles in etcd: an agent may write the keys of its own host and read all of the cluster's, a coordinator may write everything
// below the prefix, and nobody else anything. A user is known by the common name of its certificate. Safe to repeat; nothing is taken away.

import { randomBytes } from 'node:crypto';
import { Etcd3, Range, type IPermissionRequest } from 'etcd3';
import { commonName } from '../../core/access.js';
import { keysOf } from '../../core/keys.js';
import { fail, ok, type Result } from '../../core/result.js';

const CALL_MS = 5_000;

export interface EtcdRoot {
  readonly endpoints: readonly string[];
  readonly serverName: string;
  readonly ca: Buffer;
  readonly certificate: Buffer;
  readonly key: Buffer;
}

/** Answers what was done, one line each. */
export async function prepareUsers(
  root: EtcdRoot,
  prefix: string,
  agents: readonly string[],
  coordinators: readonly string[],
): Promise<Result<readonly string[], string>> {
  const client = new Etcd3({
    hosts: [...root.endpoints],
    credentials: { rootCertificate: root.ca, certChain: root.certificate, privateKey: root.key },
    grpcOptions: { 'grpc.ssl_target_name_override': root.serverName },
  });
  const options = () => ({ deadline: Date.now() + CALL_MS });
  const done: string[] = [];
  /** Answers false when it was there already. */
  const unlessThere = async (work: () => Promise<unknown>): Promise<boolean> => {
    try {
      await work();
      return true;
    } catch (error) {
      if (/already exist|already enabled|already granted/i.test(String(error))) return false;
      throw error;
    }
  };
  const user = async (name: string, role: string): Promise<void> => {
    // Never told to anybody: the way in is the certificate.
    const password = randomBytes(32).toString('hex');
    const isNew = await unlessThere(() => client.auth.userAdd({ name, password }, options()));
    await client.auth.userGrantRole({ user: name, role }, options());
    if (isNew) done.push(`user ${name} with role ${role}`);
  };
  const role = async (name: string, permissions: readonly IPermissionRequest[]): Promise<void> => {
    if (await unlessThere(() => client.role(name).create(options()))) done.push(`role ${name}`);
    await client.role(name).grant([...permissions], options());
  };
  const keys = keysOf(prefix);
  const everything = Range.prefix(keys.all);
  try {
    await unlessThere(() => client.role('root').create(options()));
    await user('root', 'root');
    await role('colo-coordinator', [{ permission: 'Readwrite', range: everything }]);
    for (const name of coordinators) await user(commonName({ role: 'coordinator', name }), 'colo-coordinator');
    for (const name of agents) {
      await role(`colo-agent.${name}`, [
        { permission: 'Read', range: everything },
        { permission: 'Readwrite', key: keys.host(name) },
        { permission: 'Readwrite', key: keys.inventoryOf(name) },
      ]);
      await user(commonName({ role: 'agent', name }), `colo-agent.${name}`);
    }
    if (await unlessThere(() => client.auth.authEnable(options()))) done.push('etcd asks for users from now on');
    return ok(done);
  } catch (error) {
    return fail(`etcd: ${error instanceof Error ? error.message : String(error)}`);
  } finally {
    client.close();
  }
}
