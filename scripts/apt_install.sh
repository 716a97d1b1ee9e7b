#!/usr/bin/env bash
# Installs the Debian packages that are missing. Several set-ups may ask at the same time: one waits for the other.
#   scripts/apt_install.sh [COMMAND:]PACKAGE...     a package is not missing where there is its command, wherever it is from
set -euo pipefail
missing=()
for each in "$@"; do
  package=${each#*:}
  [ "$package" = "$each" ] || ! command -v "${each%:*}" >/dev/null || continue
  [ "$(dpkg-query --show --showformat '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0
fail() { echo "${missing[*]} could not be installed: $*" >&2; exit 1; }
command -v apt-get >/dev/null || fail "there is no apt-get here; install it by hand"
[ "$(id -u)" = 0 ] || fail "that takes root; ask an administrator"
echo "Installing ${missing[*]}" >&2
exec 9>/run/lock/nntrainer-apt
flock 9
export DEBIAN_FRONTEND=noninteractive
get() { apt-get -qq -o DPkg::Lock::Timeout=600 -o Dpkg::Use-Pty=0 "$@" </dev/null 9>&- 2>&1; }
install() { get install --no-install-recommends "${missing[@]}"; }
# The lists are fetched only where they are missing or too old to install from.
said=$(install) || said=$(get update && install) || fail "$said"
