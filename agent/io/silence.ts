// Silences taps with nftables, in a table of this program's own in the bridge family: every frame that comes from a silenced tap and is not
// plain IPv4 (ARP, IPv6, any VLAN tag) is dropped before the bridge sees it, because QEMU's compare neither withholds nor checks it. The
// rule is always there; silencing is one change of a set. It needs nothing of QEMU, which may hang, and stops no guest.

import type { TapSilence } from '../peer-ports.js';
import type { Log } from '../../shared/ports.js';
import { fail, ok, type Result } from '../../shared/core/result.js';
import { run } from './run.js';

const TABLE = 'bridge colo_ha';
const NFT_MS = 2_000;
/** After a change that failed. */
const AGAIN_MS = 250;

/** Nothing here is taken away when it exists already: what an earlier agent silenced stays silent. */
const PREPARE = [
  `add table ${TABLE}`,
  `add set ${TABLE} silenced { type ifname; }`,
  // Before every other chain of the bridge.
  `add chain ${TABLE} from_taps { type filter hook prerouting priority -350; policy accept; }`,
  `flush chain ${TABLE} from_taps`,
  `add rule ${TABLE} from_taps iifname @silenced ether type != ip counter drop`,
].join('\n');

export function nftSilence(log: Log): TapSilence {
  let problem: string | null = null;
  let actual: ReadonlySet<string> | null = null;
  let wanted: ReadonlySet<string> | null = null;
  let busy = false;

  async function prepare(): Promise<void> {
    const prepared = await nft(PREPARE);
    const listed = prepared.ok ? await list() : prepared;
    actual = listed.ok ? listed.value : null;
    tell(listed.ok ? null : listed.error);
  }

  function tell(now: string | null): void {
    if (now !== problem && now !== null) log.error({ error: now }, 'silence-not-possible');
    if (now === null && problem !== null) log.info({}, 'silence-possible');
    problem = now;
  }

  async function settle(): Promise<void> {
    if (busy) return;
    busy = true;
    for (;;) {
      const aim = wanted;
      if (actual === null) await prepare();
      if (aim === null || actual === null) break;
      const add = [...aim].filter((tap) => !actual?.has(tap));
      const remove = [...actual].filter((tap) => !aim.has(tap));
      if (add.length === 0 && remove.length === 0) {
        if (aim === wanted) break;
        continue;
      }
      const done = await nft([...element('add', add), ...element('delete', remove)].join('\n'));
      // Somebody has changed the table behind our back, or nft has failed: look what is there and go on from that.
      actual = done.ok ? aim : null;
      if (done.ok) log.info({ silenced: add, heardAgain: remove }, 'taps-silenced');
      else {
        tell(done.error);
        break;
      }
    }
    busy = false;
    if (actual === null && wanted !== null) setTimeout(() => void settle(), AGAIN_MS).unref();
  }

  return {
    open: async () => {
      await prepare();
      return actual ?? new Set();
    },
    want: (taps) => {
      wanted = taps;
      void settle();
    },
    problem: () => problem,
  };
}

function element(change: 'add' | 'delete', taps: readonly string[]): readonly string[] {
  return taps.length === 0 ? [] : [`${change} element ${TABLE} silenced { ${taps.map((tap) => `"${tap}"`).join(', ')} }`];
}

async function list(): Promise<Result<ReadonlySet<string>, string>> {
  const listed = await run('nft', ['-j', 'list', 'set', ...TABLE.split(' '), 'silenced'], NFT_MS);
  if (!listed.ok) return listed;
  const names = [...listed.value.matchAll(/"elem":\s*\[([^\]]*)\]/g)].flatMap((match) => [...(match[1] ?? '').matchAll(/"([^"]+)"/g)]);
  return ok(new Set(names.flatMap((match) => match[1] ?? [])));
}

async function nft(commands: string): Promise<Result<null, string>> {
  const done = await run('nft', [commands], NFT_MS);
  if (done.ok) return ok(null);
  return fail(/ENOENT/.test(done.error) ? 'the program `nft` is not installed (package nftables)' : done.error);
}
