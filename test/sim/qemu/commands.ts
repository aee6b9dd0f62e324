// What a QEMU does when its monitor is told to: the commands of the product's procedures, with the answers and the texts of the real one.
// Everything runs in the main loop, one after another, and waits while that is held; only `yank` passes by.

import type { Json, JsonObject } from '../../../agent/core/procedures/port.js';
import { at } from '../../../agent/core/procedures/condition.js';
import { fail, ok, type Result } from '../../../shared/core/result.js';
import { query } from './answers.js';
import { SimPair } from './pair.js';
import type { Chardev, Qemu } from './shapes.js';

export interface Refusal {
  readonly errorClass: string;
  readonly description: string;
}

/** `held`: the main loop now waits inside this command, and it is carried out again when it is free. */
export type Reply = Result<Json, Refusal> | 'held';

const refuse = (description: string, errorClass = 'GenericError'): Reply => fail({ errorClass, description });
const DONE: Reply = ok({});

const MEMORY_BYTES = 96 * 1024 * 1024;

type Command = (qemu: Qemu, args: JsonObject) => Reply;

const text = (args: JsonObject, ...path: string[]): string => {
  const found = at(args, path);
  return typeof found === 'string' ? found : typeof found === 'number' ? String(found) : '';
};

export function runCommand(qemu: Qemu, command: string, args: JsonObject): Reply {
  const known = COMMANDS[command];
  if (known !== undefined) return known(qemu, args);
  const answer = query(qemu, command, args);
  return answer === null ? refuse(`The command ${command} has not been found`, 'CommandNotFound') : ok(answer);
}

/** Out of band: carried out at once, whatever holds the main loop. */
export function yank(qemu: Qemu, args: JsonObject): Reply {
  const instances = at(args, ['instances']);
  for (const instance of Array.isArray(instances) ? (instances as readonly JsonObject[]) : []) {
    if (!yankOne(qemu, instance)) return refuse('Instance not found', 'DeviceNotFound');
  }
  return DONE;
}

function yankOne(qemu: Qemu, instance: JsonObject): boolean {
  switch (text(instance, 'type')) {
    case 'migration':
      if (qemu.pair === null || qemu.pair.step === 'over') return false;
      qemu.pair.yank(qemu);
      return true;
    case 'chardev': {
      const chardev = qemu.chardevs.get(text(instance, 'id'));
      if (chardev === undefined || chardev.port === null) return false;
      qemu.closeChardev(chardev);
      qemu.release(chardev.id);
      return true;
    }
    case 'block-node': {
      const node = text(instance, 'node-name');
      const channel = qemu.block.nodes.get(node);
      if (channel === undefined) return false;
      channel.close(qemu);
      qemu.block.peerGone(channel);
      return true;
    }
    default:
      return false;
  }
}

const COMMANDS: Readonly<Record<string, Command>> = {
  stop: (qemu) => {
    if (qemu.runstate === 'running') qemu.setRunstate('paused');
    // Its answer comes when the disks are drained; questions wait behind it.
    qemu.block.drain(() => undefined);
    return qemu.hang === null ? DONE : 'held';
  },
  cont: (qemu) => {
    // Also a guest that a failed write had stopped (qmp_cont): its devices make the write again.
    if (['paused', 'prelaunch', 'finish-migrate', 'io-error'].includes(qemu.runstate) && qemu.colo.mode === 'none')
      qemu.setRunstate('running');
    return DONE;
  },
  quit: (qemu) => {
    qemu.after(2, () => qemu.die('quit'));
    return DONE;
  },
  system_powerdown: (qemu) => {
    if (qemu.running) qemu.after(qemu.world.rng.between(50, 400), () => powerOff(qemu));
    return DONE;
  },
  'announce-self': () => DONE,
  'human-monitor-command': (qemu, args) => humanCommand(qemu, text(args, 'command-line')),
  'migrate-set-capabilities': (qemu, args) => {
    const list = at(args, ['capabilities']);
    for (const each of Array.isArray(list) ? (list as readonly JsonObject[]) : []) {
      if (each['state'] === true) qemu.capabilities.add(text(each, 'capability'));
      else qemu.capabilities.delete(text(each, 'capability'));
    }
    const lacks = qemu.world.version.major >= 11 && qemu.capabilities.has('x-colo') && !qemu.capabilities.has('return-path');
    return lacks ? refuse("Capability 'x-colo' requires capability 'return-path'") : DONE;
  },
  'migrate-set-parameters': (qemu, args) => {
    if (typeof args['max-bandwidth'] === 'number') qemu.maxBandwidthBytes = args['max-bandwidth'];
    if (typeof args['x-checkpoint-delay'] !== 'number') return DONE;
    qemu.checkpointDelayMs = args['x-checkpoint-delay'];
    if (qemu.colo.mode !== 'primary' || qemu.pair === null) return DONE;
    // QEMU's timer is a null pointer until the first whole transfer has ended.
    if (!qemu.pair.resumed) qemu.die('segmentation fault in colo_checkpoint_notify');
    else qemu.pair.checkpoint();
    return DONE;
  },
  migrate: (qemu, args) => migrate(qemu, text(args, 'uri')),
  'migrate-continue': (qemu) => {
    if (qemu.pair?.step !== 'before-switch') return refuse('Migration not in expected state: pre-switchover');
    qemu.pair.switchOver();
    return DONE;
  },
  migrate_cancel: (qemu) => {
    if (qemu.migration === 'setup') qemu.setMigration('cancelled');
    if (qemu.pair !== null && qemu.pair.primary === qemu) qemu.pair.cancel();
    return DONE;
  },
  'x-colo-lost-heartbeat': (qemu) => {
    if (qemu.colo.mode === 'none' || qemu.pair === null) return refuse('VM is not in COLO mode');
    const { pair } = qemu;
    qemu.after(qemu.world.rng.between(1, 10), () => qemu.pair === pair && pair.failOver(qemu));
    return DONE;
  },
  'nbd-server-start': (qemu, args) => {
    if (qemu.block.server !== null) return refuse('NBD server already running');
    const port = Number(text(args, 'addr', 'data', 'port'));
    if (qemu.machine.running().some((each) => each !== qemu && each.block.server?.port === port))
      return refuse('Failed to find an available port: Address already in use');
    qemu.block.server = { port, exports: new Set() };
    return DONE;
  },
  'nbd-server-add': (qemu, args) => {
    const { server } = qemu.block;
    if (server === null) return refuse('NBD server not running');
    const id = text(args, 'device');
    if (server.exports.has(id)) return refuse(`Block export id '${id}' is already in use`);
    server.exports.add(id);
    return DONE;
  },
  'nbd-server-stop': (qemu) => {
    if (qemu.block.server === null) return refuse('NBD server not running');
    qemu.block.stopServer();
    return DONE;
  },
  'drive-mirror': (qemu, args) => {
    const target = /^nbd:\/\/(.*):(\d+)\/parent0$/.exec(text(args, 'target'));
    return withConnection(qemu, target?.[1] ?? '', Number(target?.[2] ?? 0), (channel) =>
      qemu.block.startCopy(text(args, 'job-id'), channel),
    );
  },
  'blockdev-add': (qemu, args) => {
    const node = text(args, 'node-name');
    if (qemu.block.nodes.has(node)) return refuse(`Duplicate nodes with node-name='${node}'`);
    return withConnection(qemu, text(args, 'server', 'host'), Number(text(args, 'server', 'port')), (channel) =>
      qemu.block.nodes.set(node, channel),
    );
  },
  'blockdev-mirror': (qemu, args) => {
    const channel = qemu.block.nodes.get(text(args, 'target'));
    if (channel === undefined) return refuse(`Cannot find device='${text(args, 'target')}' nor node-name='${text(args, 'target')}'`);
    qemu.block.startCopy(text(args, 'job-id'), channel);
    return DONE;
  },
  'blockdev-del': (qemu, args) => {
    const node = text(args, 'node-name');
    const channel = qemu.block.nodes.get(node);
    if (channel === undefined) return refuse(`Failed to find node with node-name='${node}'`);
    if (qemu.block.child?.channel === channel) return refuse(`Node ${node} is in use`);
    if (drains(qemu, node)) return 'held';
    qemu.block.nodes.delete(node);
    channel.close(qemu);
    return DONE;
  },
  'block-job-cancel': (qemu, args) => {
    if (!qemu.block.cancelCopy(args['force'] === true)) return refuse(`Block job '${text(args, 'device')}' not found`, 'DeviceNotActive');
    return DONE;
  },
  'x-blockdev-change': (qemu, args) => {
    const { block } = qemu;
    const node = text(args, 'node');
    if (node !== '') {
      const channel = block.nodes.get(node === 'replication0' ? 'nbd0' : node);
      if (channel === undefined) return refuse(`Node '${node}' not found`);
      if (block.child !== null) return refuse(`The node ${node} is in use`);
      block.child = { node: node === 'replication0' ? 'replication0' : 'nbd0', channel };
      block.missedByPeer = false;
      return DONE;
    }
    if (block.child === null) return refuse("The node 'colo-disk0' does not have child 'children.1'");
    if (drains(qemu, 'nbd0')) return 'held';
    block.child = null;
    return DONE;
  },
  'object-add': (qemu, args) => {
    const id = text(args, 'id');
    if (qemu.objects.has(id)) return refuse(`attempt to add duplicate property '${id}' to object (type 'container')`);
    const status = text(args, 'status');
    qemu.objects.set(id, {
      id,
      type: text(args, 'qom-type'),
      outdev: text(args, 'outdev'),
      vnetHdr: args['vnet_hdr_support'] === true,
      on: status !== 'off',
    });
    if (typeof args['compare_timeout'] === 'number') qemu.compareTimeoutMs = args['compare_timeout'];
    qemu.world.touched();
    return DONE;
  },
  'object-del': (qemu, args) => {
    const id = text(args, 'id');
    const object = qemu.objects.get(id);
    if (object === undefined) return refuse(`object '${id}' not found`);
    qemu.objects.delete(id);
    if (object.type === 'colo-compare') qemu.guest.forgetWithheld();
    qemu.world.touched();
    return DONE;
  },
  'qom-set': (qemu, args) => {
    const object = qemu.objects.get(text(args, 'path').replace('/objects/', ''));
    if (object === undefined) return refuse(`Device '${text(args, 'path')}' not found`);
    object.on = text(args, 'value') === 'on';
    qemu.world.touched();
    return DONE;
  },
  'chardev-add': (qemu, args) => {
    const id = text(args, 'id');
    if (qemu.chardevs.has(id)) return refuse(`Chardev '${id}' already exists`);
    const path = text(args, 'backend', 'data', 'addr', 'data', 'path');
    const port = path === '' ? Number(text(args, 'backend', 'data', 'addr', 'data', 'port')) : null;
    const listens = at(args, ['backend', 'data', 'server']) === true;
    const taken = qemu.machine
      .running()
      .some((other) => [...other.chardevs.values()].some((each) => listens && each.listens && port !== null && each.port === port));
    if (taken) return refuse(`Failed to find an available port: Address already in use`);
    addChardev(qemu, { id, listens, port, host: text(args, 'backend', 'data', 'addr', 'data', 'host'), path, channel: null, mate: null });
    return DONE;
  },
  'chardev-remove': (qemu, args) => {
    const id = text(args, 'id');
    const chardev = qemu.chardevs.get(id);
    if (chardev === undefined) return refuse(`Chardev '${id}' not found`);
    if ([...qemu.objects.values()].some((each) => each.outdev === id)) return refuse(`Chardev '${id}' is busy`);
    qemu.chardevs.delete(id);
    qemu.closeChardev(chardev);
    for (const each of qemu.chardevs.values()) if (each.mate === id) each.mate = null;
    return DONE;
  },
};

export function addChardev(qemu: Qemu, chardev: Chardev): void {
  qemu.chardevs.set(chardev.id, chardev);
  if (chardev.port !== null) return qemu.keepConnecting(chardev);
  const mate = [...qemu.chardevs.values()].find((each) => each.path === chardev.path && each.listens !== chardev.listens);
  if (mate === undefined) return;
  chardev.mate = mate.id;
  mate.mate = chardev.id;
}

/** Requests that are under way to a peer that says nothing are waited for, with the big lock held. */
function drains(qemu: Qemu, node: string): boolean {
  const channel = qemu.block.nodes.get('nbd0');
  if (channel === undefined || !channel.isOpen(qemu) || !channel.isSilent()) return false;
  qemu.hold(node);
  return true;
}

function withConnection(
  qemu: Qemu,
  host: string,
  port: number,
  use: (channel: Exclude<ReturnType<Qemu['block']['connect']>, string>) => void,
): Reply {
  const channel = qemu.block.connect(host, port);
  if (channel === 'refused') return refuse(`Failed to connect to '${host}:${port}': Connection refused`);
  if (channel === 'silent') {
    if (qemu.gaveUpConnecting) {
      qemu.gaveUpConnecting = false;
      return refuse(`Failed to connect to '${host}:${port}': Connection timed out`);
    }
    qemu.hold('nbd0');
    const freed = (): void => {
      qemu.world.network.onChange.delete(freed);
      qemu.release('nbd0');
    };
    qemu.world.network.onChange.add(freed);
    // A connection attempt ends by itself, in the end.
    qemu.after(20_000, () => {
      if (qemu.hang !== 'nbd0') return;
      qemu.gaveUpConnecting = true;
      freed();
    });
    return 'held';
  }
  use(channel);
  return DONE;
}

function humanCommand(qemu: Qemu, line: string): Reply {
  const { block } = qemu;
  if (line.startsWith('drive_add ')) {
    const host = /file\.host=([^,]*)/.exec(line)?.[1] ?? '';
    const port = Number(/file\.port=(\d+)/.exec(line)?.[1] ?? 0);
    if (block.nodes.has('nbd0')) return ok("Duplicate nodes with node-name='nbd0'\r\n");
    const reply = withConnection(qemu, host, port, (channel) => {
      block.nodes.set('nbd0', channel);
      block.nodes.set('replication0', channel);
      block.replicationError = false;
    });
    // A failure of the human monitor comes as text.
    return reply === 'held' || reply.ok ? (reply === 'held' ? reply : ok('')) : ok(`${reply.error.description}\r\n`);
  }
  if (line.startsWith('drive_del ')) {
    const channel = block.nodes.get('replication0');
    if (channel === undefined) return ok(`Error: Device 'replication0' not found\r\n`);
    if (block.child?.node === 'replication0') return ok("Node 'replication0' is busy\r\n");
    if (drains(qemu, 'nbd0')) return 'held';
    block.nodes.delete('replication0');
    block.nodes.delete('nbd0');
    channel.close(qemu);
    return ok('');
  }
  return ok(`unknown command: '${line}'\r\n`);
}

/** Connects in the background; while nothing comes back the kernel tries again and again, until it is cancelled. */
function migrate(qemu: Qemu, uri: string): Reply {
  const target = /^tcp:(.*):(\d+)$/.exec(uri);
  const [host, port] = [target?.[1] ?? '', Number(target?.[2] ?? 0)];
  if (qemu.migration === 'setup' || qemu.migration === 'active') return refuse('There is a migration process in progress');
  qemu.setMigration('setup');
  qemu.guest.wasRunning = qemu.running;
  connectMigration(qemu, host, port);
  return DONE;
}

function connectMigration(qemu: Qemu, host: string, port: number): void {
  const { world } = qemu;
  const machine = world.machineAt(host);
  qemu.after(1, () => {
    if (qemu.migration !== 'setup') return;
    if (machine === null || !world.network.passesBothWays('repl', qemu.machine.name, machine.name)) {
      qemu.after(world.rng.between(500, 3_000), () => connectMigration(qemu, host, port));
      return;
    }
    const secondary = machine
      .running()
      .find((each) => each.line.incoming?.port === port && each.runstate === 'inmigrate' && each.pair === null);
    if (secondary === undefined) return qemu.setMigration('failed');
    new SimPair(qemu, secondary, port).begin(MEMORY_BYTES);
  });
}

/** The guest shuts itself down, on both sides of a pair: the secondary first sees its stream break. */
export function powerOff(qemu: Qemu): void {
  const secondary = qemu.pair?.secondary;
  const off = (each: Qemu): void => {
    if (!each.alive) return;
    each.emit('SHUTDOWN', { guest: true, reason: 'guest-shutdown' });
    each.setRunstate('shutdown');
  };
  off(qemu);
  if (qemu.colo.mode === 'primary' && secondary !== undefined) secondary.after(qemu.world.rng.between(15, 40), () => off(secondary));
  qemu.pair?.yank(qemu);
}
