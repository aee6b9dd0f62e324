// Says, in the form of debian/copyright, under which licence each package of npm in a folder is, with the text that it brings. The Apache
// License 2.0 is named only, because every Debian has its text.

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const top = process.argv[2] ?? '.';
const folders = readdirSync(top)
  .sort()
  .flatMap((name) =>
    name.startsWith('@')
      ? readdirSync(join(top, name))
          .sort()
          .map((each) => `${name}/${each}`)
      : [name],
  );

for (const name of folders) {
  const folder = join(top, name);
  if (!existsSync(join(folder, 'package.json'))) continue;
  const about = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
  const author = typeof about.author === 'string' ? about.author : (about.author?.name ?? `The ${name} authors`);
  const text = textOf(folder, about.license);
  const license = `${about.license ?? 'see-below'}-of-${name}`.replaceAll(/[^A-Za-z0-9.-]/g, '-');
  console.log(`\nFiles: usr/lib/colo-ha/node_modules/${name}/*\nCopyright: ${author}\nLicense: ${license}`);
  for (const line of text.split(/\r?\n/)) console.log(line.trim() === '' ? ' .' : ` ${line}`);
}

function textOf(folder, license) {
  if (license === 'Apache-2.0') return 'The text is in /usr/share/common-licenses/Apache-2.0.';
  const file = readdirSync(folder).find((each) => /^licen[cs]e/i.test(each));
  return file === undefined ? 'As its package.json says.' : readFileSync(join(folder, file), 'utf8').trim();
}
