#!/usr/bin/env bash
# The tests that need a Docker engine, a real HTCondor pool or a real Kubernetes; what they need is set up first, which
# takes root on Debian, and stopped again if it did not run before.
#   scripts/batch_tests.sh containers|condor|k8s ...
set -euo pipefail
cd "$(dirname "$0")/.."
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
image=nntrainer:$version-cpu
export NNTRAINER_TEST_SIF=$PWD/build/nntrainer-$version-cpu.sif
pool=condor/pool/pool.sh cluster=k8s/cluster/cluster.sh
started=()
trap 'for each in "${started[@]}"; do "$each" stop || true; done' EXIT

start() { # what did not run before is stopped at the end
  "$1" status >/dev/null 2>&1 || started+=("$1")
  "$1" start
}

for tier in "$@"; do
  case $tier in
    containers)
      FORM=both scripts/image.sh build
      .venv/bin/python -m pytest tests/deploy/test_container.py ;;
    condor)
      FORM=both scripts/image.sh build
      start $pool
      .venv/bin/python -m pytest tests/condor tests/deploy/test_htcondor.py ;;
    k8s)
      FORM=docker scripts/image.sh build
      start $cluster
      docker save "$image" | $cluster load /dev/stdin
      NNTRAINER_TEST_IMAGE=docker.io/library/$image .venv/bin/python -m pytest tests/k8s ;;
    *)
      echo "batch_tests: there are no tests '$tier'; give containers, condor or k8s" >&2
      exit 2 ;;
  esac
done
