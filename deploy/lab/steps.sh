# Shared by the setup scripts (sourced, never run): one line per thing done,
# with the time since the script began, and a loud end on the first error.
# Everything is said on standard error, so that standard output stays free for answers.

set -eu
steps_began_ms=${steps_began_ms:-$(date +%s%3N)}
export steps_began_ms

COLO_CACHE=${COLO_CACHE:-/var/cache/colo-ha}
export COLO_CACHE

say() {
  ms=$(($(date +%s%3N) - steps_began_ms))
  printf '[%3d.%d s] %s\n' $((ms / 1000)) $((ms % 1000 / 100)) "$*" >&2
}

die() {
  printf '\nsetup failed: %s\n' "$1" >&2
  shift
  for hint in "$@"; do printf '  %s\n' "$hint" >&2; done
  exit 1
}

# Runs a chatty command in silence; what it said is shown only if it fails.
quietly() {
  what=$1
  shift
  output=$(mktemp)
  if "$@" >"$output" 2>&1; then
    rm -f "$output"
  else
    status=$?
    tail -n 40 "$output" >&2
    rm -f "$output"
    die "$what (exit status $status)" "the command was: $*"
  fi
}

# Takes a lock that ends with this process, so that two setups at once do the work once.
only_one() {
  exec 9>"$1"
  if ! flock -n 9; then
    say "another setup is at work ($1): waiting for it"
    flock -w 900 9 || die "another setup held $1 for more than 15 minutes"
  fi
}
