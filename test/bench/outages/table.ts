// The kinds of outages of etcd, and the faults that come while its majority is away. Pure: who is struck is told by names of hosts.

export const STRUCK = ['one member', 'the leader', 'the majority', 'all'] as const;
export type Struck = (typeof STRUCK)[number];
export const MANNERS = ['killed', 'SIGSTOP'] as const;
export type Manner = (typeof MANNERS)[number];

export interface OutageKind {
  readonly struck: Struck;
  readonly manner: Manner;
}

export const OUTAGE_KINDS: readonly OutageKind[] = STRUCK.flatMap((struck) => MANNERS.map((manner) => ({ struck, manner })));

export const nameOfOutage = ({ struck, manner }: OutageKind): string => `${struck} ${manner}`;

export const losesQuorum = ({ struck }: OutageKind): boolean => struck === 'the majority' || struck === 'all';

/** `round`: from 0. The majority is struck with etcd's leader in it and without, in turn. */
export function membersStruck(struck: Struck, leader: string, all: readonly string[], round: number): readonly string[] {
  const followers = all.filter((each) => each !== leader);
  switch (struck) {
    case 'one member':
      return followers.slice(round % followers.length).slice(0, 1);
    case 'the leader':
      return [leader];
    case 'the majority':
      return round % 2 === 0 ? [leader, ...followers.slice(0, 1)] : followers;
    case 'all':
      return all;
  }
}

export const FAULTS = ['primary killed', 'secondary killed', "primary's host dark", "secondary's host dark"] as const;
export type Fault = (typeof FAULTS)[number];

export const strikesPrimary = (fault: Fault): boolean => fault.startsWith('primary');
export const isDark = (fault: Fault): boolean => fault.endsWith('dark');

/** The two members that are away when a fault comes. A host that goes dark takes its member with it, so it carries one of them. */
export function membersAway(fault: Fault, struckHost: string, all: readonly string[], round: number): readonly string[] {
  const others = all.filter((each) => each !== struckHost);
  const other = others[round % others.length];
  if (isDark(fault) || round % 2 === 0) return [struckHost, ...(other === undefined ? [] : [other])];
  return others;
}
