// Serves gRPC: our services, the standard health protocol and server reflection, so that any gRPC tool can list and call them. Connections
// come in by the door, calls pass the guard. A handler that throws answers INTERNAL and is logged; it never ends the process.

import { existsSync, readdirSync } from 'node:fs';
import type { Socket } from 'node:net';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  logVerbosity,
  Server,
  ServerCredentials,
  setLogVerbosity,
  type ServiceDefinition,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { ReflectionService } from '@grpc/reflection';
import { HealthImplementation, protoPath as healthProto } from 'grpc-health-check';
import { RPC_MESSAGE_BYTES } from '../../core/limits.js';
import { ok, type Result } from '../../core/result.js';
import type { Clock, Log } from '../../ports.js';
import { openDoor, type Door, type DoorLimits } from './door.js';
import { createGuard, type GuardLimits } from './guard.js';
import type { Security } from './security.js';

/** So many streams may one connection hold; a client of ours needs a handful. */
const STREAMS_PER_CONNECTION = 256;
/** Megabytes that one connection may hold in requests and unread answers. grpc-js would set no bound. */
const CONNECTION_MEGABYTES = 64;
/** A connection without any call for so long is closed; a client of ours opens another one when it needs it. */
const IDLE_MS = 60_000;

export interface Served {
  /** For health, for example `colo.v1.AgentService`. */
  readonly name: string;
  readonly definition: ServiceDefinition;
  readonly implementation: UntypedServiceImplementation;
}

export interface ServeOptions {
  /** `address:port`; port 0 takes a free one. */
  readonly address: string;
  readonly services: readonly Served[];
  readonly security: Security;
  readonly limits?: { readonly door?: DoorLimits; readonly guard?: GuardLimits };
}

export interface GrpcServer {
  readonly port: number;
  /** Health of all services and of the server as a whole (service name ''). They begin as not serving. */
  setServing(serving: boolean): void;
  /** Health turns to not serving, calls under way may end for `graceMs`, then all connections are cut. */
  close(graceMs: number): Promise<void>;
}

export async function serveGrpc(
  ports: { readonly clock: Clock; readonly log: Log },
  options: ServeOptions,
): Promise<Result<GrpcServer, string>> {
  // What goes wrong is told as a value. grpc-js would write it to standard error as well, between our lines of JSON.
  if (process.env['GRPC_VERBOSITY'] === undefined) setLogVerbosity(logVerbosity.NONE);
  let door: Door | null = null;
  const guard = createGuard(ports, (address, port) => door?.peerAt(address, port) ?? null, options.limits?.guard);
  const server = new Server({
    interceptors: [guard.interceptor],
    'grpc-node.max_session_memory': CONNECTION_MEGABYTES,
    'grpc.max_connection_idle_ms': IDLE_MS,
    'grpc.max_receive_message_length': RPC_MESSAGE_BYTES,
    'grpc.max_send_message_length': RPC_MESSAGE_BYTES,
    'grpc.max_concurrent_streams': STREAMS_PER_CONNECTION,
    // Finds clients that vanished without a word; nothing of ours waits for it.
    'grpc.keepalive_time_ms': 10_000,
    'grpc.keepalive_timeout_ms': 5_000,
  });
  for (const each of options.services) server.addService(each.definition, each.implementation);
  const names = ['', ...options.services.map((each) => each.name)];
  const health = new HealthImplementation(Object.fromEntries(names.map((name) => [name, 'NOT_SERVING' as const])));
  health.addToServer(server);
  addReflection(server, [...options.services.map((each) => each.name), 'grpc.health.v1.Health']);

  const setServing = (serving: boolean): void => {
    for (const name of names) health.setStatus(name, serving ? 'SERVING' : 'NOT_SERVING');
  };

  const close = (graceMs: number): Promise<void> =>
    new Promise((resolve) => {
      setServing(false);
      door?.close();
      const cancel = ports.clock.after(graceMs, () => {
        server.forceShutdown();
        for (const each of sockets) each.destroy();
        resolve();
      });
      server.tryShutdown(() => {
        cancel();
        resolve();
      });
    });

  // What comes through the door is secured already, so to grpc-js it is a connection like any other.
  const injector = server.createConnectionInjector(ServerCredentials.createInsecure());
  const sockets = new Set<Socket>();
  const admit = (socket: Socket): void => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    injector.injectConnection(socket);
  };
  const opened = await openDoor(ports, {
    address: options.address,
    security: options.security,
    admit,
    isWelcome: guard.isWelcome,
    ...(options.limits?.door === undefined ? {} : { limits: options.limits.door }),
  });
  if (!opened.ok) return opened;
  door = opened.value;
  return ok({ port: door.port, setServing, close });
}

/** Reflection answers in versions v1 and v1alpha from the very files that the code was generated from. */
function addReflection(server: Server, services: readonly string[]): void {
  const root = protoRoot();
  const folder = join(root, 'colo/v1');
  const files = readdirSync(folder)
    .filter((name) => name.endsWith('.proto'))
    .map((name) => `colo/v1/${name}`);
  const loaded = { ...loadSync(files, { includeDirs: [root] }), ...loadSync(healthProto) };
  new ReflectionService(loaded, { services: [...services] }).addToServer(server);
}

/** `proto/` is beside the sources, and beside `dist` in a build. */
function protoRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, 'proto/colo/v1'))) {
    const parent = dirname(folder);
    if (parent === folder) throw new Error('proto/colo/v1 is missing from this installation');
    folder = parent;
  }
  return join(folder, 'proto');
}
