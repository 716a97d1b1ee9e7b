#!/bin/sh
# Starts a job once it is in its cgroup. HTCondor 23.9 moves a job's first process there only after starting it, so what
# this process had started by then would escape the memory limit.
#   job_wrapper.sh COMMAND...
i=0
while [ -d /sys/fs/cgroup/memory ] && [ $i -lt 100 ] && ! grep -q 'memory.*htcondor' /proc/self/cgroup; do
  i=$((i + 1))
  sleep 0.02
done
exec "$@"
