// The journals on disk: one of the host, one per VM. A journal that cannot be read is put aside and counts as none, so that nothing is
// obeyed for that VM before its record was read; it is never guessed at.

import { readdir, readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { JOURNAL_FORMAT, type AgentJournal, type VmJournal } from '../core/journal.js';
import type { JournalStore } from '../ports.js';
import { hostId } from '../../shared/core/ids.js';
import { fail, ok, type Result } from '../../shared/core/result.js';
import type { Log, Random } from '../../shared/ports.js';
import { makeFolder, messageOf, writeDurably } from './files.js';
import { SlotFile } from './slot-file.js';

export interface Journals {
  readonly agent: AgentJournal;
  readonly vms: readonly VmJournal[];
  readonly store: JournalStore;
}

/** Reads all journals; makes the host's own id at the first start. Throws when the state folder cannot be used at all. */
export async function openJournals(stateDir: string, random: Random, log: Log): Promise<Journals> {
  const vmsDir = join(stateDir, 'vms');
  await makeFolder(vmsDir, 0o700);
  const agentFile = join(stateDir, 'host.json');
  const slotFiles = new Map<string, SlotFile>();
  const slotFileOf = (vm: string): SlotFile => {
    const file = slotFiles.get(vm) ?? new SlotFile(join(vmsDir, vm, 'journal'));
    slotFiles.set(vm, file);
    return file;
  };
  const store: JournalStore = {
    saveAgent: (journal) => saved(agentFile, () => writeDurably(agentFile, `${JSON.stringify(journal)}\n`)),
    saveVm: (journal) => saved(`the journal of ${journal.vm}`, () => slotFileOf(journal.vm).write(journal)),
  };
  const known = await load<AgentJournal>(agentFile, log);
  const agent = known ?? { format: JOURNAL_FORMAT, hostId: hostId(random.id()), incarnation: null };
  if (known === null) {
    const done = await store.saveAgent(agent);
    if (!done.ok) throw new Error(done.error);
  }
  const vms: VmJournal[] = [];
  for (const entry of await readdir(vmsDir, { withFileTypes: true })) {
    if (!entry.isDirectory()) continue;
    const file = slotFileOf(entry.name);
    const { value, broken } = file.read();
    // One broken file is what a crash in the middle of a write leaves: the other one counts.
    if (broken.length > 0) log.warn({ vm: entry.name, broken }, 'journal-broken');
    const journal = value as VmJournal | null | undefined;
    if (journal === undefined) {
      file.putAside(broken);
    } else if (journal?.format !== JOURNAL_FORMAT || journal.vm !== entry.name) {
      log.error({ vm: entry.name, format: journal?.format }, 'journal-of-unknown-format');
    } else {
      vms.push(journal);
    }
  }
  return { agent, vms, store };
}

async function saved(what: string, write: () => Promise<void>): Promise<Result<null, string>> {
  try {
    await write();
    return ok(null);
  } catch (error) {
    return fail(`${what} cannot be written: ${messageOf(error)}`);
  }
}

/** Null when there is none. The files are our own, so a known format is trusted to have its fields. */
async function load<T extends { readonly format: number }>(path: string, log: Log): Promise<T | null> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return null;
    throw error;
  }
  try {
    const value = JSON.parse(text) as T;
    if (value.format === JOURNAL_FORMAT) return value;
    log.error({ path, format: value.format }, 'journal-of-unknown-format');
  } catch (error) {
    log.error({ path, error: messageOf(error) }, 'journal-broken');
  }
  await rename(path, `${path}.broken`);
  return null;
}
