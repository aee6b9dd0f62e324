#!/bin/sh
# `npm test`: puts in place what is needed, builds, checks types and lint, and runs the unit tests, the simulator and, as root, the end-to-end tests on real
# QEMU and etcd. The last line is `N passed, N failed`, and the exit code says whether anything failed.
#
#   COLO_TESTS=unit            leave the end-to-end tests out
#   COLO_SIM_SCENARIOS=5000    so many scenarios in the simulator instead of 20000
set -u
cd "$(dirname "$0")/.." || exit 1
reports=$(mktemp -d)
# The simulator's proof as well, which a quick check leaves out.
export COLO_SIM=all
searching=
trap '[ -z "$searching" ] || kill "$searching"; rm -rf "$reports"' EXIT
trap 'exit 130' INT TERM
set --

say() {
  printf '\n=== %s\n' "$*"
}

fail() {
  echo "FAILED: $*"
  echo '0 passed, 1 failed'
  exit 1
}

skip() {
  printf '\n!!! SKIPPED: %s\n' "$@"
}

vitest() {
  # A report for the sum besides the output for people. Usage: vitest CONFIG REPORT [WHICH]...
  config=$1
  report=$2
  shift 2
  node node_modules/vitest/vitest.mjs run --config "test/vitest.$config.config.ts" --reporter=default --reporter=json --outputFile.json="$reports/$report.json" "$@"
}

say 'setup and build'
command -v node >/dev/null || fail 'there is no node: install Node.js 20 or newer'
sh deploy/setup.sh node || fail 'setup or build, see above'

say 'types'
npm run --silent types || set -- "$@" --failed 'types (npm run types)'
say 'lint and format'
npm run --silent lint || set -- "$@" --failed 'lint (npm run lint)'

say 'unit tests and tidiness'
vitest unit unit
set -- "$@" "$reports/unit.json"

scenarios=${COLO_SIM_SCENARIOS:-20000}
search="node test/sim/run.mjs --stories --cross --scenarios $scenarios --from 1 --complete --report $reports/sim.json"
ready=no
if [ "${COLO_TESTS:-all}" = unit ]; then
  skip 'end-to-end tests, because COLO_TESTS=unit'
elif [ "$(id -u)" != 0 ]; then
  skip 'ALL end-to-end tests on real QEMU and etcd: they need root for network namespaces. Run: sudo npm test'
else
  say 'what the end-to-end tests need (QEMU, etcd, a tiny guest)'
  if sh deploy/setup.sh tests; then ready=yes; else set -- "$@" --failed 'setup of the end-to-end tests (deploy/setup.sh tests)'; fi
fi

if [ "$ready" = yes ]; then
  # The tests of the package mostly wait for machines that boot. The search takes what they leave of the processors, and nothing that they want.
  package=test/e2e/systemd/package.test.ts
  say "end-to-end tests of the package; and meanwhile the simulator: stories, deaths in every row, and $scenarios scenarios of random faults"
  if chrt --idle 0 true 2>/dev/null; then idle='chrt --idle 0'; else idle='nice -n 19'; fi
  $idle $search >"$reports/sim.log" 2>&1 &
  searching=$!
  vitest e2e package "$package"
  wait "$searching"
  searching=
  cat "$reports/sim.log"
  say 'all other end-to-end tests'
  vitest e2e e2e --exclude "$package"
  set -- "$@" "$reports/package.json" "$reports/e2e.json"
else
  say "simulator: stories, deaths in every row, and $scenarios scenarios of random faults"
  $search
fi
set -- "$@" "$reports/sim.json"

say 'sum'
node test/summarise.mjs "$@"
