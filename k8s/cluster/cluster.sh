#!/usr/bin/env bash
# A throw-away Kubernetes of one node with eight processors and pretend GPUs, for developers and CI. Needs root on Debian 12 and
# listens on 127.0.0.1 only. Everything it is lies in one folder and ends with one process.
#   k8s/cluster/cluster.sh start | stop | status    status: 0 when it is up, 3 when not
#   eval "$(k8s/cluster/cluster.sh env)"            work as alice, an ordinary user with the namespace physics
#   k8s/cluster/cluster.sh load IMAGE.tar           put an image (docker save) where pods find it
#   k8s/cluster/cluster.sh gpus N                   pretend there are N GPUs
# NNTRAINER_CLUSTER_DIR: its folder, normally nntrainer/cluster in the user's cache.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
state=${NNTRAINER_CLUSTER_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/nntrainer/cluster}
node=https://127.0.0.1:943/api/v1/nodes/127.0.0.1/status

fail() { echo "k8s-cluster: $*" >&2; exit 1; }
as_root() { [ "$(id -u)" = 0 ] || fail "$1 needs root: it mounts, makes cgroups and runs containers"; }
admin() { "$state/kubectl" --kubeconfig="$state/admin.kubeconfig" --cache-dir="$state/discovery" "$@"; }
alive() { [ -f "$state/pid" ] && grep -qszxF "$state" "/proc/$(cat "$state/pid")/cmdline"; }
up() { alive && [ -f "$state/ready" ] && admin get --raw=/readyz >/dev/null 2>&1; }
inside() { nsenter --target "$(cat "$state/pid")" --mount --pid "$@"; }

until_true() {  # SECONDS COMMAND...: as long as the cluster lives
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    if ! alive || [ "$SECONDS" -gt "$end" ]; then
      cat "$state/ended" >&2 2>/dev/null || true
      remove
      fail "it did not come up (waiting for: ${*}); its logs are in $state/logs"
    fi
    sleep 0.5
  done
}

start() {
  as_root start
  if up; then usage; return; fi
  "$here/../../scripts/apt_install.sh" curl:curl openssl:openssl {gcc,make,dpkg-source}:build-essential
  local binaries
  binaries=$("$here/binaries.sh")
  remove
  mkdir -p "$state"/{logs,var/lib,var/log} "$state"/volumes/{input,output}
  chown 1000:1000 "$state"/volumes/*
  cp -r "$here/etc" "$state/etc"  # the checkout may change while it runs
  "$here/certificates.sh" "$state"
  ln -s "$binaries/kubectl" "$state/kubectl"
  nohup unshare --mount --pid --fork --propagation private "$here/node.sh" "$state" "$binaries" \
    >"$state/logs/node.log" 2>&1 </dev/null 9>&- &
  until [ -f "$state/pid" ]; do sleep 0.1; done
  until_true 180 admin get --raw=/readyz
  admin apply -f "$here/namespace.yaml" -f "$here/volumes.yaml" >/dev/null
  until_true 180 admin wait node/127.0.0.1 --for=condition=Ready --timeout=10s
  until_true 60 admin -n physics get serviceaccount default
  admin label node 127.0.0.1 nvidia.com/gpu.product=Pretend >/dev/null
  gpus 8
  touch "$state/ready"
  usage
}

usage() {
  echo "Kubernetes is up. As alice, in the namespace physics: eval \"\$($here/cluster.sh env)\"; $state/kubectl get pods"
  echo "Administrator: KUBECONFIG=$state/admin.kubeconfig. Image: localhost/busybox:1. Volumes: $state/volumes"
}

gpus() {
  [[ ${1:-} =~ ^[0-9]+$ ]] || fail "gpus needs a number, for instance: cluster.sh gpus 2"
  local header
  header=$(sed -n 's/.*token: \([0-9a-f]*\).*/Authorization: Bearer \1/p' "$state/admin.kubeconfig")
  curl -sSf --cacert "$state/pki/ca.crt" -H @<(echo "$header") -H 'Content-Type: application/merge-patch+json' -o /dev/null \
    -X PATCH -d "{\"status\": {\"capacity\": {\"nvidia.com/gpu\": \"$1\"}, \"allocatable\": {\"nvidia.com/gpu\": \"$1\"}}}" "$node"
}

load() {
  as_root load
  [ -r "${1:-}" ] || fail "load needs an image as \`docker save\` writes it; there is no file ${1:-(none given)}"
  inside /run/bin/ctr -n k8s.io images import - <"$1"
}

stop() {
  as_root stop
  remove
  echo "Kubernetes is stopped"
}

remove() {  # all of it but the logs of the last one
  if alive; then
    local pid
    pid=$(cat "$state/pid")
    kill -KILL "$pid"
    while [ -d "/proc/$pid" ]; do sleep 0.1; done
  fi
  for _ in {1..50}; do
    find /sys/fs/cgroup -depth -type d -path '*/nntrainer-cluster*' -exec rmdir {} + 2>/dev/null || true
    compgen -G '/sys/fs/cgroup/*/nntrainer-cluster' >/dev/null || [ -d /sys/fs/cgroup/nntrainer-cluster ] || break
    sleep 0.1
  done
  find "$state" -mindepth 1 -maxdepth 1 ! -name logs ! -name lock -exec rm -rf --one-file-system {} +
}

case ${1:-} in
  start | stop)
    [ -f "$state/lock" ] || [ -z "$(ls -A "$state" 2>/dev/null)" ] || fail "$state holds something else, and would be emptied"
    mkdir -p "$state"
    exec 9>"$state/lock"
    flock 9
    "$1"
    ;;
  status)
    if up; then usage; exit 0; fi
    if alive; then echo "Kubernetes is starting"; else echo "Kubernetes is not running; start it with: $here/cluster.sh start"; fi
    exit 3
    ;;
  env | load | gpus)
    up || fail "it is not running; start it with: $here/cluster.sh start"
    if [ "$1" = env ]; then printf 'export KUBECONFIG=%q\n' "$state/alice.kubeconfig"; else "$@"; fi
    ;;
  *) sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
