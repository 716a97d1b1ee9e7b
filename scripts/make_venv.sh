#!/usr/bin/env bash
# Makes .venv at the root from the locks, or adds what it lacks. Nothing is done when nothing is lacking.
#   scripts/make_venv.sh [train|docs|dev|horovod]...
# train    what `nntrainer run` and `deploy` need
# docs     what the website needs
# dev      both, and everything else: tests, lint, search, explanation; this is the default
# horovod  train, and several workers; the wheel is built once and kept in the user's cache
# PYTHON=/path/to/python3.11 names the interpreter. INSTALLER=pip does without uv.
set -euo pipefail
cd "$(dirname "$0")/.."
fail() { echo "venv: $*" >&2; exit 1; }
[ $# -gt 0 ] || set -- dev
for part in "$@"; do
  case $part in train|docs|dev) ;; horovod) set -- train "$@" ;; *) fail "there is no part '$part'; give train, docs, dev or horovod" ;; esac
done
stamp=.venv/.installed unfinished=.venv/.unfinished
locks=$(cat requirements/{seed,train,docs,dev,build,horovod}.txt pyproject.toml scripts/{make_venv,horovod_wheel}.sh | sha256sum | cut -c1-64)

# The stamp is one line: the locks' sum and the parts. It counts only beside an interpreter and where no set-up was cut short.
have=
present() {
  have=
  if [ -x .venv/bin/python ] && [ ! -e $unfinished ] && [ -f $stamp ]; then have=" $(<$stamp) "; fi
  [[ $have = " $locks "* ]] || have=
}
lacking=()
compare() {
  present
  lacking=()
  for part in "$@"; do
    [[ "$have ${lacking[*]} " = *" $part "* ]] || { [ "$part" != horovod ] && [[ $have = *" dev "* ]]; } || lacking+=("$part")
  done
}
compare "$@"
[ ${#lacking[@]} -gt 0 ] || exit 0
mkdir -p build
exec 9>build/venv.lock
flock -n 9 || { echo "Waiting for another set-up of .venv" >&2; flock 9; }
compare "$@"
[ ${#lacking[@]} -gt 0 ] || exit 0

echo "Installing into .venv: ${lacking[*]}" >&2
quiet=(-q)
[ ! -t 2 ] || quiet=()
installer=${INSTALLER:-uv}
if [ "$installer" = uv ] && ! reason=$(scripts/uv.sh --version 2>&1 >/dev/null); then
  echo "$reason; pip installs the same packages instead, which takes minutes" >&2
  installer=pip
fi

# The path of a Python 3.11, if that is what this runs
python311() { "$1" -c 'import sys; print(sys.executable); sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null | grep .; }
interpreter() {
  local each
  if [ -n "${PYTHON:-}" ]; then python311 "$PYTHON" || fail "PYTHON is '$PYTHON', which is not a Python 3.11"; return; fi
  for each in python3.11 python3 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.11*/bin/python; do
    if each=$(python311 "$each"); then echo "$each"; return; fi
  done
  if [ "$installer" = uv ]; then
    scripts/uv.sh python find -q --system --no-project --no-python-downloads 3.11 2>/dev/null && return
    echo "There is no Python 3.11 here: fetching one" >&2
    timeout 120 scripts/uv.sh python install -q 3.11 >&2 \
      && scripts/uv.sh python find -q --system --no-project --no-python-downloads 3.11 && return
  fi
  fail "nntrainer needs Python 3.11, and there is none here: install it (apt-get install python3.11-venv, dnf install python3.11," \
    "pyenv install 3.11, ...), or set PYTHON=/path/to/python3.11"
}
install() { # pip's arguments
  if [ "$installer" = uv ]; then
    scripts/uv.sh pip install "${quiet[@]}" --compile-bytecode --python .venv/bin/python "$@"
  else
    .venv/bin/python -m pip install "${quiet[@]}" --disable-pip-version-check "$@"
  fi
}

# One that was cut short is begun again: what was fetched lies in the installer's cache.
if [ -e $unfinished ] || ! python311 .venv/bin/python >/dev/null; then
  python=$(interpreter)
  rm -f $stamp
  rm -rf .venv
  mkdir .venv
  touch $unfinished
  if [ "$installer" = uv ]; then
    scripts/uv.sh venv -q --allow-existing --no-project --python "$python" .venv
  else
    "$python" -m venv .venv
  fi
fi
if [ -z "$have" ]; then
  rm -f $stamp
  # It was built against what is replaced now.
  rm -rf .venv/lib/python3.11/site-packages/horovod{,-*}
fi
finished() { # PART...
  echo "${have:-$locks}" "$@" | xargs >$stamp.part
  rm -f $unfinished
  mv $stamp.part $stamp
  present
}
packages=()
for part in "${lacking[@]}"; do [ "$part" = horovod ] || packages+=("$part"); done
if [ ${#packages[@]} -gt 0 ]; then
  touch $unfinished
  files=(-r requirements/seed.txt)
  for part in "${packages[@]}"; do files+=(-r "requirements/$part.txt"); done
  install --require-hashes "${files[@]}"
  quiet=(-q)
  install --no-deps --no-build-isolation -e .
  finished "${packages[@]}"
fi
if [[ " ${lacking[*]} " = *" horovod "* ]]; then
  wheel=$(scripts/horovod_wheel.sh .venv/bin/python)
  touch $unfinished
  install --no-deps "$wheel"
  finished horovod
fi
