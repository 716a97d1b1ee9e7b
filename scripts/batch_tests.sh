#!/usr/bin/env bash
# The tests that need a Docker engine, a real HTCondor pool or a real Kubernetes; what they need is set up first, which
# takes root on Debian, and stopped again if it did not run before.
#   scripts/batch_tests.sh [--within MINUTES] containers|condor|k8s ...
# --within: where something cannot be set up, or not in this time, say so and leave its tests out; tests that have not
# ended 25 minutes later are cut off, which is said, too. A test that fails is a failure always; it is tried a second time,
# as the systems of a busy machine may miss a deadline.
set -euo pipefail
cd "$(dirname "$0")/.."
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
image=nntrainer:$version-cpu
export NNTRAINER_TEST_SIF=$PWD/build/nntrainer-$version-cpu.sif
engine=scripts/docker_engine.sh pool=condor/pool/pool.sh cluster=k8s/cluster/cluster.sh
needed=true minutes=80
[ "${1:-}" != --within ] || { needed=false minutes=$2; shift 2; }
started=()
$engine status >/dev/null 2>&1 || started+=("$engine") # image.sh starts it
trap 'for each in "${started[@]}"; do "$each" stop || true; done' EXIT

in_time() {
  local left=$((minutes * 60 - SECONDS))
  [ "$left" -gt 0 ] || { echo "batch_tests: $minutes minutes have passed" >&2; return 1; }
  timeout "$left" "$@"
}

start() { # what did not run before is stopped at the end
  "$1" status >/dev/null 2>&1 || started+=("$1")
  in_time "$1" start
}

image() { in_time env FORM="$1" scripts/image.sh build; }

load() { docker save "$image" | $cluster load /dev/stdin; }

pytest() {
  local code=0 left=$(((minutes + 25) * 60 - SECONDS))
  if $needed; then .venv/bin/python -m pytest "$@"; return; fi
  timeout --signal INT "$((left > 60 ? left : 60))" .venv/bin/python -m pytest "$@" || code=$?
  [ "$code" != 124 ] || { echo "batch_tests: time is up, the tests above were cut off: pytest $*" >&2; return 0; }
  return "$code"
}

tests() { pytest "$@" || pytest --last-failed "$@"; }

set_up() {
  case $1 in
    containers) image both ;;
    condor) image both && start $pool ;;
    k8s) image docker && start $cluster && load ;;
  esac
}

for tier in "$@"; do
  case $tier in
    containers) files=(tests/deploy/test_container.py) ;;
    condor) files=(tests/condor tests/deploy/test_htcondor.py) ;; # which shows its files to condor_submit
    k8s) files=(tests/k8s); export NNTRAINER_TEST_IMAGE=docker.io/library/$image ;;
    *) echo "batch_tests: there are no tests '$tier'; give containers, condor or k8s" >&2; exit 2 ;;
  esac
  if set_up "$tier"; then
    tests "${files[@]}"
  elif $needed; then
    exit 1
  else
    echo "batch_tests: what the tests '$tier' need could not be set up, as said above: they are left out" >&2
  fi
done
