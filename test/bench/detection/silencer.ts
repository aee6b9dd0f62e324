// The filter of taps as a program: a line of JSON, the taps that are to be silent, and when it is so a line that says how long it took.

import { createInterface } from 'node:readline';
import { nftSilence } from '../../../agent/io/silence.js';

let beganMs = 0;
const say = (event: string): void => {
  if (event === 'taps-silenced') console.log(`done ${performance.now() - beganMs}`);
};
const silence = nftSilence({
  debug: (_fields, event) => say(event),
  info: (_fields, event) => say(event),
  warn: (_fields, event) => say(event),
  error: (fields) => console.error(JSON.stringify(fields)),
});

const found = await silence.open();
console.log(['found', ...found].join(' '));
for await (const line of createInterface({ input: process.stdin })) {
  beganMs = performance.now();
  silence.want(new Set(JSON.parse(line) as string[]));
}
