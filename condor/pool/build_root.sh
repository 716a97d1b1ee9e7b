#!/usr/bin/env bash
# Builds a root file system with HTCondor (Debian trixie) and Apptainer (Debian sid) and prints its path: about a minute,
# once, 450 MB. It is kept in the user's cache, keyed by this file. Nothing but mmdebstrap is installed into the system.
#   condor/pool/build_root.sh
set -euo pipefail
key=$({ cat "$0"; dpkg --print-architecture; } | sha256sum | cut -c1-16)
root=${XDG_CACHE_HOME:-$HOME/.cache}/nntrainer/condor-root/$key
if [ ! -d "$root" ]; then
  "$(dirname "$0")/../../scripts/apt_install.sh" mmdebstrap:mmdebstrap
  # shellcheck disable=SC2016  # the names are apt's
  # The mirror that this machine itself uses for Debian, from either of apt's two formats.
  mirror=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
    awk '$2 == "bookworm" && $3 == "main" {print $1; exit}')
  [ -n "$mirror" ] || { echo "apt knows no Debian mirror (bookworm main): the pool needs a Debian 12 machine" >&2; exit 1; }
  echo "Building the pool's root file system (about a minute, once; kept in $root)" >&2
  mkdir -p "$(dirname "$root")"
  work=$(mktemp -d "$root.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  # From sid only what trixie lacks: Apptainer. A mirror may be a snapshot whose date has passed.
  # shellcheck disable=SC2016  # $1 is for the hook's shell
  mmdebstrap --quiet --variant=minbase --aptopt='Acquire::Check-Valid-Until "false"' \
    --setup-hook='mkdir -p "$1/etc/apt/preferences.d"
      printf "Package: *\nPin: release n=sid\nPin-Priority: 100\n" >"$1/etc/apt/preferences.d/sid"' \
    --include=ca-certificates,python3,procps,minicondor,apptainer,squashfuse,fuse3,busybox-static \
    trixie "$work/root" "deb $mirror trixie main" "deb $mirror sid main" </dev/null >&2
  mv "$work/root" "$root"
fi
echo "$root"
