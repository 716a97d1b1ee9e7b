#!/usr/bin/env bash
# The throw-away cluster itself, the first process of a process and mount namespace of its own: with it everything
# ends, however it ends, and its mounts with it. The host's /run, /var/lib, /var/log and sysctls stay untouched.
#   unshare --mount --pid --fork --propagation private k8s/cluster/node.sh STATE BINARIES
set -euo pipefail
state=$1 binaries=$2
read -r pid _ </proc/self/stat  # seen from outside, while /proc is still the host's
echo "$pid" >"$state/pid"

# From here on every path is a fixed one, so that the configuration files need none filled in.
mount -t tmpfs tmpfs /mnt
mkdir /mnt/cluster /mnt/bin
ln -s cluster/etc /mnt/etc
mount --bind "$state" /mnt/cluster
mount --bind "$binaries" /mnt/bin
mount --no-mtab --move /mnt /run
mount --bind /run/cluster/var/lib /var/lib
mount --bind /run/cluster/var/log /var/log
mount -t proc proc /proc
# Kubelet and the network plugin would set these for the whole machine; they get files to write to.
for setting in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
  kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000 net/ipv4/ip_forward=1; do
  file=/run/sysctl/${setting%=*}
  mkdir -p "${file%/*}"
  echo "${setting#*=}" >"$file"
  mount --bind "$file" "/proc/sys/${setting%=*}"
done
# Kubelet counts the processors in here, and a pod asks for one at least: for the pods of several tests there are eight.
if [ -f /sys/devices/system/node/node0/meminfo ]; then
  mkdir -p /run/node/node0/hugepages
  cp /sys/devices/system/node/node0/meminfo /run/node/node0
  for number in {0..7}; do
    mkdir -p "/run/node/node0/cpu$number/topology"
    echo 1 >"/run/node/node0/cpu$number/online"
    echo "$number" >"/run/node/node0/cpu$number/topology/core_id"
    echo 0 >"/run/node/node0/cpu$number/topology/physical_package_id"
  done
  mount --bind /run/node /sys/devices/system/node
fi
# Version 2 has one tree of cgroups, whose controllers the root hands on one by one; version 1 has one a controller.
if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
  trees=(/sys/fs/cgroup)
  for controller in $(</sys/fs/cgroup/cgroup.controllers); do
    echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control || true
  done
else
  trees=(/sys/fs/cgroup/*/)
fi
for tree in "${trees[@]}"; do mkdir -p "$tree/nntrainer-cluster"; done

export PATH=/run/bin:$PATH
cd /run/cluster
part() {  # NAME COMMAND...
  local name=$1
  shift
  { "$@" >"logs/$name.log" 2>&1 </dev/null || true; echo "$name has ended, see logs/$name.log" >>ended; } &
}
part etcd etcd --data-dir etcd --unsafe-no-fsync --listen-client-urls http://127.0.0.1:979 \
  --advertise-client-urls http://127.0.0.1:979 --listen-peer-urls http://127.0.0.1:980 \
  --initial-advertise-peer-urls http://127.0.0.1:980 --initial-cluster default=http://127.0.0.1:980
part apiserver kube-apiserver --etcd-servers=http://127.0.0.1:979 --bind-address=127.0.0.1 --secure-port=943 \
  --advertise-address=10.96.0.254 --endpoint-reconciler-type=none --service-cluster-ip-range=10.96.0.0/24 \
  --authorization-mode=Node,RBAC --token-auth-file=pki/tokens.csv --client-ca-file=pki/ca.crt \
  --tls-cert-file=pki/apiserver.crt --tls-private-key-file=pki/apiserver.key \
  --kubelet-client-certificate=pki/kubelet-client.crt --kubelet-client-key=pki/kubelet-client.key \
  --service-account-issuer=https://kubernetes.default.svc --service-account-key-file=pki/sa.pub \
  --service-account-signing-key-file=pki/sa.key --feature-gates=TTLAfterFinished=true
part containerd containerd -c /run/etc/containerd.toml
until kubectl --kubeconfig=node.kubeconfig get --raw=/readyz && ctr version; do sleep 0.5; done >/dev/null 2>&1
part controllers kube-controller-manager --kubeconfig=node.kubeconfig --bind-address=127.0.0.1 --secure-port=957 --port=0 \
  --leader-elect=false --use-service-account-credentials=true --service-account-private-key-file=pki/sa.key \
  --root-ca-file=pki/ca.crt --pvclaimbinder-sync-period=2s --flex-volume-plugin-dir=/run/volume-plugins \
  --feature-gates=TTLAfterFinished=true
part scheduler kube-scheduler --kubeconfig=node.kubeconfig --bind-address=127.0.0.1 --secure-port=959 --port=0 \
  --leader-elect=false
for image in /run/bin/*.tar; do ctr -n k8s.io images import "$image" >/dev/null; done
part kubelet kubelet --config=/run/etc/kubelet.yaml --kubeconfig=node.kubeconfig --hostname-override=127.0.0.1 \
  --container-runtime=remote --container-runtime-endpoint=unix:///run/containerd/containerd.sock
wait -n  # nothing is started again: when one ends, all do
