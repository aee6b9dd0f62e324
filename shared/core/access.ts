// Who may call what. A certificate says the role of its holder in one URI, `colo://role/agent/HOST` and the like; the table below says which
// roles may call which method. A method that is not in the table may be called by nobody, so that a new one is closed until it is decided.

import { fail, ok, type Result } from './result.js';

export const ROLES = ['agent', 'coordinator', 'operator', 'viewer'] as const;
export type Role = (typeof ROLES)[number];

/** What a certificate of this cluster says of its holder. */
export interface Identity {
  readonly role: Role;
  /** Of the host, the coordinator or the person. */
  readonly name: string;
}

/** Who is at the other end: a certificate's holder, or in a lab without certificates whoever calls from an address. */
export type Caller =
  { readonly kind: 'certified'; readonly identity: Identity } | { readonly kind: 'uncertified'; readonly address: string };

const NAME = '[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?';
const ROLE_URI = new RegExp(`^colo://role/(${ROLES.join('|')})/(${NAME})$`);
const SCHEME = /^colo:/i;

export function roleUri({ role, name }: Identity): string {
  return `colo://role/${role}/${name}`;
}

/** `operator/alice`, for logs and the history. */
export function describeIdentity({ role, name }: Identity): string {
  return `${role}/${name}`;
}

/** In the history, an uncertified caller is what it was when there were no certificates: some operator. */
export function describeCaller(caller: Caller): string {
  return caller.kind === 'certified' ? describeIdentity(caller.identity) : 'operator';
}

/** The identity among the URIs of a certificate. Two are none: whoever signs such a thing has made a mistake. */
export function identityOf(uris: readonly string[]): Result<Identity, string> {
  const ours = uris.filter((each) => SCHEME.test(each));
  const [uri] = ours;
  if (uri === undefined) return fail('the certificate names no role (a URI colo://role/ROLE/NAME among its alternative names)');
  if (ours.length > 1) return fail(`the certificate names more than one role: ${ours.join(', ')}`);
  const match = ROLE_URI.exec(uri);
  const role = ROLES.find((each) => each === match?.[1]);
  const name = match?.[2];
  return role === undefined || name === undefined ? fail(`the certificate names an unknown role: ${uri}`) : ok({ role, name });
}

/** The user that etcd takes the holder for: the certificate's common name. No name of ours has a dot in it, so two are never the same. */
export function commonName({ role, name }: Identity): string {
  return `${role}.${name}`;
}

const EVERYBODY = ROLES;
const COORDINATORS: readonly Role[] = ['coordinator'];
/** Whoever may look. Coordinators too, so that one can be asked through another. */
const READERS: readonly Role[] = ['viewer', 'operator', 'coordinator'];
const OPERATORS: readonly Role[] = ['operator'];

/** Every method of every server, by its path. */
export const ACCESS: Readonly<Record<string, readonly Role[]>> = {
  // Whoever gives orders to an agent commands the guests of its host: coordinators alone. Even looking stays with them.
  '/colo.v1.AgentService/Watch': COORDINATORS,
  '/colo.v1.AgentService/GetHost': COORDINATORS,
  '/colo.v1.AgentService/Order': COORDINATORS,
  '/colo.v1.AgentService/Probe': COORDINATORS,

  '/colo.v1.CoordinatorService/GetStatus': READERS,
  '/colo.v1.CoordinatorService/WatchStatus': READERS,
  '/colo.v1.CoordinatorService/ListHistory': READERS,
  '/colo.v1.CoordinatorService/ListVms': READERS,
  '/colo.v1.CoordinatorService/GetVm': READERS,
  '/colo.v1.CoordinatorService/ExplainVm': READERS,
  '/colo.v1.CoordinatorService/DefineVm': OPERATORS,
  '/colo.v1.CoordinatorService/StartVm': OPERATORS,
  '/colo.v1.CoordinatorService/StopVm': OPERATORS,
  '/colo.v1.CoordinatorService/ProtectVm': OPERATORS,
  '/colo.v1.CoordinatorService/UnprotectVm': OPERATORS,
  '/colo.v1.CoordinatorService/DeleteVm': OPERATORS,
  '/colo.v1.CoordinatorService/ReleaseVm': OPERATORS,
  '/colo.v1.CoordinatorService/ForceFailover': OPERATORS,
  '/colo.v1.CoordinatorService/Recover': OPERATORS,

  // Health says only that a server serves, reflection only what this file and the .proto files say: nothing of this cluster.
  '/grpc.health.v1.Health/Check': EVERYBODY,
  '/grpc.health.v1.Health/Watch': EVERYBODY,
  '/grpc.health.v1.Health/List': EVERYBODY,
  '/grpc.reflection.v1.ServerReflection/ServerReflectionInfo': EVERYBODY,
  '/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo': EVERYBODY,
};

/** Null = it may be called; else why not, in words for the caller. */
export function whyForbidden(caller: Caller, path: string): string | null {
  const allowed = ACCESS[path];
  if (allowed === undefined) return `${methodOf(path)} may be called by nobody`;
  if (caller.kind === 'uncertified' || allowed.includes(caller.identity.role)) return null;
  return `${describeIdentity(caller.identity)} may not call ${methodOf(path)}: that takes the role ${allowed.join(' or ')}`;
}

/** Calls that a viewer may not make change something, or are somebody's office: they are written down. */
export function isRecorded(path: string): boolean {
  return ACCESS[path] === OPERATORS;
}

function methodOf(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}
