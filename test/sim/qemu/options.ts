// Reads QEMU's command line as QEMU does: key=value options with doubled commas. Only what the product passes and the model knows; an
// option that is missing shows as a QEMU that does not do what it should.

export type Options = ReadonlyMap<string, string>;

export interface CommandLine {
  readonly sockets: readonly string[];
  readonly taps: ReadonlyMap<string, string>;
  readonly drives: readonly Options[];
  readonly chardevs: readonly Options[];
  readonly objects: readonly Options[];
  readonly incoming: { readonly host: string; readonly port: number } | null;
  readonly stopped: boolean;
}

export function readCommandLine(argv: readonly string[]): CommandLine {
  const values = (flag: string): readonly string[] => argv.flatMap((word, at) => (word === flag ? [argv[at + 1] ?? ''] : []));
  const incoming = /^tcp:(.*):(\d+)$/.exec(values('-incoming')[0] ?? '');
  return {
    sockets: values('-qmp')
      .map((value) => options(value).get('') ?? '')
      .map((value) => value.replace(/^unix:/, '')),
    taps: new Map(values('-netdev').map((value) => [options(value).get('id') ?? '', options(value).get('ifname') ?? ''])),
    drives: values('-drive').map(options),
    chardevs: values('-chardev')
      .map(options)
      .filter((each) => each.get('') === 'socket'),
    objects: values('-object').map(options),
    incoming: incoming === null ? null : { host: incoming[1] ?? '', port: Number(incoming[2]) },
    stopped: argv.includes('-S'),
  };
}

/** The first word without `=` is kept under the empty key. */
function options(text: string): Options {
  const parts = text.split(/(?<!,),(?!,)/).map((part) => part.replaceAll(',,', ','));
  return new Map(
    parts.map((part) => {
      const at = part.indexOf('=');
      return at < 0 ? (['', part] as const) : ([part.slice(0, at), part.slice(at + 1)] as const);
    }),
  );
}
