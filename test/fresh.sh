#!/bin/sh
# The README's commands on an emptied Debian, as somebody finds it who has never seen this tree: makes a minimal Debian with none of our
# packages, enters it by systemd-nspawn with this machine's network, clones the last commit of this tree and runs one of the two commands.
#
#   sh test/fresh.sh bookworm|trixie demo     npm run demo
#   sh test/fresh.sh bookworm|trixie setup    the part of `npm test` that puts everything in place, with types, lint and unit tests
#   sh test/fresh.sh bookworm|trixie test     npm test, whole
#   sh test/fresh.sh bookworm|trixie shell    a shell in it, to look around
#
# Debian 12 has no Node.js that is new enough: this machine's node and npm are bound into it. Debian 13 gets its own by apt, as the README
# says. What it writes is in memory and gone at the end. Needs root, systemd-nspawn, mmdebstrap and about 4 GiB of memory.

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
tree=$(dirname -- "$here")
. "$here/../deploy/lab/steps.sh"

suite=${1:-}
what=${2:-}
case $suite in
  bookworm) first='apt-get install -q -y --no-install-recommends git' ;;
  trixie) first='apt-get install -q -y --no-install-recommends git nodejs npm' ;;
  *)
    sed -n '2,10s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
case $what in
  demo) command='npm run demo' ;;
  setup) command='COLO_TESTS=unit npm test && sh deploy/setup.sh tests' ;;
  test) command='npm test' ;;
  shell) command='bash -i' ;;
  *) die "'$what' is not demo, setup, test or shell" ;;
esac
[ "$(id -u)" = 0 ] || die 'this needs root'
for program in systemd-nspawn mmdebstrap git; do
  command -v $program >/dev/null || die "$program is missing" 'apt-get install systemd-container mmdebstrap git'
done

# --- an emptied Debian, made once -------------------------------------------------------------------------------------------------------

recipe=1
base=$COLO_CACHE/fresh-$suite
mirror=${COLO_DEBIAN_MIRROR:-http://deb.debian.org/debian}
mkdir -p "$COLO_CACHE"
(
  only_one "$COLO_CACHE/.fresh-lock"
  if [ "$(cat "$base/.recipe" 2>/dev/null)" != $recipe ]; then
    say "an emptied Debian $suite"
    building=$(mktemp -d "$COLO_CACHE/building.XXXXXX")
    trap 'rm -rf "$building"' EXIT
    chmod 755 "$building"
    quietly "could not make a Debian $suite" mmdebstrap --mode=root --variant=minbase \
      --aptopt='Acquire::Check-Valid-Until "false"' --aptopt='Acquire::Retries "3"' "$suite" "$building/root" "$mirror"
    echo $recipe >"$building/root/.recipe"
    rm -rf "$base"
    mv "$building/root" "$base"
  fi
)

# --- what this run writes, in memory ----------------------------------------------------------------------------------------------------

scratch=$(mktemp -d)
cleanup() {
  umount "$scratch/root" 2>/dev/null || true
  umount "$scratch" 2>/dev/null || true
  rmdir "$scratch" 2>/dev/null || true
}
trap cleanup EXIT
trap 'exit 130' INT TERM
mount -t tmpfs -o size=6g colo-fresh "$scratch"
mkdir "$scratch/upper" "$scratch/work" "$scratch/root"
mount -t overlay colo-fresh -o "lowerdir=$base,upperdir=$scratch/upper,workdir=$scratch/work" "$scratch/root"
printf '127.0.0.1 localhost\n::1 localhost\n' >"$scratch/root/etc/hosts"
# A mirror that lags, or a clock that runs ahead, is no reason to have no test.
echo 'Acquire::Check-Valid-Until "false";' >"$scratch/root/etc/apt/apt.conf.d/90colo-fresh"
git clone -q --bare "$tree" "$scratch/root/srv/colo-ha.git"

set -- --quiet --register=no --keep-unit --as-pid2 --directory="$scratch/root" "--machine=colo-fresh-$$" --resolv-conf=copy-host --chdir=/root
# The lab makes namespaces, taps and mounts, as root of a real machine may.
set -- "$@" --capability=all --bind=/dev/net/tun --setenv=HOME=/root --setenv=LC_ALL=C.UTF-8 --setenv=DEBIAN_FRONTEND=noninteractive
# The way to the package registries is this machine's own.
for name in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY npm_config_registry; do
  eval "value=\${$name:-}"
  [ -z "$value" ] || set -- "$@" "--setenv=$name=$value"
done
cafile=$(cd / && npm config get cafile 2>/dev/null || true)
if [ -e "$cafile" ]; then
  mkdir -p "$scratch/root/srv/ca"
  cp "$cafile" "$scratch/root/srv/ca/bundle.crt"
  set -- "$@" --setenv=NODE_EXTRA_CA_CERTS=/srv/ca/bundle.crt --setenv=npm_config_cafile=/srv/ca/bundle.crt
fi
if [ "$suite" = bookworm ]; then
  node=$(readlink -f "$(command -v node)")
  npm=$(dirname "$(dirname "$(readlink -f "$(command -v npm)")")")
  set -- "$@" "--bind-ro=$node:/usr/local/bin/node" "--bind-ro=$npm:/usr/local/lib/node_modules/npm"
  mkdir -p "$scratch/root/usr/local/bin"
  ln -s ../lib/node_modules/npm/bin/npm-cli.js "$scratch/root/usr/local/bin/npm"
fi

say "in a Debian $suite: apt-get update && $first; git clone; $command"
status=0
SYSTEMD_NSPAWN_API_VFS_WRITABLE=yes systemd-nspawn "$@" sh -ec "
  apt-get update -q >/dev/null
  ($first) >/dev/null
  echo \"node \$(node --version), npm \$(npm --version), \$(. /etc/os-release && echo \$PRETTY_NAME)\"
  git clone -q /srv/colo-ha.git colo-ha
  cd colo-ha
  $command" || status=$?
say "it ended with exit status $status"
exit $status
