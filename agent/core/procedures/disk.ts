// The disk half of a procedure, disk by disk: the NBD export of a secondary, the copy, and the second child of a primary's quorum.

import { COMMAND_MS, CONNECT_MS, POLL_RUNNING_MS, POLL_STOPPED_MS, STALL_MS } from './bounds.js';
import type { Condition } from './condition.js';
import type { ProcedureContext } from './context.js';
import { ALREADY, command, hasItem, hmp, nodeAbsent, nodePresent, queryUntil, waitJob } from './parts.js';
import type { Step } from './step.js';
import { connecting, listening, TLS_CLIENT } from '../pair-tls.js';

/** One NBD server for the whole VM, one writable export a disk, named like the node. */
export function exportParents(context: ProcedureContext): readonly Step[] {
  return [
    command(
      'nbd-server-start',
      { addr: { type: 'inet', data: { host: context.bindAddress, port: String(context.ports.nbd) } }, ...listening(context.tls) },
      {
        deviations: context.tls === null ? ['bind-replication-address'] : ['bind-replication-address', 'tls'],
        alreadyDone: ALREADY.nbdServerThere,
      },
    ),
    ...context.names.disks.map((disk) =>
      command(
        'nbd-server-add',
        { device: disk.parent, writable: true },
        {
          name: `nbd-server-add ${disk.parent}`,
          alreadyDone: ALREADY.exportThere,
          observe: { command: 'query-block-exports', args: {}, done: hasItem('id', disk.parent) },
        },
      ),
    ),
  ];
}

export function stopExports(): readonly Step[] {
  return [
    command(
      'nbd-server-stop',
      {},
      {
        alreadyDone: ALREADY.nbdServerGone,
        observe: { command: 'query-block-exports', args: {}, done: { kind: 'not', of: hasItem('type', 'nbd') } },
      },
    ),
  ];
}

/** The seed's copy: a running guest, ready when only what it writes from now on is left. */
export function mirrorDisks(context: ProcedureContext): readonly Step[] {
  return [
    ...context.names.disks.map((disk) =>
      command(
        'drive-mirror',
        {
          device: disk.quorum,
          'job-id': disk.job,
          target: mirrorTarget(context, disk.parent),
          mode: 'existing',
          format: 'raw',
          sync: 'full',
          speed: context.maxBandwidthBytes,
        },
        {
          name: `drive-mirror ${disk.job}`,
          deviations: context.tls === null ? ['mirror-speed'] : ['mirror-speed', 'tls'],
          deadlineMs: CONNECT_MS,
        },
      ),
    ),
    ...context.names.disks.map((disk) => waitJob(disk.job, 'ready', { everyMs: POLL_RUNNING_MS, stallMs: STALL_MS })),
  ];
}

/** A URI has no place for credentials. */
function mirrorTarget({ peerAddress, ports, tls }: ProcedureContext, name: string): string {
  if (tls === null) return `nbd://${peerAddress}:${ports.nbd}/${name}`;
  const server = { type: 'inet', host: peerAddress, port: String(ports.nbd) };
  return `json:${JSON.stringify({ driver: 'raw', file: { driver: 'nbd', server, export: name, ...connecting(tls) } })}`;
}

/** The guest must be stopped. All jobs end in the same stop. */
export function endMirrors(context: ProcedureContext): readonly Step[] {
  return [
    ...context.names.disks.map((disk) => command('block-job-cancel', { device: disk.job }, { name: `block-job-cancel ${disk.job}` })),
    ...context.names.disks.map((disk) => waitJob(disk.job, 'gone', { everyMs: POLL_STOPPED_MS, stallMs: STALL_MS })),
  ];
}

/**
 * A write that failed has stopped the guest and is not lost: it is made again when the guest goes on. Before that it must not get a second
 * child, which would take it alone. QEMU keeps `io-status` until `cont`, so this sees also what failed while the guest was being stopped.
 */
export function checkOwnDisks(): Step {
  const failed: Condition = {
    kind: 'has-item',
    path: [],
    where: { kind: 'one-of', path: ['io-status'], values: ['failed', 'nospace'] },
  };
  return queryUntil(
    'check own disks',
    { command: 'query-block' },
    {
      until: { kind: 'not', of: failed },
      failWhen: failed,
      meaning: "a write to this host's own disk has failed",
      everyMs: POLL_STOPPED_MS,
      deadlineMs: COMMAND_MS,
      onTimeout: 'refused',
      deviations: ['own-disk-whole'],
    },
  );
}

/** Whatever state the copies are in. A job that failed by itself is gone already. */
export function cancelMirrors(context: ProcedureContext): readonly Step[] {
  return [
    ...context.names.disks.map((disk) =>
      command(
        'block-job-cancel',
        { device: disk.job, force: true },
        { name: `block-job-cancel ${disk.job}`, alreadyDone: ALREADY.jobGone },
      ),
    ),
    ...context.names.disks.map((disk) => waitJob(disk.job, 'gone', { everyMs: POLL_RUNNING_MS, stallMs: STALL_MS })),
  ];
}

/** The manual's attachment: an NBD child under the replication driver. */
export function attachReplication(context: ProcedureContext): readonly Step[] {
  const secured = context.tls === null ? '' : `,file.tls-creds=${TLS_CLIENT}`;
  return [
    ...context.names.disks.map((disk) =>
      hmp(
        `drive_add ${disk.replication}`,
        `drive_add -n buddy driver=replication,mode=primary,file.driver=nbd,file.host=${context.peerAddress},file.port=${context.ports.nbd},file.export=${disk.parent},file.node-name=${disk.nbd},node-name=${disk.replication}${secured}`,
        {
          deviations: context.tls === null ? ['nbd-node-name'] : ['nbd-node-name', 'tls'],
          deadlineMs: CONNECT_MS,
          observe: nodePresent(disk.replication),
        },
      ),
    ),
    ...context.names.disks.map((disk) =>
      command(
        'x-blockdev-change',
        { parent: disk.quorum, node: disk.replication },
        { name: `x-blockdev-change ${disk.quorum} +${disk.replication}` },
      ),
    ),
  ];
}

/** The second child goes, whichever it is: the replication driver of the manual or the plain NBD node of the live methods. */
export function detachPeer(context: ProcedureContext): readonly Step[] {
  return context.names.disks.flatMap((disk) => [
    command(
      'x-blockdev-change',
      { parent: disk.quorum, child: 'children.1' },
      { name: `x-blockdev-change ${disk.quorum} -children.1`, alreadyDone: ALREADY.childGone },
    ),
    hmp(`drive_del ${disk.replication}`, `drive_del ${disk.replication}`, {
      alreadyDone: ALREADY.driveGone,
      observe: nodeAbsent(disk.replication),
    }),
    command(
      'blockdev-del',
      { 'node-name': disk.nbd },
      { name: `blockdev-del ${disk.nbd}`, deviations: ['plain-nbd'], alreadyDone: ALREADY.nodeGone, observe: nodeAbsent(disk.nbd) },
    ),
  ]);
}

/**
 * The live copy: onto a plain NBD node, and every guest write goes to both sides, so that ready means equal. A node that an attempt which
 * was cut off before its copy began has left behind hangs on nothing, is seen by nobody, and leads to a host of the past: it goes first.
 */
export function mirrorDisksLive(context: ProcedureContext): readonly Step[] {
  return [
    ...context.names.disks.flatMap((disk) => [
      command(
        'blockdev-del',
        { 'node-name': disk.nbd },
        { name: `fresh blockdev-del ${disk.nbd}`, alreadyDone: ALREADY.nodeGone, observe: nodeAbsent(disk.nbd) },
      ),
      command(
        'blockdev-add',
        {
          driver: 'nbd',
          'node-name': disk.nbd,
          server: { type: 'inet', host: context.peerAddress, port: String(context.ports.nbd) },
          export: disk.parent,
          ...connecting(context.tls),
        },
        { name: `blockdev-add ${disk.nbd}`, deadlineMs: CONNECT_MS, observe: nodePresent(disk.nbd) },
      ),
      command(
        'blockdev-mirror',
        {
          device: disk.quorum,
          'job-id': disk.job,
          target: disk.nbd,
          sync: 'full',
          'copy-mode': 'write-blocking',
          speed: context.maxBandwidthBytes,
        },
        { name: `blockdev-mirror ${disk.job}` },
      ),
    ]),
    ...context.names.disks.map((disk) => waitJob(disk.job, 'ready', { everyMs: POLL_RUNNING_MS, stallMs: STALL_MS })),
  ];
}

export function attachPlainNbd(context: ProcedureContext): readonly Step[] {
  return context.names.disks.map((disk) =>
    command('x-blockdev-change', { parent: disk.quorum, node: disk.nbd }, { name: `x-blockdev-change ${disk.quorum} +${disk.nbd}` }),
  );
}
