#!/bin/sh
# `npm run package`: builds dist/package/colo-ha_VERSION_all.deb out of this tree. It needs dpkg-deb and a Debian-like tar, no root, and it changes
# nothing outside of dist/. The same commit gives the same package, byte for byte, with the same npm packages in node_modules.
#
#   COLO_PACKAGE_VERSION   another version than package.json's, for a trial of an upgrade
#   SOURCE_DATE_EPOCH      the time of all files in the package; default: the last commit's

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
tree=$(dirname -- "$(dirname -- "$here")")
. "$here/../lab/steps.sh"
umask 022

command -v dpkg-deb >/dev/null || die 'a .deb is built on Debian or Ubuntu: there is no dpkg-deb here' 'npm pack makes an npm package anywhere'
sh "$here/../setup.sh" node
cd "$tree"

package_json() { node -p "require('./package.json').$1"; }
version=${COLO_PACKAGE_VERSION:-$(package_json version)}
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || stat -c %Y package.json)}
export SOURCE_DATE_EPOCH

out=$tree/dist/package
mkdir -p "$out"
deb=$out/colo-ha_${version}_all.deb
# Whatever goes in, in one word: the same package is not built twice.
inputs=$({
  echo "$version $SOURCE_DATE_EPOCH"
  cat dist/.colo-setup
  find deploy/package deploy/systemd deploy/examples proto README.md deploy/OPERATIONS.md coordinator/DESIGN.md -type f -exec sha256sum {} + | LC_ALL=C sort
} | sha256sum | cut -d' ' -f1)
if [ -e "$deb" ] && [ "$(cat "$deb.inputs" 2>/dev/null)" = "$inputs" ]; then
  echo "$deb"
  exit 0
fi
root=$(mktemp -d "$out/root.XXXXXX")
trap 'rm -rf "$root"' EXIT
trap 'exit 130' INT TERM
chmod 755 "$root"

lib=$root/usr/lib/colo-ha
share=$root/usr/share
doc=$share/doc/colo-ha
mkdir -p "$lib/dist" "$lib/node_modules" "$root/usr/bin" "$root/usr/lib/systemd/system" "$root/usr/lib/sysusers.d" "$root/usr/lib/tmpfiles.d" \
  "$share/colo-ha/examples" "$doc" "$share/man/man1" "$share/man/man8" "$share/bash-completion/completions" "$share/zsh/vendor-completions" \
  "$share/fish/vendor_completions.d" "$share/lintian/overrides" "$root/DEBIAN"

# --- the programs -----------------------------------------------------------------------------------------------------------------------

for part in agent coordinator shared; do cp -R "dist/$part" "$lib/dist/$part"; done
cp -R proto "$lib/proto"
node -e '
  const text = JSON.parse(require("fs").readFileSync("package.json", "utf8"));
  const { name, description, license, type, engines, dependencies } = text;
  console.log(JSON.stringify({ name, version: process.argv[1], description, license, type, engines, dependencies }, null, 2));
' "$version" >"$lib/package.json"
# The lock file knows which packages are for running and which for developing; so no npm is needed here.
node -e '
  const { existsSync, readFileSync } = require("fs");
  const { packages } = JSON.parse(readFileSync("package-lock.json", "utf8"));
  for (const [path, entry] of Object.entries(packages)) {
    const nested = path.indexOf("/node_modules/") > 0;
    if (path === "" || nested || entry.dev || entry.devOptional) continue;
    if (existsSync(path)) console.log(path);
    else if (!entry.optional) { console.error(path + " is missing: run npm ci"); process.exit(1); }
  }
' >"$root/packages"
while read -r package; do
  mkdir -p "$(dirname "$lib/$package")"
  cp -R "$package" "$lib/$package"
done <"$root/packages"
rm "$root/packages"
# What only a developer of these packages wants.
find "$lib" \( -name '*.ts' -o -name '*.cts' -o -name '*.mts' -o -name '*.map' -o -name '*.md' -o -name '.*' -o -name '*.tsbuildinfo' -o -name 'Makefile' -o \
  -name '*.html' -o -name '*.sh' -o -name 'bin.*js' \) ! -type d -delete
find "$lib/node_modules" -depth -type d \( -name test -o -name tests -o -name '.*' -o -name bin -o -name docs -o -name benchmark -o \
  -name benchmarks -o -name coverage -o -name example -o -name examples -o -name man -o -name .bin \) -exec rm -rf {} +
find "$lib" -depth -type d -empty -delete
[ -z "$(find "$lib" -name '*.node')" ] || die 'a package of npm has native code, and this .deb is for all machines' "$(find "$lib" -name '*.node')"

link() {
  chmod 755 "$lib/dist/$2"
  ln -s "../lib/colo-ha/dist/$2" "$root/usr/bin/$1"
}
find "$lib" -type f -exec chmod 644 {} +
link colo-agent agent/main.js
link colo-coordinator coordinator/main.js
link coloctl coordinator/cli/main.js

# --- what is around them ----------------------------------------------------------------------------------------------------------------

cp deploy/systemd/*.service "$root/usr/lib/systemd/system/"
cp deploy/systemd/sysusers.d/colo-ha.conf "$root/usr/lib/sysusers.d/"
cp deploy/systemd/tmpfiles.d/colo-ha.conf "$root/usr/lib/tmpfiles.d/"
cp deploy/examples/*.yaml "$share/colo-ha/examples/"
cp deploy/OPERATIONS.md README.md "$doc/"
cp coordinator/DESIGN.md "$doc/"
ln -s ../../colo-ha/examples "$doc/examples"

coloctl() { "$root/usr/bin/coloctl" "$@"; }
coloctl completion bash >"$share/bash-completion/completions/coloctl"
coloctl completion zsh >"$share/zsh/vendor-completions/_coloctl"
coloctl completion fish >"$share/fish/vendor_completions.d/coloctl.fish"
coloctl manual >"$share/man/man1/coloctl.1"
cp "$here"/man/*.8 "$share/man/man8/"
find "$share/man" -type f -exec gzip -9n {} +

date=$(LC_ALL=C date -u -R -d "@$SOURCE_DATE_EPOCH")
who='colo-ha <colo-ha@example.org>'
printf 'colo-ha (%s) unstable; urgency=medium\n\n  * Built from the commit of this date; see its log.\n\n -- %s  %s\n' "$version" "$who" "$date" |
  gzip -9n >"$doc/changelog.gz"
{
  cat "$here/copyright"
  # The licence of each package of npm that is inside.
  node "$here/licences.mjs" "$lib/node_modules"
} >"$doc/copyright"
cp "$here/lintian-overrides" "$share/lintian/overrides/colo-ha"

for script in preinst postinst prerm postrm; do install -m 755 "$here/$script" "$root/DEBIAN/$script"; done
size=$(du -k -s --apparent-size --exclude=DEBIAN "$root" | cut -f1)
sed -e "s/@VERSION@/$version/" -e "s/@SIZE@/$size/" -e "s/@WHO@/$who/" "$here/control" >"$root/DEBIAN/control"
(cd "$root" && find . -type f ! -path './DEBIAN/*' -printf '%P\0' | LC_ALL=C sort -z | xargs -0 md5sum) >"$root/DEBIAN/md5sums"

find "$root" -exec chmod go-w {} + -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
quietly 'dpkg-deb failed' dpkg-deb --root-owner-group -Zxz --build "$root" "$deb.new"
mv "$deb.new" "$deb"
echo "$inputs" >"$deb.inputs"
say "$deb ($(($(stat -c %s "$deb") / 1024)) KiB)"
echo "$deb"
