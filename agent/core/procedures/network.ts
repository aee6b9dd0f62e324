// The network half of a procedure, NIC by NIC: the six chardevs of a primary, its filters and compare, and their end.

import type { NicNames } from '../names.js';
import { compareSocketPath } from '../names.js';
import { listening, tlsObjects } from '../pair-tls.js';
import { PEER_MS, POLL_RUNNING_MS } from './bounds.js';
import type { ProcedureContext } from './context.js';
import type { DeviationId } from './deviations.js';
import { ALREADY, chardevPresent, chardevRemove, command, objectAbsent, objectDel, objectPresent, queryUntil } from './parts.js';
import type { JsonObject } from './port.js';
import type { CommandStep, QueryUntilStep, Step } from './step.js';

/** The manual's six chardev-add, for every NIC. */
export function addPrimaryChardevs(context: ProcedureContext, extra: readonly DeviationId[] = []): readonly Step[] {
  return context.names.nics.flatMap((nic, k) => [
    listenOnNetwork(context, nic.mirror, context.ports.mirror[k], extra),
    listenOnNetwork(context, nic.compareSecondary, context.ports.compare[k], extra),
    unixChardev(context, nic.compareIn, nic.compareIn, true, extra),
    unixChardev(context, nic.compareInClient, nic.compareIn, false, extra),
    unixChardev(context, nic.compareOut, nic.compareOut, true, extra),
    unixChardev(context, nic.compareOutClient, nic.compareOut, false, extra),
  ]);
}

/** Credentials are read when they are made, so each pair is made with what is in the files then. What still uses the old ones keeps them. */
export function freshCredentials(context: ProcedureContext): readonly Step[] {
  if (context.tls === null) return [];
  return tlsObjects(context.tls).flatMap((object) => [
    command(
      'object-del',
      { id: object.id },
      { name: `fresh object-del ${object.id}`, deviations: ['tls'], alreadyDone: ALREADY.objectGone, observe: objectAbsent(object.id) },
    ),
    objectAdd(object.id, object, ['tls']),
  ]);
}

/** Clients before the servers that they are connected to. */
export function removePrimaryChardevs(context: ProcedureContext, deviation: DeviationId): readonly Step[] {
  return context.names.nics.flatMap((nic) =>
    [nic.mirror, nic.compareSecondary, nic.compareInClient, nic.compareIn, nic.compareOutClient, nic.compareOut].map((id) =>
      chardevRemove(id, [deviation]),
    ),
  );
}

/** The secondary is on mirror0 and compare1 of every NIC. */
export function waitPeerConnected(context: ProcedureContext): readonly QueryUntilStep[] {
  return context.names.nics
    .flatMap((nic) => [nic.mirror, nic.compareSecondary])
    .map((id) =>
      queryUntil(
        `wait peer on ${id}`,
        { command: 'query-chardev' },
        {
          until: {
            kind: 'has-item',
            path: [],
            where: {
              kind: 'all',
              of: [
                { kind: 'equals', path: ['label'], value: id },
                { kind: 'not', of: { kind: 'starts-with', path: ['filename'], text: 'disconnected:' } },
              ],
            },
          },
          everyMs: POLL_RUNNING_MS,
          deadlineMs: PEER_MS,
          onTimeout: 'refused',
          deviations: ['wait-peer'],
        },
      ),
    );
}

/** `usual`: what the manual writes for this procedure. `off`: m0 and redire1 let everything pass until they are switched on. */
export function addPrimaryFilters(
  context: ProcedureContext,
  usual: 'with-rewriter' | 'without-rewriter',
  status: 'on' | 'off',
): readonly Step[] {
  return context.names.nics.flatMap((nic) => {
    const before = context.rewriters.includes(nic.rewriter);
    const place: JsonObject = before ? { insert: 'before', position: `id=${nic.rewriter}` } : {};
    const deviations: readonly DeviationId[] = before === (usual === 'with-rewriter') ? ['vnet-hdr'] : ['vnet-hdr', 'insert-by-fact'];
    const filter = (type: string, id: string, args: JsonObject): CommandStep =>
      objectAdd(id, { 'qom-type': type, id, ...place, netdev: nic.netdev, ...args, vnet_hdr_support: true }, deviations);
    const off: JsonObject = status === 'off' ? { status: 'off' } : {};
    return [
      filter('filter-mirror', nic.mirrorFilter, { queue: 'tx', outdev: nic.mirror, ...off }),
      filter('filter-redirector', nic.redirectIn, { queue: 'rx', indev: nic.compareOut }),
      filter('filter-redirector', nic.redirectOut, { queue: 'rx', outdev: nic.compareIn, ...off }),
      objectAdd(nic.iothread, { 'qom-type': 'iothread', id: nic.iothread }, []),
      objectAdd(nic.compare, compareObject(context, nic), ['vnet-hdr', 'compare-timers']),
    ];
  });
}

/** Switches on what was added with status off. Harmless when it is on already. */
export function switchFiltersOn(context: ProcedureContext): readonly Step[] {
  return context.names.nics.flatMap((nic) =>
    [nic.mirrorFilter, nic.redirectOut].map((id) =>
      command('qom-set', { path: `/objects/${id}`, property: 'status', value: 'on' }, { name: `qom-set ${id} on` }),
    ),
  );
}

/** The manual's order. Output is free again once redire1 is gone, not before. */
export function deletePrimaryFilters(context: ProcedureContext): readonly Step[] {
  return context.names.nics.flatMap((nic) =>
    [nic.compare, nic.iothread, nic.mirrorFilter, nic.redirectIn, nic.redirectOut].map((id) => objectDel(id)),
  );
}

function compareObject(context: ProcedureContext, nic: NicNames): JsonObject {
  return {
    'qom-type': 'colo-compare',
    id: nic.compare,
    primary_in: nic.compareInClient,
    secondary_in: nic.compareSecondary,
    outdev: nic.compareOutClient,
    iothread: nic.iothread,
    vnet_hdr_support: true,
    compare_timeout: context.compareTimeoutMs,
    expired_scan_cycle: context.expiredScanCycleMs,
  };
}

function objectAdd(id: string, args: JsonObject, deviations: readonly DeviationId[]): CommandStep {
  return command('object-add', args, {
    name: `object-add ${id}`,
    deviations,
    alreadyDone: ALREADY.objectThere,
    observe: objectPresent(id),
  });
}

function listenOnNetwork(context: ProcedureContext, id: string, port: number | undefined, extra: readonly DeviationId[]): CommandStep {
  const addr = { type: 'inet', data: { host: context.bindAddress, port: String(port) } };
  const tls: readonly DeviationId[] = context.tls === null ? [] : ['tls'];
  return chardevAdd(id, addr, true, ['bind-replication-address', 'listen-without-waiting', ...tls, ...extra], listening(context.tls));
}

function unixChardev(context: ProcedureContext, id: string, server: string, listens: boolean, extra: readonly DeviationId[]): CommandStep {
  const deviations: readonly DeviationId[] = listens ? ['unix-compare', 'listen-without-waiting'] : ['unix-compare'];
  return chardevAdd(id, { type: 'unix', data: { path: compareSocketPath(context.runtimeDir, server) } }, listens, [
    ...deviations,
    ...extra,
  ]);
}

/** An id that is there already was added by this very order: before, those of older epochs were removed, or there were none. */
function chardevAdd(id: string, addr: JsonObject, listens: boolean, deviations: readonly DeviationId[], tls: JsonObject = {}): CommandStep {
  const data: JsonObject = listens ? { addr, server: true, wait: false, ...tls } : { addr, server: false };
  return command(
    'chardev-add',
    { id, backend: { type: 'socket', data } },
    { name: `chardev-add ${id}`, deviations, alreadyDone: ALREADY.chardevThere, observe: chardevPresent(id) },
  );
}
