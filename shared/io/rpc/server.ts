// Serves gRPC: our services, the standard health protocol and server reflection, so that any gRPC tool can list and call them. A handler
// that throws answers INTERNAL and is logged; it never ends the process.

import { existsSync, readdirSync } from 'node:fs';
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
import { fail, ok, type Result } from '../../core/result.js';
import type { Clock } from '../../ports.js';

/** So many streams may one connection hold; a client of ours needs a handful. */
const STREAMS_PER_CONNECTION = 256;

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
  /** Default: plaintext. */
  readonly credentials?: ServerCredentials;
}

export interface GrpcServer {
  readonly port: number;
  /** Health of all services and of the server as a whole (service name ''). They begin as not serving. */
  setServing(serving: boolean): void;
  /** Health turns to not serving, calls under way may end for `graceMs`, then all connections are cut. */
  close(graceMs: number): Promise<void>;
}

export function serveGrpc(clock: Clock, options: ServeOptions): Promise<Result<GrpcServer, string>> {
  // What goes wrong is told as a value. grpc-js would write it to standard error as well, between our lines of JSON.
  if (process.env['GRPC_VERBOSITY'] === undefined) setLogVerbosity(logVerbosity.NONE);
  const server = new Server({
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
      const cancel = clock.after(graceMs, () => {
        server.forceShutdown();
        resolve();
      });
      server.tryShutdown(() => {
        cancel();
        resolve();
      });
    });

  return new Promise((resolve) => {
    server.bindAsync(options.address, options.credentials ?? ServerCredentials.createInsecure(), (error, port) => {
      resolve(error === null ? ok({ port, setServing, close }) : fail(`cannot listen on ${options.address}: ${error.message}`));
    });
  });
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
