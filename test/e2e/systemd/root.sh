#!/bin/sh
# Makes the root of a small Debian 13 that boots in systemd-nspawn, with what a host of colo-ha has from Debian: Node.js, QEMU, etcd.
# It is kept in $COLO_CACHE/nspawn-trixie; run again, this does nothing. Prints that folder. Needs root.

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
. "$here/../../../deploy/lab/steps.sh"

suite=trixie
# A change of the recipe gives another number, and the old folder is then replaced.
recipe=2
final=$COLO_CACHE/nspawn-$suite
mirror=${COLO_DEBIAN_MIRROR:-http://deb.debian.org/debian}

mkdir -p "$COLO_CACHE"
only_one "$COLO_CACHE/.nspawn-lock"
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
  --include=systemd,systemd-sysv,dbus,iproute2,nftables,nodejs,qemu-system-x86,qemu-utils,etcd-server,etcd-client \
  "$suite" "$building/root" "$mirror"

root=$building/root
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
