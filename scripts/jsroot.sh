#!/usr/bin/env bash
# Installs JSROOT, an independent reader of ROOT files for the tests, into the user's cache, and prints where.
# Version and hashes are those of tests/jsroot/package-lock.json; no script of any package is run.
#   scripts/jsroot.sh [--check]     --check only prints, and fails when it is not there
set -euo pipefail
cd "$(dirname "$0")/.."
key=$(cat tests/jsroot/package.json tests/jsroot/package-lock.json | sha256sum | cut -c1-16)
target=${XDG_CACHE_HOME:-$HOME/.cache}/nntrainer/jsroot/$key
if [ ! -d "$target" ]; then
  [ "${1:-}" != --check ] || exit 1
  command -v npm >/dev/null || { echo "JSROOT needs npm and Node.js, which are not there" >&2; exit 1; }
  mkdir -p "$(dirname "$target")"
  aside=$(mktemp -d "$target.XXXXXX")
  trap 'rm -rf "$aside"' EXIT
  cp tests/jsroot/package.json tests/jsroot/package-lock.json "$aside"
  npm ci --prefix "$aside" --ignore-scripts --omit=optional --no-audit --no-fund --loglevel=error </dev/null >&2
  # Another process may have been faster.
  mv -T "$aside" "$target" 2>/dev/null || [ -d "$target" ]
fi
echo "$target"
