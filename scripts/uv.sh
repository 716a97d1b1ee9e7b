#!/usr/bin/env bash
# Runs uv at the version of requirements/uv.txt, with the package index, certificates and proxy that pip is configured with on
# this machine. pip fetches it into the user's cache, once.
#   scripts/uv.sh ARGUMENTS...
# Exits with 69 and one sentence where uv cannot be had.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
lock=$here/../requirements/uv.txt
cache=${XDG_CACHE_HOME:-$HOME/.cache}/nntrainer/uv
home=$cache/$(sha256sum "$lock" | cut -c1-16)-$(uname -m)
if [ -x "$home/bin/uv" ] && [ "${1:-}" != pip ] && [ "${1:-}" != python ]; then exec "$home/bin/uv" "$@"; fi # it needs no network

work=
trap 'rm -rf "$work"' EXIT
# with_pip PYTHON...: the first of them that has pip is $python, and what its pip is configured with is exported
with_pip() {
  local settings
  for python in "$@"; do
    if [ -n "$python" ] && settings=$("$python" "$here/pip_settings.py" uv 2>/dev/null); then eval "$settings"; return; fi
  done
  return 1
}
pythons=("${PYTHON:-}" "$here/../.venv/bin/python" python3.11 python3)
if ! with_pip "${pythons[@]}"; then
  # Debian's Python has no pip, but can make an environment that has one.
  work=$(mktemp -d)
  for python in "${pythons[@]}"; do
    if [ -n "$python" ] && "$python" -m venv "$work/pip" >/dev/null 2>&1; then break; fi
  done
  with_pip "$work/pip/bin/python" || python=
fi

if [ ! -x "$home/bin/uv" ]; then
  if [ -z "$python" ]; then
    rm -rf "$work"
    own=$(command -v uv) && exec "$own" "$@"
    echo "uv cannot be fetched, as there is no Python with pip here (Debian: apt-get install python3-venv)" >&2
    exit 69
  fi
  mkdir -p "$cache"
  part=$(mktemp -d "$cache/part.XXXXXX")
  trap 'rm -rf "$work" "$part"' EXIT
  if ! PIP_USER=0 PIP_REQUIRE_VIRTUALENV=0 "$python" -m pip install -q --disable-pip-version-check --no-deps \
       --only-binary :all: --require-hashes -r "$lock" --target "$part/uv" >"$part/log" 2>&1; then
    echo "uv cannot be fetched ($(grep -m 1 -i error "$part/log" || tail -n 1 "$part/log"))" >&2
    exit 69
  fi
  mv -T "$part/uv" "$home" 2>/dev/null || [ -x "$home/bin/uv" ] # another call was quicker
  rm -rf "$part"
fi
rm -rf "$work"
exec "$home/bin/uv" "$@"
