#!/bin/sh
# Makes the root of a small Debian that boots in systemd-nspawn, with what a host of colo-ha has from Debian: Node.js, QEMU, etcd.
# It is kept in $COLO_CACHE/nspawn-SUITE; run again, this does nothing. Prints that folder. Needs root.
#
#   root.sh bookworm | trixie
#
# Debian 12 has no Node.js that is new enough; there this machine's node is put into a package `nodejs` of its version.

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
. "$here/../lab/steps.sh"

suite=${1:-trixie}
case $suite in
  bookworm) node_package= ;;
  trixie) node_package=,nodejs ;;
  *) die "there is no recipe for Debian '$suite'" 'known: bookworm and trixie' ;;
esac
# A change of the recipe gives another number, and the old folder is then replaced.
recipe=3
final=$COLO_CACHE/nspawn-$suite
mirror=${COLO_DEBIAN_MIRROR:-http://deb.debian.org/debian}

mkdir -p "$COLO_CACHE"
only_one "$COLO_CACHE/.nspawn-$suite-lock"
if [ "$(cat "$final/.recipe" 2>/dev/null)" = $recipe ]; then
  echo "$final"
  exit 0
fi

say "Debian $suite with systemd, Node.js, QEMU and etcd (about 200 MB from $mirror)"
building=$(mktemp -d "$COLO_CACHE/building.XXXXXX")
trap 'rm -rf "$building"' EXIT
trap 'exit 130' INT TERM
chmod 755 "$building"

# The signature of the release is verified; its expiry date is not, because a mirror that
# lags (or a machine whose clock runs ahead) is no reason to have no test.
quietly "could not make a Debian $suite" \
  mmdebstrap --mode=root --variant=minbase \
  --aptopt='Acquire::Check-Valid-Until "false"' --aptopt='Acquire::Retries "3"' \
  --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
  --dpkgopt='path-exclude=/usr/share/doc/*' \
  --include=systemd,systemd-sysv,dbus,iproute2,nftables$node_package,qemu-system-x86,qemu-utils,etcd-server,etcd-client \
  "$suite" "$building/root" "$mirror"

root=$building/root
if [ -z "$node_package" ]; then
  node=$(readlink -f "$(command -v node)")
  mkdir -p "$building/nodejs/DEBIAN" "$building/nodejs/usr/bin"
  cp "$node" "$building/nodejs/usr/bin/node"
  printf 'Package: nodejs\nVersion: %s\nArchitecture: amd64\nMaintainer: nobody\nDescription: the node of the machine that tests\n' \
    "$("$node" -p process.versions.node)" >"$building/nodejs/DEBIAN/control"
  quietly 'dpkg-deb failed' dpkg-deb --root-owner-group -Zgzip --build "$building/nodejs" "$root/nodejs.deb"
  quietly 'nodejs cannot be installed' chroot "$root" dpkg -i /nodejs.deb
  rm "$root/nodejs.deb"
fi
# minbase has no hosts file, and etcd and Node.js both look for localhost.
printf '127.0.0.1 localhost\n::1 localhost\n' >"$root/etc/hosts"
echo colo-host1 >"$root/etc/hostname"
# A fresh identity at each boot; and nobody answers questions at a first boot.
: >"$root/etc/machine-id"
ln -sf /dev/null "$root/etc/systemd/system/systemd-firstboot.service"
# The tests say themselves when etcd runs.
rm -f "$root/etc/systemd/system/multi-user.target.wants/etcd.service"
echo $recipe >"$root/.recipe"

[ ! -e "$final" ] || mv "$final" "$building/old"
mv "$root" "$final"
say "a bootable Debian $suite is in $final"
echo "$final"
