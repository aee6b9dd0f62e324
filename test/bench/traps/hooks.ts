// Which module stands in the place of which, and for whom. Only the named importer gets the watched one, which itself gets the real one.

interface Watched {
  readonly importer: string;
  readonly specifier: string;
  readonly instead: string;
}

const WATCHED: readonly Watched[] = [
  { importer: '/agent/loop/procedure.js', specifier: '../procedure-runner.js', instead: './watched-runner.js' },
  { importer: '/coordinator/loop.js', specifier: './save.js', instead: './watched-save.js' },
  { importer: '/coordinator/main.js', specifier: './io/agents.js', instead: './watched-agents.js' },
];

interface Context {
  readonly parentURL?: string;
}

/** As Node.js calls it: https://nodejs.org/api/module.html#customization-hooks */
export function resolve(
  specifier: string,
  context: Context,
  next: (specifier: string, context: Context) => Promise<unknown>,
): Promise<unknown> {
  const found = WATCHED.find((each) => specifier === each.specifier && context.parentURL?.endsWith(each.importer) === true);
  return found === undefined ? next(specifier, context) : next(new URL(found.instead, import.meta.url).href, context);
}
