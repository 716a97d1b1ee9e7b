#!/usr/bin/env bash
# The tests that need a Docker engine, a real HTCondor pool or a real Kubernetes; what they need is set up first, which
# takes root on Debian, and stopped again if it did not run before.
#   scripts/batch_tests.sh containers|condor|k8s ...
# A test that fails is tried a second time, as systems of a busy machine may miss a deadline. Only a pass makes it good:
# nothing may be skipped.
set -euo pipefail
cd "$(dirname "$0")/.."
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
image=nntrainer:$version-cpu
export NNTRAINER_TEST_SIF=$PWD/build/nntrainer-$version-cpu.sif NNTRAINER_TESTS_COMPLETE=1
engine=scripts/docker_engine.sh pool=condor/pool/pool.sh cluster=k8s/cluster/cluster.sh
started=()
trap 'for each in "${started[@]}"; do "$each" stop || true; done' EXIT

start() { # what did not run before is stopped at the end
  "$1" status >/dev/null 2>&1 || started+=("$1")
  "$1" start
}

tests() { # PROCESSES ARGUMENTS...: most of these tests wait; so more of them run at a time than there are processors
  local pytest=(.venv/bin/python -m pytest -o "cache_dir=.pytest_cache/$tier" --timeout 1800)
  "${pytest[@]}" -n "$1" "${@:2}" || "${pytest[@]}" --last-failed --last-failed-no-failures none "${@:2}"
}

for tier in "$@"; do
  start $engine
  case $tier in
    containers)
      FORM=both scripts/image.sh build
      tests 2 tests/deploy/test_container.py
      ;;
    condor)
      FORM=both scripts/image.sh build
      start $pool
      tests 4 --maxschedchunk 1 tests/condor/test_deploy_condor.py tests/condor # the long ones first
      ;;
    k8s)
      FORM=docker scripts/image.sh build
      start $cluster
      docker save "$image" | $cluster load /dev/stdin
      NNTRAINER_TEST_IMAGE=docker.io/library/$image tests 4 --dist loadfile tests/k8s # the tests of a file share runs
      ;;
    *) echo "batch_tests: there are no tests '$tier'; give containers, condor or k8s" >&2; exit 2 ;;
  esac
done
