// Random nouns of the model for property tests: every kind of every union, within what the wire can carry.

import fc from 'fast-check';
import { diskId, epoch, hostId, incarnation, term, vmUid } from '../../../shared/core/ids.js';
import {
  ORDER_REFUSALS,
  PHASES,
  type DiskReport,
  type Goal,
  type HistoryEntry,
  type HostReport,
  type Order,
  type OrderAnswer,
  type Peer,
  type Ports,
  type QemuReport,
  type Side,
  type TaskReport,
  type VmRecord,
  type VmReport,
  type VmSpec,
} from '../../../shared/core/model.js';

const word = fc.string({ minLength: 1, maxLength: 12 });
const text = fc.string({ maxLength: 20 });
const orNull = <T>(of: fc.Arbitrary<T>): fc.Arbitrary<T | null> => fc.option(of, { nil: null });
const count = fc.nat(0xffff_ffff);
const large = fc.maxSafeNat();
const words = fc.array(word, { maxLength: 3 });
const epochs = fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }).map(epoch);
const port = fc.integer({ min: 1, max: 65_535 });
const durations = fc.dictionary(word, fc.double({ noNaN: true, noDefaultInfinity: true, min: 0 }), { maxKeys: 3 }).map(plain);

/** fast-check makes objects without a prototype, and one may be named `__proto__`; neither comes from JSON or the wire as it went. */
function plain<T>(value: Record<string, T>): Record<string, T> {
  return Object.fromEntries(Object.entries(value).filter(([key]) => key !== '__proto__'));
}

export const ports: fc.Arbitrary<Ports> = fc.record({
  migration: port,
  nbd: port,
  mirror: fc.array(port, { maxLength: 3 }),
  compare: fc.array(port, { maxLength: 3 }),
});
const peer: fc.Arbitrary<Peer> = fc.record({ host: word, address: word });

export const spec: fc.Arbitrary<VmSpec> = fc.record({
  name: word,
  memoryMiB: large,
  cpus: count,
  machine: word,
  cpuModel: text,
  accel: fc.constantFrom('kvm', 'tcg', 'auto'),
  disks: fc.array(fc.record({ sizeBytes: large, path: orNull(word), source: orNull(word) }), { maxLength: 3 }),
  nics: fc.array(fc.record({ mac: word, bridge: orNull(word) }), { maxLength: 3 }),
  boot: fc.oneof(
    fc.record({ kind: fc.constant('kernel' as const), kernel: word, initrd: orNull(word), append: text }),
    fc.constant({ kind: 'disk' as const }),
  ),
  extraArgs: fc.array(text, { maxLength: 3 }),
  hosts: words,
  launch: fc.oneof(
    fc.constant({ kind: 'managed' as const }),
    fc.record({
      kind: fc.constant('external' as const),
      qmpSockets: words,
      startSecondary: orNull(fc.array(word, { minLength: 1, maxLength: 3 })),
    }),
  ),
  method: fc.constantFrom('stop-copy', 'live', 'identical-images'),
  checkpointDelayMs: count,
  compareTimeoutMs: count,
  expiredScanCycleMs: count,
  maxBandwidthBytes: large,
  onPoweroff: fc.constantFrom('stop', 'restart'),
  restart: fc.constantFrom('always', 'never'),
  shutdownGraceMs: count,
});

const kind = <K extends string>(name: K): fc.Arbitrary<K> => fc.constant(name);
const goal: fc.Arbitrary<Goal> = fc.oneof(
  fc.record({
    kind: kind('start-alone'),
    born: epochs,
    images: orNull(fc.array(word, { minLength: 1, maxLength: 3 })),
    create: fc.boolean(),
  }),
  fc.record({ kind: kind('start-cold-primary'), born: epochs, ports, peer }),
  fc.record({ kind: kind('start-secondary'), born: epochs, ports, peer }),
  fc.record({ kind: kind('protect'), born: epochs, ports, peer, method: fc.constantFrom('stop-copy', 'live', 'identical-images') }),
  fc.record({ kind: kind('release-primary'), born: epochs, acceptLoss: fc.boolean() }),
  fc.record({ kind: kind('release-secondary'), born: epochs, ports }),
  fc.record({ kind: kind('hold'), born: epochs }),
  fc.record({ kind: kind('checkpoint'), born: epochs }),
  fc.record({ kind: kind('stop'), born: epochs }),
  fc.record({ kind: kind('destroy') }),
);

export const order: fc.Arbitrary<Order> = fc.record({
  incarnation: word.map(incarnation),
  vm: word,
  uid: word.map(vmUid),
  term: large.map(term),
  epoch: epochs,
  goal,
  spec,
});

export const answer: fc.Arbitrary<OrderAnswer> = fc.oneof(
  fc.constant({ kind: 'accepted' as const }),
  fc.record({ kind: kind('refused'), refusal: fc.constantFrom(...ORDER_REFUSALS), detail: text }),
);

const pid = orNull(fc.integer({ min: 1, max: 4_194_304 }));
const qemu: fc.Arbitrary<QemuReport> = fc.oneof(
  fc.constant({ kind: 'absent' as const }),
  fc.record({ kind: kind('starting'), born: epochs }),
  fc.record({ kind: kind('unknown'), born: epochs, pid }),
  fc.record({
    kind: kind('alive'),
    born: epochs,
    pid,
    role: fc.constantFrom('none', 'alone', 'primary', 'secondary'),
    runstate: text,
  }),
  fc.record({ kind: kind('hung'), born: epochs, pid }),
  fc.record({ kind: kind('dead'), born: epochs, why: text, guestShutdown: fc.boolean() }),
);
const goalKind = fc.constantFrom('start-alone', 'protect', 'release-primary', 'release-secondary', 'hold', 'destroy');
const task: fc.Arbitrary<TaskReport> = fc.oneof(
  fc.constant({ kind: 'idle' as const }),
  fc.record({ kind: kind('running'), goal: goalKind, epoch: epochs, procedure: text, step: text }),
  fc.record({ kind: kind('failed'), goal: goalKind, epoch: epochs, step: text, error: text }),
);
const disk: fc.Arbitrary<DiskReport> = fc.record({
  diskId: orNull(word.map(diskId)),
  stampEpoch: orNull(epochs),
  state: fc.constantFrom('clean', 'merging', 'stale', 'missing'),
  images: words,
  replication: fc.constantFrom('none', 'clean', 'error'),
  localError: fc.boolean(),
});

const vmReport: fc.Arbitrary<VmReport> = fc.record({
  vm: word,
  uid: word.map(vmUid),
  term: large.map(term),
  epoch: epochs,
  qemu,
  pair: fc.record({ state: fc.constantFrom('none', 'ok', 'hard', 'silent', 'unknown'), evidence: words }),
  aloneSince: orNull(epochs),
  readyFor: orNull(epochs),
  provenFor: orNull(epochs),
  guestShutdown: fc.boolean(),
  held: fc.boolean(),
  coloExited: fc.boolean(),
  unpromotable: orNull(word),
  task,
  disk,
  resync: orNull(fc.record({ doneBytes: large, totalBytes: large })),
  durationsMs: durations,
});

export const hostReport: fc.Arbitrary<HostReport> = fc.record({
  host: word,
  hostId: word.map(hostId),
  session: word,
  sequence: large,
  latenessMs: count,
  incarnation: orNull(word.map(incarnation)),
  vms: fc.array(vmReport, { maxLength: 3 }),
  peersSilentMs: fc.dictionary(word, count, { maxKeys: 3 }).map(plain),
  freeDiskBytes: large,
  etcdSilentMs: orNull(count),
});

const phase = fc.constantFrom(...PHASES);
export const history: fc.Arbitrary<HistoryEntry> = fc.record({
  atMs: large,
  vm: word,
  epoch: epochs,
  row: text,
  from: phase,
  to: phase,
  primary: orNull(word),
  secondary: orNull(word),
  evidence: words,
  by: text,
  durationsMs: durations,
});

const side: fc.Arbitrary<Side> = fc.record({ host: word, hostId: word.map(hostId), born: epochs });
export const record: fc.Arbitrary<VmRecord> = fc.record({
  vm: word,
  uid: word.map(vmUid),
  epoch: epochs,
  phase,
  reason: text,
  row: text,
  sinceMs: large,
  primary: orNull(side),
  secondary: orNull(side),
  ports: orNull(ports),
  verdict: orNull(
    fc.record({
      row: text,
      kind: fc.constantFrom('solo-primary', 'promote-secondary'),
      winner: side,
      loser: orNull(side),
      evidence: words,
      atMs: large,
    }),
  ),
  disk: orNull(
    fc.record({ host: word, diskId: word.map(diskId), epoch: epochs, state: fc.constantFrom('clean', 'merging', 'stale'), images: words }),
  ),
  lastError: orNull(text),
  failedAttempts: count,
  failoversAtMs: fc.array(large, { maxLength: 3 }),
});
