#!/usr/bin/env bash
# Provides the base image where it is not there and cannot be pulled: bootstrapped from the mirror that this Debian
# machine itself uses. Prints nothing when all is well.
#   scripts/base_image.sh ENGINE [IMAGE]     ENGINE is a docker or podman command; IMAGE is debian:bookworm-slim
set -euo pipefail
engine=$1 image=${2:-debian:bookworm-slim}
"$engine" image inspect "$image" >/dev/null 2>&1 && exit 0
timeout 120 "$engine" pull -q "$image" >/dev/null 2>&1 && exit 0
fail() { echo "base image: $image can neither be found nor pulled, and $*" >&2; exit 1; }
[ "$image" = debian:bookworm-slim ] || fail "only debian:bookworm-slim can be made here; give another BASE_IMAGE"
[ "$(id -u)" = 0 ] || fail "making one needs root; load one with '$engine load'"
# apt itself is asked, because its configuration comes in two formats and several files.
mapfile -t sources < <(apt-get indextargets --format '$(REPO_URI) $(CODENAME)' 'Created-By: Packages' 'Component: main' 2>/dev/null \
  | grep -E ' bookworm(-updates|-security)?$' | sort -u | awk '{print "deb " $1 " " $2 " main"}')
[ "${#sources[@]}" -gt 0 ] || fail "this machine is no Debian 12, whose mirror could be used; load one with '$engine load'"
"$(dirname "$0")/apt_install.sh" mmdebstrap:mmdebstrap
echo "Making $image from this machine's Debian mirror" >&2
# As in Debian's own slim image: no documentation, no translations, no package lists.
options=(--dpkgopt='path-include=/usr/share/doc/*/copyright')
for folder in doc man locale info lintian; do options=(--dpkgopt="path-exclude=/usr/share/$folder/*" "${options[@]}"); done
for key in Check-Valid-Until Check-Date; do # where the mirror is a snapshot, this machine's apt knows
  value=$(apt-config dump --format '%v' "Acquire::$key") && [ -n "$value" ] && options+=(--aptopt="Acquire::$key \"$value\"")
done
mmdebstrap --quiet --variant=minbase --include=ca-certificates --aptopt='Acquire::Languages "none"' "${options[@]}" \
  bookworm - "${sources[@]}" | "$engine" import - "$image" >/dev/null
