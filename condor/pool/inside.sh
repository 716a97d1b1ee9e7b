#!/usr/bin/env bash
# The first process of the pool, in mount and process namespaces of its own (pool.sh start): makes the root file system
# its own / and becomes condor_master. Apptainer refuses a chroot, hence pivot_root.
#   inside.sh ROOT STATE CGROUP PATH...    the folders and files of the host that the pool sees under the same names
set -euo pipefail
root=$1 state=$2 cgroup=$3
shift 3
# /proc is still that of the host, so this is the host's number of this process; the start time tells it from a later
# process with the same number.
read -r -a stat </proc/self/stat
echo "${stat[0]} ${stat[21]}" >"$state/pid"

new=$state/root
mount -t overlay overlay -o "lowerdir=$root,upperdir=$state/changes,workdir=$state/work" "$new"
cd "$new"
mkdir -p old
mount -t proc proc proc
mount --rbind /sys sys
mount --rbind /dev dev
# Lets an unprivileged Apptainer mount SIF files; without it they are unpacked for every job.
mknod -m 666 "$state/fuse" c 10 229
mount --bind "$state/fuse" dev/fuse
# Memory limits need cgroups. The pool gets a folder of its own in each hierarchy and sees nothing else; of the old kind
# (version 1) HTCondor knows cpu and cpuacct only as one, so where they are two it is shown cpuacct.
if [ -w /sys/fs/cgroup/memory ]; then
  mount -t tmpfs tmpfs sys/fs/cgroup
  for controller in memory freezer devices cpuacct; do
    mkdir -p "/sys/fs/cgroup/$controller/$cgroup" "sys/fs/cgroup/$controller"
    mount --bind "/sys/fs/cgroup/$controller/$cgroup" "sys/fs/cgroup/$controller"
  done
  ln -s cpuacct "sys/fs/cgroup/cpu,cpuacct"
fi
for path in "$@"; do
  [ "$path" -ef ".$path" ] && continue # inside one mounted already
  if [ -d "$path" ]; then mkdir -p ".$path"; else mkdir -p ".${path%/*}" && touch ".$path"; fi
  mount --rbind "$path" ".$path"
  # The jobs' user gets there, through root's home, too, which in here is empty but for what is mounted in it.
  while path=${path%/*} && [ -n "$path" ]; do [ "$path" -ef ".$path" ] || chmod a+x ".$path"; done
done
mount --bind "$state/log" var/log/condor
pivot_root . old
cd /
umount -l /old
exec /usr/sbin/condor_master -f
