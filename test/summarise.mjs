// Adds up what the test runs reported and prints the last line of `npm test`: `N passed, N failed`.
// Usage: node test/summarise.mjs [--failed WHAT]... REPORT.json...
// A report that is missing or broken, a file that could not be loaded and an error outside any test each count as one failure.

import { readFileSync } from 'node:fs';

let passed = 0;
let failed = 0;
let skipped = 0;
const failures = [];

const args = process.argv.slice(2);
while (args.length > 0) {
  const arg = args.shift();
  if (arg === '--failed') fail(args.shift() ?? 'a check');
  else add(arg);
}

for (const each of failures) console.log(`FAILED: ${each}`);
if (skipped > 0) console.log(`skipped: ${skipped} (their names say why)`);
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;

function fail(what) {
  failed += 1;
  failures.push(what);
}

function add(file) {
  let report;
  try {
    report = JSON.parse(readFileSync(file, 'utf8'));
  } catch {
    fail(`the test run ended without its report ${file}`);
    return;
  }
  passed += report.numPassedTests;
  skipped += report.numPendingTests + report.numTodoTests;
  const before = failed;
  for (const { name, status, message, assertionResults } of report.testResults) {
    const red = assertionResults.filter((each) => each.status === 'failed');
    for (const each of red) fail(`${name}: ${each.fullName}`);
    if (status === 'failed' && red.length === 0) fail(`${name}: ${(message ?? '').split('\n')[0]}`);
  }
  if (!report.success && failed === before) fail('an error outside any test, see above');
}
