#!/usr/bin/env bash
# Makes or refreshes .venv at the root from the locks. Nothing is done when the locks have not changed.
#   scripts/make_venv.sh [--without-horovod]
set -euo pipefail
cd "$(dirname "$0")/.."
stamp=.venv/.installed
want=$(cat requirements/*.txt pyproject.toml scripts/make_venv.sh scripts/horovod_wheel.sh | sha256sum)" $*"
[ -f "$stamp" ] && [ "$(cat "$stamp")" = "$want" ] && exit 0
python=${PYTHON:-python3.11}
command -v "$python" >/dev/null || python=python3
"$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' \
  || { echo "nntrainer needs Python 3.11; set PYTHON=/path/to/python3.11" >&2; exit 1; }
[ -x .venv/bin/python ] || "$python" -m venv .venv
echo "Installing the locked packages into .venv (a few minutes, once)" >&2
.venv/bin/python -m pip install -q --require-hashes -r requirements/dev.txt
if [ "${1:-}" != --without-horovod ]; then
  .venv/bin/python -m pip install -q --no-deps "$(scripts/horovod_wheel.sh .venv/bin/python)"
fi
.venv/bin/python -m pip install -q --no-deps --no-build-isolation -e .
echo "$want" >"$stamp"
