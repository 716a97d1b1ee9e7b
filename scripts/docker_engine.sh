#!/usr/bin/env bash
# Makes a Docker engine usable on a Debian or Ubuntu machine that has none running. An engine that runs already is left alone.
#   scripts/docker_engine.sh start|stop|status
# Containers get no network of their own (no bridge, no firewall rules, which restricted machines do not allow): build and
# run with --network=host. `stop` ends only an engine that `start` started.
set -euo pipefail
state=${XDG_CACHE_HOME:-$HOME/.cache}/nntrainer/docker
ours() { [ -s "$state/pid" ] && [ "$(cat "/proc/$(cat "$state/pid")/comm" 2>/dev/null)" = dockerd ]; }
# Asked of the socket itself: a client may be set up for another machine, or be too new or old for the engine.
answers() { [ -S /var/run/docker.sock ] && curl -fsS --max-time 10 --unix-socket /var/run/docker.sock http://localhost/_ping >/dev/null 2>&1; }
fail() { echo "docker engine: $*" >&2; exit 1; }

case ${1:-} in
  start)
    answers && exit 0
    [ "$(id -u)" = 0 ] || fail "none is running, and only root can start one; ask an administrator, or set ENGINE=podman"
    if ! command -v dockerd >/dev/null || ! command -v curl >/dev/null; then
      "$(dirname "$0")/apt_install.sh" docker.io ca-certificates curl
      answers && exit 0 # the package has started it
    fi
    mkdir -p "$state"
    # A score of 0 and not Docker's -500: lowering it needs a capability that restricted machines lack.
    cd /
    setsid dockerd --iptables=false --ip6tables=false --bridge=none --oom-score-adjust 0 \
      >"$state/log" 2>&1 </dev/null &
    pid=$!
    for _ in $(seq 60); do
      if answers; then
        [ ! -e "/proc/$pid" ] || echo "$pid" >"$state/pid" # it is gone where another one was started at the same time
        exit 0
      fi
      [ -e "/proc/$pid" ] || break # it has given up
      sleep 0.5
    done
    tail -n 20 "$state/log" >&2
    fail "dockerd did not come up; all it said is in $state/log"
    ;;
  stop)
    ours || { echo "docker engine: none was started here" >&2; exit 0; }
    pid=$(cat "$state/pid")
    kill "$pid"
    for _ in $(seq 60); do
      [ -e "/proc/$pid" ] || { rm -f "$state/pid"; exit 0; }
      sleep 0.5
    done
    fail "dockerd (process $pid) does not end; see $state/log"
    ;;
  status)
    if ! answers; then echo "not running"; exit 3; fi
    if ours; then echo "running (process $(cat "$state/pid"), started here)"; else echo "running (not started here)"; fi
    ;;
  *) echo "usage: scripts/docker_engine.sh start|stop|status" >&2; exit 2 ;;
esac
