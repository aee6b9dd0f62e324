#!/bin/sh
# Puts in place whatever this tree needs and does not have yet; run again, it does nothing.
#
#   deploy/setup.sh node       npm packages and the build (no root needed)
#   deploy/setup.sh lab        also: Debian packages, QEMU 11.1 with etcd, and the tiny guest (root)
#   deploy/setup.sh tests      also: what boots a systemd for the tests (root)
#   deploy/setup.sh qemu-7.2   QEMU 7.2 with its TCG shim, for `lab up --qemu 7.2` (root)
#
# QEMU and etcd are unpacked into a folder of their own below $COLO_CACHE (default
# /var/cache/colo-ha): the machine's own packages stay as they are and no service is started.

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
tree=$(dirname -- "$here")
. "$here/lab/steps.sh"

hash_of_files() {
  # Reads file names, one a line; the same names and contents always give the same answer.
  LC_ALL=C sort | tr '\n' '\0' | xargs -0 sha256sum | sha256sum | cut -d' ' -f1
}

node_is_new_enough() {
  command -v node >/dev/null && [ "$(node -p 'process.versions.node.split(".")[0]')" -ge 20 ]
}

packages_of_npm() {
  stamp=node_modules/.colo-setup
  lock=$(sha256sum package-lock.json | cut -d' ' -f1)
  if [ "$(cat $stamp 2>/dev/null)" = "$lock" ]; then return; fi
  # npm writes this file itself, last: packages that somebody installed by hand count as well.
  if [ ! node_modules/.package-lock.json -nt package-lock.json ]; then
    say 'npm packages (npm ci)'
    quietly 'npm ci failed' npm ci --no-fund --no-audit
  fi
  echo "$lock" >$stamp
}

build() {
  stamp=dist/.colo-setup
  sources=$({
    find agent coordinator shared deploy test -name '*.ts' 2>/dev/null
    ls package-lock.json tsconfig.json deploy/tsconfig.build.json
  } | hash_of_files)
  if [ "$(cat $stamp 2>/dev/null)" = "$sources" ]; then return; fi
  say 'build (npm run build)'
  rm -f $stamp
  quietly 'the build failed' npm run --silent build
  echo "$sources" >$stamp
}

node_part() {
  cd "$tree"
  node_is_new_enough || die 'Node.js 20 or newer is needed' \
    'Debian 13: apt-get install nodejs npm' \
    'Debian 12: its own is too old, see https://github.com/nodesource/distributions'
  mkdir -p node_modules
  # Inside a subshell, so that this lock is given back before another one is taken.
  (
    only_one node_modules/.colo-setup-lock
    packages_of_npm
    build
  )
}

debian_packages() {
  wanted='cpio gcc iproute2 kmod libc6-dev mmdebstrap nftables patchelf procps tcpdump util-linux xz-utils'
  if [ "$1" = tests ]; then wanted="$wanted systemd-container"; fi
  missing=
  for package in $wanted; do
    case $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) in
      installed) ;;
      *) missing="$missing $package" ;;
    esac
  done
  if [ -z "$missing" ]; then return; fi
  say "Debian packages:$missing"
  export DEBIAN_FRONTEND=noninteractive
  quietly 'apt-get update failed' apt-get update -q
  # shellcheck disable=SC2086 # a list of words, on purpose
  quietly 'apt-get install failed' apt-get install -q -y --no-install-recommends $missing
}

need_root_on_debian() {
  [ "$(id -u)" = 0 ] || die "this part needs root" "try: sudo sh deploy/setup.sh $1"
  command -v apt-get >/dev/null || die 'this part needs Debian 12 or 13 (there is no apt-get here)'
  [ "$(dpkg --print-architecture)" = amd64 ] || die 'the lab knows only amd64'
}

lab_part() {
  need_root_on_debian "$1"
  mkdir -p "$COLO_CACHE"
  (
    only_one "$COLO_CACHE/.lock"
    debian_packages "$1"
    case $1 in
      lab | tests)
        sh "$here/lab/side-root.sh" 11.1
        sh "$here/lab/guest/build.sh" >/dev/null
        ;;
      qemu-7.2) sh "$here/lab/side-root.sh" 7.2 ;;
    esac
  )
}

case ${1:-} in
  node) node_part ;;
  lab | tests)
    node_part
    lab_part "$1"
    ;;
  qemu-7.2) lab_part qemu-7.2 ;;
  *)
    sed -n '2,10s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
