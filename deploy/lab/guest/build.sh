#!/bin/sh
# Makes the tiny guest: Debian's cloud kernel and an initial RAM disk that holds one static
# program. Says on standard output which folder has {vmlinuz,initrd.img}. The folder is named
# after the contents of everything that went in, so it is built once and never changed.

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
. "$here/../steps.sh"

inputs=$(cat "$here"/*.c "$here"/*.h "$here/build.sh" | sha256sum | cut -c1-16)
final=$COLO_CACHE/guest/$inputs
if [ -e "$final/initrd.img" ]; then
  echo "$final"
  exit 0
fi

mkdir -p "$COLO_CACHE/guest"
building=$(mktemp -d "$COLO_CACHE/building.XXXXXX")
trap 'rm -rf "$building"' EXIT
trap 'exit 130' INT TERM
chmod 755 "$building"

# The meta package names the package that has the kernel itself.
kernel_package() {
  apt-cache depends linux-image-cloud-amd64 | sed -n 's/^ *Depends: \(linux-image-[^ ]*\)$/\1/p' | head -n 1
}

unpack_kernel() {
  say 'kernel of the guest (linux-image-cloud-amd64)'
  package=$(kernel_package)
  if [ -z "$package" ]; then
    quietly 'apt-get update failed' apt-get update -q
    package=$(kernel_package)
  fi
  [ -n "$package" ] || die 'apt does not know linux-image-cloud-amd64'
  mkdir "$building/kernel"
  fetch() {
    # A list of packages older than the mirror names a file that is gone: refresh it, once.
    cd "$building" && { apt-get download -q "$package" || { apt-get update -q && apt-get download -q "$package"; }; }
  }
  quietly "could not download $package" fetch
  quietly "could not unpack $package" dpkg -x "$building"/linux-image-*.deb "$building/kernel"
  rm "$building"/linux-image-*.deb
  mkdir -p "$building/kernel/usr/lib"
  # From Debian 13 on the modules are below usr, as the tools of that release expect; ours look in both.
  [ -d "$building/kernel/lib" ] || ln -s usr/lib "$building/kernel/lib"
  [ -d "$building/kernel/usr/lib/modules" ] || ln -s ../../lib/modules "$building/kernel/usr/lib/modules"
  rm -rf "$COLO_CACHE/guest/kernel"
  mv "$building/kernel" "$COLO_CACHE/guest/kernel"
}

[ -d "$COLO_CACHE/guest/kernel" ] || unpack_kernel
kernel=$COLO_CACHE/guest/kernel
release=$(ls "$kernel/lib/modules")

say "guest for kernel $release"
image=$building/image
mkdir -p "$image/modules" "$building/out"
quietly 'the guest program does not compile' \
  gcc -O2 -Wall -Wextra -static -s -o "$image/init" "$here"/*.c

# From Debian 13 on, modules lie compressed and usr-merged; the guest wants them plain.
depmod -b "$kernel" "$release"
for module in virtio_pci virtio_net virtio_blk ata_piix sd_mod; do
  modprobe -d "$kernel" -S "$release" --show-depends "$module" | sed -n 's/^insmod \([^ ]*\).*/\1/p' ||
    die "kernel $release has no module $module"
done | awk '!seen[$0]++' | while read -r path; do
  name=$(basename "$path")
  case $name in
    *.ko.xz)
      name=${name%.xz}
      xz -dc "$path" >"$image/modules/$name"
      ;;
    *) cp "$path" "$image/modules/$name" ;;
  esac
  echo "/modules/$name" >>"$image/modules.list"
done
[ -s "$image/modules.list" ] || die "found no modules for kernel $release"

(cd "$image" && find . | LC_ALL=C sort | cpio -o -H newc --quiet) | gzip -1 >"$building/out/initrd.img"
cp "$kernel/boot/vmlinuz-$release" "$building/out/vmlinuz"
mv "$building/out" "$final"
say "guest is in $final"
echo "$final"
