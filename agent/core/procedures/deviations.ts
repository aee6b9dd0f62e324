// Every difference between our procedures and QEMU's COLO and block-replication manuals, with its reason. A unit test undoes these
// effects step by step and compares the rest with the manual's own JSON; a difference that is not listed here fails it.
// Measured facts behind the reasons: with a peer that died silently, without the yank, the first command of the manual hangs for ever;
// without vnet_hdr_support a healthy looking pair compares garbage and releases everything.

export type DeviationId =
  | 'negotiated-at-connect'
  | 'yank-first'
  | 'wait-colo-exit'
  | 'prove-release'
  | 'end-chardevs'
  | 'fresh-chardevs'
  | 'wait-peer'
  | 'wait-done'
  | 'own-disk-whole'
  | 'nbd-node-name'
  | 'plain-nbd'
  | 'vnet-hdr'
  | 'insert-by-fact'
  | 'unix-compare'
  | 'listen-without-waiting'
  | 'bind-replication-address'
  | 'capabilities'
  | 'capabilities-secondary'
  | 'parameters'
  | 'mirror-speed'
  | 'compare-timers'
  | 'prove-protection'
  | 'announce-self'
  | 'tls';

/** What a deviation does to the manual's text. A path leads into the command's arguments. */
export type DeviationEffect =
  | { readonly kind: 'adds-steps' }
  | { readonly kind: 'omits-command'; readonly command: string }
  | { readonly kind: 'adds-arguments'; readonly command: string; readonly paths: readonly (readonly string[])[] }
  | { readonly kind: 'changes-arguments'; readonly places: readonly { readonly command: string; readonly path: readonly string[] }[] }
  | { readonly kind: 'adds-hmp-option'; readonly option: string }
  /** Only where a context has TLS; a test of its own takes the credentials out and finds the same procedures. */
  | { readonly kind: 'adds-credentials' };

export interface Deviation {
  readonly id: DeviationId;
  readonly effect: DeviationEffect;
  readonly where: string;
  readonly reason: string;
}

export const DEVIATIONS: readonly Deviation[] = [
  {
    id: 'negotiated-at-connect',
    effect: { kind: 'omits-command', command: 'qmp_capabilities' },
    where: 'secondary-start, primary-start',
    reason:
      'The monitor negotiates when it connects, with `oob`: once the main loop hangs, a new connection gets no greeting, so it must be done before.',
  },
  {
    id: 'yank-first',
    effect: { kind: 'adds-steps' },
    where: 'primary-failover, secondary-failover, rollback-protection',
    reason:
      'After a silent death QEMU waits for its dead peer inside the first command, with the main loop held. `yank` out of band frees it in milliseconds. mirror0 first, because filter-mirror can hold the main loop on a full socket; one instance a call, because one unknown instance fails a whole call.',
  },
  {
    id: 'wait-colo-exit',
    effect: { kind: 'adds-steps' },
    where: 'secondary-failover, before nbd-server-stop',
    reason:
      'Between two points of a checkpoint (migration/colo.c) a failover is accepted while a received state is still to be loaded: new RAM on an old disk. COLO_EXIT(secondary) says that the incoming thread has left its loop. Without it within the bound the secondary is not promoted.',
  },
  {
    id: 'prove-release',
    effect: { kind: 'adds-steps' },
    where: 'primary-failover, secondary-failover',
    reason: 'x-colo-lost-heartbeat answers before anything happened. last-mode with reason=request, and the guest running, prove it.',
  },
  {
    id: 'end-chardevs',
    effect: { kind: 'adds-steps' },
    where: 'primary-failover, rollback-protection, after the filters are gone',
    reason:
      'A secondary that was only stopped wakes up, reconnects to mirror0/compare1, which the manual leaves listening, and takes the place of the next one. What lies unread in compare0/compare_out would be read as the middle of a frame by the next colo-compare.',
  },
  {
    id: 'fresh-chardevs',
    effect: { kind: 'adds-steps' },
    where: 'primary-resume-replication, secondary-resume-replication, first',
    reason:
      'Ports are fresh for every epoch, so that nothing of an earlier attempt can attach. The chardevs of the epoch before are removed and made again.',
  },
  {
    id: 'wait-peer',
    effect: { kind: 'adds-steps' },
    where: 'primary-start, the resume procedures, before the guest is stopped',
    reason:
      'Without a secondary on mirror0 and compare1 nothing is mirrored and nothing compared. The manual gets this by wait=on, which blocks QEMU before it has a monitor.',
  },
  {
    id: 'wait-done',
    effect: { kind: 'adds-steps' },
    where: 'after drive-mirror, block-job-cancel and migrate',
    reason:
      'These commands answer when they have begun. The manual says "wait until disk is synced" in prose, and nothing of the other two.',
  },
  {
    id: 'own-disk-whole',
    effect: { kind: 'adds-steps' },
    where: 'the resume procedures, between the end of the copy and the attachment',
    reason:
      'A write that has failed is made again when COLO lets the guest go on. With a second child it then succeeds although the own disk lacks it, and the guest is told so.',
  },
  {
    id: 'nbd-node-name',
    effect: { kind: 'adds-hmp-option', option: 'file.node-name' },
    where: 'drive_add of the replication node',
    reason: 'The NBD node is the one that must be yanked, so it needs a name that is known beforehand.',
  },
  {
    id: 'plain-nbd',
    effect: { kind: 'adds-steps' },
    where: 'primary-failover, block-primary-after-failover, after drive_del',
    reason:
      'The live methods attach a plain NBD node without the replication driver. Deleting a node that is not there counts as done, so one procedure ends either.',
  },
  {
    id: 'vnet-hdr',
    effect: { kind: 'adds-arguments', command: 'object-add', paths: [['vnet_hdr_support']] },
    where: 'filters and colo-compare',
    reason:
      'A tap carries virtio-net headers. Without this, colo-compare parses garbage and releases every packet uncompared: protection in name only.',
  },
  {
    id: 'insert-by-fact',
    effect: { kind: 'adds-arguments', command: 'object-add', paths: [['insert'], ['position']] },
    where: 'primary-resume-replication, when rew0 is there',
    reason:
      'A primary that once was a secondary keeps rew0 for ever; the manual says in a note that the filters then go before it. What counts is whether rew0 is there, not the procedure’s name.',
  },
  {
    id: 'unix-compare',
    effect: { kind: 'changes-arguments', places: [{ command: 'chardev-add', path: ['backend', 'data', 'addr'] }] },
    where: 'compare0, compare0-0, compare_out, compare_out0',
    reason:
      'On loopback TCP any local user could feed frames to the guest’s network. Unix sockets in the VM’s runtime folder carry permissions, and need no ports.',
  },
  {
    id: 'listen-without-waiting',
    effect: { kind: 'adds-arguments', command: 'chardev-add', paths: [['backend', 'data', 'wait']] },
    where: 'chardevs that listen',
    reason: 'A chardev that waits for its client blocks the main loop, and with it the guest’s devices and the monitor.',
  },
  {
    id: 'bind-replication-address',
    effect: {
      kind: 'changes-arguments',
      places: [
        { command: 'nbd-server-start', path: ['addr', 'data', 'host'] },
        { command: 'chardev-add', path: ['backend', 'data', 'addr', 'data', 'host'] },
      ],
    },
    where: 'nbd-server-start, mirror0, compare1',
    reason: 'The guest’s disk and frames are offered on the replication network only, not to everybody who reaches the host.',
  },
  {
    id: 'capabilities',
    effect: { kind: 'changes-arguments', places: [{ command: 'migrate-set-capabilities', path: ['capabilities'] }] },
    where: 'before migrate',
    reason: '`events` makes QEMU say when COLO has begun; 11.x refuses x-colo without return-path.',
  },
  {
    id: 'capabilities-secondary',
    effect: { kind: 'adds-steps' },
    where: 'secondary-start, first',
    reason:
      'From 10.0 a secondary without x-colo fails the migration of a COLO primary; 11.x wants return-path as well. `events` for progress.',
  },
  {
    id: 'parameters',
    effect: { kind: 'adds-steps' },
    where: 'before migrate',
    reason: 'Without max-bandwidth the RAM copy crawls at the default, and x-checkpoint-delay is the beacon of a healthy pair.',
  },
  {
    id: 'mirror-speed',
    effect: { kind: 'adds-arguments', command: 'drive-mirror', paths: [['speed']] },
    where: 'drive-mirror',
    reason: 'The operator’s bandwidth limit holds for disk copies as for RAM copies.',
  },
  {
    id: 'compare-timers',
    effect: { kind: 'adds-arguments', command: 'object-add', paths: [['compare_timeout'], ['expired_scan_cycle']] },
    where: 'colo-compare',
    reason:
      'A packet that only one side sends waits compare_timeout before it forces a checkpoint: 3 s by default, felt by every guest-initiated connection.',
  },
  {
    id: 'prove-protection',
    effect: { kind: 'adds-steps' },
    where: 'primary-start and the resume procedures, last',
    reason:
      'MIGRATION=colo is a promise. The first RESUME, and a checkpoint forced afterwards, show that the pair works with all filters on.',
  },
  {
    id: 'announce-self',
    effect: { kind: 'adds-steps' },
    where: 'secondary-failover, last',
    reason: 'Switches learn the guest’s new port at once, also from a guest that has nothing to send.',
  },
  {
    id: 'tls',
    effect: { kind: 'adds-credentials' },
    where: 'whatever listens or connects on the replication network, where the configuration has `tlsDir`',
    reason:
      'Memory, disks and frames of the guest are for the other side only. Credentials are made anew for each pair, because QEMU reads certificates when they are made. drive-mirror is given its target as JSON, because a URI has no place for them.',
  },
];
