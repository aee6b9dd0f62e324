// One thing that the doctor says: how bad it is, in plain words, and what to do about it.

/** `missing` keeps a service from working; `doubtful` works today and hurts some day. */
export type Level = 'good' | 'doubtful' | 'missing';

export interface Finding {
  /** Of what: `qemu`, `etcd`, ... */
  readonly about: string;
  readonly level: Level;
  readonly said: string;
  /** What to do; '' where nothing is. */
  readonly hint: string;
}

export const good = (about: string, said: string): Finding => ({ about, level: 'good', said, hint: '' });
export const doubtful = (about: string, said: string, hint: string): Finding => ({ about, level: 'doubtful', said, hint });
export const missing = (about: string, said: string, hint: string): Finding => ({ about, level: 'missing', said, hint });
