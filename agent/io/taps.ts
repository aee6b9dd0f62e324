// Tap interfaces by iproute2. They are persistent, so that QEMU finds them at its start and they outlive the agent, and they carry
// virtio-net headers, because QEMU's filters are told so. They belong to QEMU's user, who needs no privilege to open them then.

import { readFileSync } from 'node:fs';
import type { Taps } from '../ports.js';
import { fail, ok, type Result } from '../../shared/core/result.js';
import type { QemuUser } from './qemu-user.js';
import { run } from './run.js';

const IP_MS = 3_000;

/** `owner`: the user that QEMU runs as. */
export function systemTaps(owner: QemuUser): Taps {
  return {
    make: async (name, bridge) => {
      if (!exists(bridge)) return fail(`the bridge ${bridge} does not exist on this host`);
      if (!exists(name)) {
        const made = await ip('tuntap', 'add', 'dev', name, 'mode', 'tap', 'user', String(owner.uid), 'vnet_hdr');
        if (!made.ok) return made;
      }
      const attached = await ip('link', 'set', 'dev', name, 'master', bridge);
      return attached.ok ? ip('link', 'set', 'dev', name, 'up') : attached;
    },
    setUp: (name, up) => ip('link', 'set', 'dev', name, up ? 'up' : 'down'),
    remove: async (name) => (exists(name) ? ip('link', 'delete', 'dev', name) : ok(null)),
  };
}

/** /proc/net is that of the reader's network namespace, whatever /sys was mounted in. */
function exists(name: string): boolean {
  return readFileSync('/proc/net/dev', 'utf8')
    .split('\n')
    .some((line) => line.trimStart().startsWith(`${name}:`));
}

async function ip(...args: readonly string[]): Promise<Result<null, string>> {
  const done = await run('ip', args, IP_MS);
  return done.ok ? ok(null) : done;
}
