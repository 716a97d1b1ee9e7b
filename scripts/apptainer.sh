#!/usr/bin/env bash
# Apptainer on a Debian machine that has none (Debian 12 packages none, Debian 13 neither): takes apptainer's arguments.
#   scripts/apptainer.sh exec build/nntrainer-0.1.0-cpu.sif nntrainer doctor
# It comes from Debian's development archive, unpacked with all it needs into the user's cache, and runs in a mount name space
# where that tree provides /usr, /etc and /var, and this machine all other folders. Needs root. Where Apptainer is installed,
# it is simply run.
set -euo pipefail
installed=$(command -v apptainer || true)
[ -z "$installed" ] || exec "$installed" "$@"
fail() { echo "apptainer: $*" >&2; exit 1; }
[ "$(id -u)" = 0 ] || fail "it is not installed, and only root can use scripts/apptainer.sh instead; ask an administrator to install it"
mirror=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME)' 'Created-By: Packages' 'Component: main' 2>/dev/null \
  | awk '$2 == "bookworm" || $2 == "trixie" {print $1; exit}' || true)
[ -n "$mirror" ] || fail "it is not installed, and this machine's apt knows no Debian 12 or 13 mirror to take it from"
key=$(sha256sum "$0" | cut -c1-16)
root=${XDG_CACHE_HOME:-$HOME/.cache}/nntrainer/apptainer/$key
if [ ! -d "$root" ]; then
  "$(dirname "$0")/apt_install.sh" mmdebstrap:mmdebstrap
  echo "Fetching Apptainer from this machine's Debian mirror (half a minute, once; kept in $root)" >&2
  mkdir -p "$(dirname "$root")"
  part=$(mktemp -d "$root.XXXX")
  trap 'rm -rf "$part"' EXIT
  chmod 755 "$part"
  # Without capabilities: Apptainer asks for all, which root on a restricted machine does not have.
  pin='Package: *\nPin: release n=sid\nPin-Priority: 100\n'
  mmdebstrap --quiet --variant=minbase --aptopt='Acquire::Check-Valid-Until "false"' --aptopt='Acquire::Languages "none"' \
    --setup-hook="mkdir -p \"\$1/etc/apt/preferences.d\"; printf '$pin' >\"\$1/etc/apt/preferences.d/sid\"" \
    --customize-hook="sed -i 's/^root default capabilities = .*/root default capabilities = no/' \"\$1/etc/apptainer/apptainer.conf\"" \
    --include=ca-certificates,apptainer,squashfuse,fuse3,mount trixie "$part" "deb $mirror trixie main" "deb $mirror sid main" </dev/null >&2
  mv -T "$part" "$root" 2>/dev/null || [ -d "$root" ] # another one may have been first
  trap - EXIT
fi
exec unshare --mount --propagation private bash -c '
  set -e
  root=$1 here=$PWD
  shift
  mount --bind "$root" "$root"
  for each in /* ; do
    case $each in
      /bin|/sbin|/lib*|/usr|/etc|/var|/boot|/lost+found) ;;
      *) [ -d "$each" ] && [ ! -L "$each" ] && mkdir -p "$root$each" && mount --rbind "$each" "$root$each" ;;
    esac
  done
  for each in passwd group hosts hostname resolv.conf; do
    [ -f "/etc/$each" ] && touch "$root/etc/$each" && mount --bind "$(readlink -f "/etc/$each")" "$root/etc/$each"
  done
  mkdir -p "$root/.old"
  cd "$root"
  pivot_root . .old
  cd "$here" 2>/dev/null || cd /
  umount -l /.old
  exec /usr/bin/apptainer "$@"' _ "$root" "$@"
