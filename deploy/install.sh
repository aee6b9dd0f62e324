#!/bin/sh
# Puts a build of colo-ha onto this host, or upgrades the one that is there; or takes it away again.
#
#   deploy/install.sh [--agent] [--coordinator] [--prefix DIR] [--destdir DIR]
#   deploy/install.sh --remove [--prefix DIR] [--destdir DIR]
#
#   --agent, --coordinator   which services; without either, both
#   --prefix DIR             where the programs go; default /usr/lib/colo-ha
#   --destdir DIR            put everything below DIR and start nothing, to make an image or a package
#   --remove                 take programs and services away; configuration, disks and running guests stay
#
# Run again it does nothing, or upgrades in place: each build has a folder of its own, and one symbolic link decides which is used. Services
# are restarted only if they run and something changed; no guest notices. Configuration files are never written over.

set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
tree=$(dirname -- "$here")

prefix=/usr/lib/colo-ha
destdir=
services=
remove=no

say() { printf '%s\n' "$*"; }

die() {
  printf 'install.sh: %s\n' "$1" >&2
  shift
  for hint in "$@"; do printf '  %s\n' "$hint" >&2; done
  exit 1
}

absolute() {
  case $2 in
    /*) ;;
    *) die "$1 must be an absolute path, not '$2'" ;;
  esac
  case $2 in
    *[!A-Za-z0-9/._-]*) die "$1 may hold letters, digits and / . _ - only, not '$2'" ;;
  esac
}

while [ $# -gt 0 ]; do
  case $1 in
    --agent) services="$services colo-agent" ;;
    --coordinator) services="$services colo-coordinator" ;;
    --remove) remove=yes ;;
    --prefix | --destdir)
      [ $# -ge 2 ] || die "$1 needs a folder"
      absolute "$1" "$2"
      if [ "$1" = --prefix ]; then prefix=${2%/}; else destdir=${2%/}; fi
      shift
      ;;
    -h | --help)
      sed -n '2,13s/^# \{0,1\}//p' "$0"
      exit 0
      ;;
    *) die "unknown option '$1'" 'deploy/install.sh --help says what there is' ;;
  esac
  shift
done
services=${services:-colo-agent colo-coordinator}

[ -n "$destdir" ] || [ "$(id -u)" = 0 ] || die 'this needs root' "try: sudo sh deploy/install.sh"

# systemd is asked and told only where it runs and where it is about this very machine.
live=no
if [ -z "$destdir" ] && [ -d /run/systemd/system ]; then live=yes; fi

units=$destdir/usr/lib/systemd/system
sysusers=$destdir/usr/lib/sysusers.d/colo-ha.conf
tmpfiles=$destdir/usr/lib/tmpfiles.d/colo-ha.conf
etc=$destdir/etc/colo-ha

# --- taking away ------------------------------------------------------------------------------------------------------------------------

if [ "$remove" = yes ]; then
  for service in colo-agent colo-coordinator; do
    [ -e "$units/$service.service" ] || continue
    if [ $live = yes ]; then systemctl --quiet disable --now $service; fi
    rm -f "$units/$service.service" "$destdir/etc/systemd/system/multi-user.target.wants/$service.service"
    say "removed $service.service"
  done
  rm -f "$sysusers" "$tmpfiles" "$etc/agent.yaml.example" "$etc/coordinator.yaml.example" "$etc/vm.yaml.example"
  for program in colo-agent colo-coordinator coloctl; do rm -f "$destdir/usr/bin/$program"; done
  rm -rf "$destdir$prefix/current" "$destdir$prefix/versions"
  rmdir "$destdir$prefix" 2>/dev/null || true
  say "removed the programs in $prefix"
  say "kept: $etc, $destdir/var/lib/colo-ha (disks and journals of the VMs), and the user colo"
  if [ $live = yes ]; then
    systemctl daemon-reload
    running=$(systemctl list-units --plain --no-legend --state=running 'colo-vm-*' | cut -d' ' -f1)
    if [ -n "$running" ]; then
      say ''
      say 'ATTENTION: these guests still run, and nobody protects or watches them any more:'
      for unit in $running; do say "  $unit"; done
      say 'Install colo-ha again to take them over, or end one, as if its power were cut, with: systemctl stop UNIT'
    fi
  fi
  exit 0
fi

# --- what must be there -----------------------------------------------------------------------------------------------------------------

# Services have no PATH of a login shell, so node is looked for where they can find it.
node=$(PATH=/usr/local/bin:/usr/bin:/bin command -v node || true)
if [ -z "$node" ]; then
  other=$(command -v node || true)
  [ -z "$other" ] || die "node is at $other, where services do not look" "install Node.js for the whole machine, for example: apt-get install nodejs (Debian 13)"
  die 'Node.js 20 or newer is needed, and there is no node' 'Debian 13: apt-get install nodejs' \
    'Debian 12 has version 18: see https://github.com/nodesource/distributions'
fi
[ "$("$node" -p 'process.versions.node.split(".")[0]')" -ge 20 ] ||
  die "Node.js 20 or newer is needed, and $node is $("$node" --version)" 'Debian 12: see https://github.com/nodesource/distributions'

if [ ! -e "$tree/dist/agent/main.js" ] || [ ! -e "$tree/dist/coordinator/main.js" ]; then
  command -v npm >/dev/null ||
    die "there is no build in $tree/dist, and no npm to make one" 'on a machine with npm: npm ci && npm run build; then copy the folder here'
  say "there is no build in $tree/dist: making one"
  sh "$here/setup.sh" node
fi
[ -d "$tree/node_modules/@grpc/grpc-js" ] || die "there are no packages in $tree/node_modules" 'run: npm ci'

# Missing programs are no reason to stop, because they can follow; the service says so as well when it needs them.
missing=
need() { command -v "$1" >/dev/null || missing="$missing $2"; }
case $services in
  *colo-agent*)
    need qemu-system-x86_64 qemu-system-x86
    need qemu-img qemu-utils
    need ip iproute2
    need nft nftables
    need flock util-linux
    ;;
esac
etcd=yes
command -v etcd >/dev/null || etcd=no

# --- the build, in a folder of its own --------------------------------------------------------------------------------------------------

versions=$destdir$prefix/versions
mkdir -p "$versions"
staging=$versions/.new.$$
trap 'rm -rf "$staging"' EXIT
trap 'exit 130' INT TERM
mkdir "$staging" "$staging/dist" "$staging/node_modules"

for part in agent coordinator shared; do cp -R "$tree/dist/$part" "$staging/dist/$part"; done
cp -R "$tree/proto" "$tree/package.json" "$tree/package-lock.json" "$here/OPERATIONS.md" "$staging/"
# The lock file knows which packages are for running and which for developing; so no npm is needed here.
"$node" -e '
  const { existsSync, readFileSync } = require("fs");
  const { packages } = JSON.parse(readFileSync(process.argv[1] + "/package-lock.json", "utf8"));
  for (const [path, entry] of Object.entries(packages)) {
    const nested = path.indexOf("/node_modules/") > 0;
    if (path === "" || nested || entry.dev || entry.devOptional) continue;
    if (existsSync(process.argv[1] + "/" + path)) console.log(path.slice("node_modules/".length));
    else if (!entry.optional) { console.error(`install.sh: ${path} is missing: run npm ci`); process.exit(1); }
  }
' "$tree" >"$staging/.packages" || exit 1
while read -r package; do
  mkdir -p "$(dirname "$staging/node_modules/$package")"
  cp -R "$tree/node_modules/$package" "$staging/node_modules/$package"
done <"$staging/.packages"
rm "$staging/.packages"
chmod -R u=rwX,go=rX "$staging"
[ "$(id -u)" != 0 ] || chown -R 0:0 "$staging"

# A build that does not even say its version never becomes the current one.
version=$("$node" "$staging/dist/coordinator/main.js" --version) || die 'this build does not run, see above'
"$node" "$staging/dist/agent/main.js" --version >/dev/null || die 'this build does not run, see above'
contents=$(cd "$staging" && find . -type f | LC_ALL=C sort | tr '\n' '\0' | xargs -0 sha256sum | sha256sum | cut -c1-12)
name=$version-$contents
before=$(readlink "$destdir$prefix/current" 2>/dev/null || true)
before=${before#versions/}

changed=no
if [ "$before" = "$name" ]; then
  say "colo-ha $name is in $prefix already"
else
  changed=yes
  # A folder of this name that is not the current one is whole as well: it got its name by a rename.
  if [ -d "$versions/$name" ]; then rm -rf "$staging"; else mv "$staging" "$versions/$name"; fi
  ln -s "versions/$name" "$destdir$prefix/.current.new.$$"
  mv -T "$destdir$prefix/.current.new.$$" "$destdir$prefix/current"
  say "installed colo-ha $name in $prefix${before:+ (before: $before)}"
fi
# The one before stays, to go back to; older ones go.
for folder in "$versions"/*; do
  case ${folder##*/} in
    "$name" | "$before") ;;
    *) [ $changed = no ] || rm -rf "$folder" ;;
  esac
done

# --- what is around it ------------------------------------------------------------------------------------------------------------------

# Writes standard input to a file, whole or not at all; says so and notes it if the file was another one before.
put() {
  mkdir -p "$(dirname "$1")"
  cat >"$1.new.$$"
  chmod "$2" "$1.new.$$"
  if cmp -s "$1.new.$$" "$1"; then
    rm "$1.new.$$"
    return
  fi
  mv "$1.new.$$" "$1"
  say "wrote $1"
  put_changed=yes
}

launcher() {
  put "$destdir/usr/bin/$1" 755 <<END
#!/bin/sh
# $3 of colo-ha; written by deploy/install.sh. \`current\` is a link to the build in use.
exec $node $prefix/current/$2 "\$@"
END
}
launcher colo-agent dist/agent/main.js 'The agent'
launcher colo-coordinator dist/coordinator/main.js 'The coordinator'
launcher coloctl dist/coordinator/cli/main.js 'The command line'

put "$sysusers" 644 <"$here/systemd/sysusers.d/colo-ha.conf"
put "$tmpfiles" 644 <"$here/systemd/tmpfiles.d/colo-ha.conf"
mkdir -p "$etc"
for example in agent coordinator vm; do put "$etc/$example.yaml.example" 644 <"$here/examples/$example.yaml"; done
if [ $live = yes ]; then
  systemd-sysusers colo-ha.conf
  systemd-tmpfiles --create colo-ha.conf
fi

put_changed=no
first=
for service in $services; do
  # A unit that an operator has disabled stays disabled in an upgrade.
  [ -e "$units/$service.service" ] || first="$first $service"
  # Not through a pipe: `put` would note its change in a shell of its own.
  unit=$(sed "s|/usr/lib/colo-ha/current|$prefix/current|" "$here/systemd/$service.service")
  put "$units/$service.service" 644 <<END
$unit
END
done
[ $put_changed = no ] || changed=yes
[ $live = no ] || [ $put_changed = no ] || systemctl daemon-reload
for service in $first; do
  if [ -n "$destdir" ]; then
    systemctl --quiet --root="$destdir" enable $service 2>/dev/null || say "not enabled: there is no systemctl here for $destdir"
  else
    systemctl --quiet enable $service
    say "enabled $service (it starts at the next boot, if it is configured)"
  fi
done

# --- what runs goes on with the new build -----------------------------------------------------------------------------------------------

# Also a service that was not named on the command line: both run from the same link.
if [ $live = yes ] && [ $changed = yes ]; then
  for service in colo-agent colo-coordinator; do
    systemctl --quiet is-active $service || continue
    if systemctl restart $service; then
      say "restarted $service"
    else
      say "$service DOES NOT COME UP with this build: journalctl -u $service -e"
      [ -z "$before" ] || say "back to the one before: ln -sfn versions/$before $prefix/current && systemctl restart $service"
      exit 1
    fi
  done
fi

# --- what to do next --------------------------------------------------------------------------------------------------------------------

say ''
if [ -n "$missing" ]; then say "Missing on this machine; on Debian: apt-get install --no-install-recommends$missing"; fi
if [ $etcd = no ]; then say 'There is no etcd on this machine. That is fine if three other machines have one; see OPERATIONS.md.'; fi
for service in $services; do
  config=/etc/colo-ha/${service#colo-}.yaml
  if [ ! -e "$destdir$config" ]; then
    say "Next: cp $config.example $config, edit it, then: systemctl start $service"
  elif [ $live = yes ] && ! systemctl --quiet is-active $service; then
    say "Next: systemctl start $service"
  fi
done
say "The handbook is $prefix/current/OPERATIONS.md"
