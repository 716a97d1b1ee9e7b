#!/bin/sh
# What the workers of an MPIJob run: the SSH server through which the launcher starts trainings. When a worker has to go, its
# trainings are asked to stop first, and save a checkpoint together with those of the other workers.
/usr/sbin/sshd -De &
server=$!
trainings() { pgrep -f '^[^ ]+ -m nntrainer\.training\.worker '; }
trap 'trainings | xargs -r kill; while trainings >/dev/null; do sleep 1; done; kill $server; exit 0' TERM INT
wait $server
