// Tap interfaces by iproute2. They are persistent, so that QEMU finds them at its start and they outlive the agent, and they carry
// virtio-net headers, because QEMU's filters are told so.

import { existsSync } from 'node:fs';
import type { Taps } from '../ports.js';
import { fail, ok, type Result } from '../../shared/core/result.js';
import { run } from './run.js';

const IP_MS = 3_000;

export function systemTaps(): Taps {
  const exists = (name: string): boolean => existsSync(`/sys/class/net/${name}`);

  return {
    make: async (name, bridge) => {
      if (!exists(bridge)) return fail(`the bridge ${bridge} does not exist on this host`);
      if (!exists(name)) {
        const made = await ip('tuntap', 'add', 'dev', name, 'mode', 'tap', 'vnet_hdr');
        if (!made.ok) return made;
      }
      const attached = await ip('link', 'set', 'dev', name, 'master', bridge);
      return attached.ok ? ip('link', 'set', 'dev', name, 'up') : attached;
    },
    setUp: (name, up) => ip('link', 'set', 'dev', name, up ? 'up' : 'down'),
    remove: async (name) => (exists(name) ? ip('link', 'delete', 'dev', name) : ok(null)),
  };
}

async function ip(...args: readonly string[]): Promise<Result<null, string>> {
  const done = await run('ip', args, IP_MS);
  return done.ok ? ok(null) : done;
}
