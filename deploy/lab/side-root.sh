#!/bin/sh
# Unpacks one version of QEMU, and etcd with it, from the Debian release that has it into
# $COLO_CACHE/qemu-VERSION, without touching the packages of this machine. No chroot and no
# mounts are needed to run it: the programs are told to use the C library beside them, so
# a QEMU started through bin/ is an ordinary process with an ordinary name.
#
#   side-root.sh 11.1 | 7.2

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
. "$here/steps.sh"

version=$1
case $version in
  11.1) suite=forky ;;
  7.2) suite=bookworm ;;
  *) die "there is no recipe for QEMU $version" 'known: 11.1 and 7.2' ;;
esac

# A change of the recipe gives another number, and the old folder is then replaced.
recipe=3
final=$COLO_CACHE/qemu-$version
mirror=${COLO_DEBIAN_MIRROR:-http://deb.debian.org/debian}
shim=$final/lib/colo-tcg-shim.so
case $version in
  11.1) shim_source=$here/tcg-shim-11.c ;;
  7.2) shim_source=$here/tcg-shim.c ;;
esac

build_shim() {
  if [ -e "$shim" ] && [ ! "$shim_source" -nt "$shim" ]; then return; fi
  say "TCG shim for QEMU $version"
  mkdir -p "$final/lib"
  quietly 'the TCG shim does not compile' \
    gcc -O2 -Wall -Wextra -shared -fPIC -o "$shim.new" "$shim_source" -ldl -pthread
  mv "$shim.new" "$shim"
}

# QEMU looks for its BIOS and its modules in places fixed at build time, hence a wrapper; it
# ends in exec, so the process that was started is QEMU itself. Under TCG it needs a preloaded
# library, see tcg-shim*.c. QEMU 7.2 also needs 8 KiB more memory than was asked for (`-m 96` or
# `-m 96M`): when the size is a multiple of 256 KiB, its quick way of collecting dirty pages
# forgets to watch them again, and a migration loses writes.
write_wrapper() {
  memory=
  [ "$version" != 7.2 ] || memory="
count=\$#
while [ \$count -gt 0 ]; do
  word=\$1
  shift
  case \${before:-} in
    -m) word=\$((\${word%M} * 1024 + 8))k ;;
  esac
  before=\$word
  set -- \"\$@\" \"\$word\"
  count=\$((count - 1))
done"
  cat >"$1.new" <<END
#!/bin/sh
root='$final/root'
export QEMU_MODULE_DIR="\$root/usr/lib/x86_64-linux-gnu/qemu"
export LD_PRELOAD='$shim'$memory
exec "\$root/usr/bin/qemu-system-x86_64" -L "\$root/usr/share/qemu" -L "\$root/usr/share/seabios" "\$@"
END
  chmod 755 "$1.new"
  mv "$1.new" "$1"
}

# Neither needs the network, so both follow this tree without another recipe.
if [ "$(cat "$final/recipe" 2>/dev/null)" = $recipe ]; then
  build_shim
  write_wrapper "$final/bin/qemu-system-x86_64"
  exit 0
fi

say "QEMU $version and etcd out of Debian $suite (about 120 MB from $mirror)"
mkdir -p "$COLO_CACHE"
building=$(mktemp -d "$COLO_CACHE/building.XXXXXX")
trap 'rm -rf "$building"' EXIT
trap 'exit 130' INT TERM
chmod 755 "$building"
root=$building/root

# `extract` only unpacks: no maintainer script runs, no service is started.
# The signature of the release is verified; its expiry date is not, because a mirror that
# lags (or a machine whose clock runs ahead) is no reason to have no lab.
quietly "could not unpack Debian $suite" \
  mmdebstrap --mode=root --variant=extract \
  --aptopt='Acquire::Check-Valid-Until "false"' --aptopt='Acquire::Retries "3"' \
  --include=qemu-system-x86,qemu-utils,etcd-server,etcd-client \
  "$suite" "$root" "$mirror"

# forky has moved everything below usr; bookworm's packages may still bring a lib of their own.
libraries=
for folder in usr/lib/x86_64-linux-gnu lib/x86_64-linux-gnu; do
  [ ! -d "$root/$folder" ] || libraries=$libraries:$final/root/$folder
done
libraries=${libraries#:}

# The file itself: a symbolic link to it may be absolute, and then it means this machine's loader.
loader=
for folder in usr/lib/x86_64-linux-gnu lib/x86_64-linux-gnu usr/lib64; do
  candidate=$folder/ld-linux-x86-64.so.2
  if [ -f "$root/$candidate" ] && [ ! -L "$root/$candidate" ] && [ ! -L "$root/${folder%%/*}" ]; then
    loader=$candidate
    break
  fi
done
[ -n "$loader" ] || die "Debian $suite has no C library loader where it was expected"

rm -rf "$root/usr/share/doc" "$root/usr/share/man" "$root/usr/share/locale" "$root/usr/bin/qemu-system-i386"
mkdir "$building/bin"

# The paths written here are the final ones: the programs run only after the rename below.
for program in qemu-system-x86_64 qemu-img qemu-io qemu-nbd qemu-storage-daemon; do
  patchelf --set-interpreter "$final/root/$loader" --force-rpath --set-rpath "$libraries" \
    "$root/usr/bin/$program" || die "patchelf could not prepare $program"
  ln -s "../root/usr/bin/$program" "$building/bin/$program"
done
for program in etcd etcdctl; do
  ln -s "../root/usr/bin/$program" "$building/bin/$program"
done

rm "$building/bin/qemu-system-x86_64"
write_wrapper "$building/bin/qemu-system-x86_64"

# The old folder may still be used by a running lab: its open files stay valid.
[ ! -e "$final" ] || mv "$final" "$building/old"
mkdir "$building/new"
mv "$building/root" "$building/bin" "$building/new/"
mv "$building/new" "$final"
build_shim

# What COLO needs must be in this build of QEMU; if not, nothing further is worth trying.
qemu=$final/bin/qemu-system-x86_64
found=$("$qemu" --version | sed -n 's/^QEMU emulator version \([^ ]*\).*/\1/p') ||
  die "QEMU $version does not start"
case $found in
  "$version".*) ;;
  *) say "warning: Debian $suite now brings QEMU $found, not $version" ;;
esac
objects=$("$qemu" -object help || true)
for object in colo-compare filter-mirror filter-redirector filter-rewriter; do
  case $objects in
    *"$object"*) ;;
    *) die "QEMU $found was built without $object" ;;
  esac
done
formats=$("$final/bin/qemu-img" --help)
for format in quorum replication; do
  case $formats in
    *"$format"*) ;;
    *) die "QEMU $found was built without the block driver $format" ;;
  esac
done

# Only now is the folder complete; without this file the next run begins again.
echo $recipe >"$final/recipe"
say "QEMU $found and etcd $("$final/bin/etcd" --version | sed -n 's/^etcd Version: //p') are in $final"
