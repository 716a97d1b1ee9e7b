#!/usr/bin/env bash
# A throw-away real HTCondor pool with Apptainer and pretend GPUs (README.md beside this file):
#   condor/pool/pool.sh start | stop | status
#   condor/pool/pool.sh client               prints the export line for a client on this machine
#   condor/pool/pool.sh as-user COMMAND...   runs a client as the owner of the jobs
#   condor/pool/pool.sh exec COMMAND...      runs a command inside the pool, as root
#   condor/pool/pool.sh token [USER]         prints a new token
#   condor/pool/pool.sh sif IN.tar OUT.sif   builds a SIF from a docker archive
#   condor/pool/pool.sh logs                 the ends of the daemons' logs
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
self=$here/pool.sh
domain=nntrainer.pool
user=${NNTRAINER_POOL_USER:-${SUDO_USER:-nnpool}}
port=${NNTRAINER_POOL_PORT:-9618}
shared=${NNTRAINER_POOL_SHARED:-/srv/nntrainer-pool}
unset CONDOR_CONFIG # that of a client; the pool reads its own

fail() {
  echo "condor-pool: $1" >&2
  exit "${2:-1}"
}
[ "$(id -u)" = 0 ] || fail "needs root, for namespaces, mounts and the jobs' user: sudo $self $*"
[ -z "${NNTRAINER_POOL_DIR:-}" ] || NNTRAINER_POOL_DIR=$(realpath -m "$NNTRAINER_POOL_DIR")
state=${NNTRAINER_POOL_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/nntrainer}/condor-pool
# Not in root's cache, which the jobs' user cannot read.
client=${NNTRAINER_POOL_DIR:-/run/nntrainer-pool}/client
cgroup=nntrainer-pool-$(cksum <<<"$state" | cut -d ' ' -f 1)

# The host's number of the pool's first process; fails when it is not running.
pool_pid() {
  local pid started stat
  read -r pid started <"$state/pid" || return 1
  read -r -a stat <"/proc/$pid/stat" || return 1
  [ "${stat[21]}" = "$started" ] && echo "$pid"
} 2>/dev/null

inside() {
  local pid
  pid=$(pool_pid) || fail "the pool is not running: $self start" 3
  nsenter --target "$pid" --mount --pid "$@"
}

answers() { pool_pid >/dev/null && inside condor_status -af Name 2>/dev/null | grep -q .; }

usage() {
  cat <<TEXT
The pool runs; its jobs belong to $user. Clients on this machine:  eval "\$($self client)"
Folders that jobs see, too: $shared
TEXT
}

# What the root file system lacks of this machine: the jobs' user, the host's name (Horovod's Gloo must resolve it), the
# port and the folders.
write_changes() {
  local etc=$state/changes/etc name entry
  entry=$(getent passwd "$user")
  mkdir -p "$etc/condor/config.d"
  for name in passwd group; do cp "$root/etc/$name" "$etc/$name"; done
  echo "$entry" >>"$etc/passwd"
  getent group "$group" >>"$etc/group"
  install -d -o "$user" -g "$group" -m 700 "$state/changes$(cut -d: -f6 <<<"$entry")"
  printf '127.0.0.1 %s\n' localhost "$(hostname)" >"$etc/hosts"
  cp "$here/pool.config" "$etc/condor/config.d/99-pool"
  install -D "$here/job_wrapper.sh" "$state/changes/usr/libexec/job_wrapper"
  cat >"$etc/condor/config.d/99-this-machine" <<TEXT
COLLECTOR_HOST = 127.0.0.1:$port
SINGULARITY_BIND_EXPR = "${shared//:/,}"
TEXT
  # Jobs have a /tmp of their own, but in no other folder could they see the Python of a checkout that lies in /tmp.
  [[ $here != /tmp/* ]] || echo 'MOUNT_UNDER_SCRATCH = "/var/tmp"' >>"$etc/condor/config.d/99-this-machine"
}

# What jobs in no container run: the interpreter that .venv of this checkout is made of.
interpreter() {
  local python
  python=$(readlink -f "${here%/condor/pool}/.venv/bin/python")
  [ -x "$python" ] || return 0
  if [ "${python%/*}" = /usr/bin ]; then printf '%s\n' "$python" "/usr/lib/${python##*/}"; else echo "${python%/bin/*}"; fi
}

# Everything a client on this machine needs, with no look at ~/.condor or /etc/condor. The library takes a token only from
# a file of the one who runs it; whoever runs it, it names the jobs' user.
write_client() {
  local who
  cat >"$client/condor_config" <<TEXT
CONDOR_HOST = 127.0.0.1
COLLECTOR_HOST = 127.0.0.1:$port
NETWORK_INTERFACE = 127.0.0.1
ENABLE_IPV6 = False
UID_DOMAIN = $domain
FILESYSTEM_DOMAIN = $domain
SEC_CLIENT_AUTHENTICATION_METHODS = IDTOKENS
SEC_TOKEN_DIRECTORY = $client/tokens/\$(USERNAME)
SEC_TOKEN_SYSTEM_DIRECTORY = $client/tokens/\$(USERNAME)
TEXT
  for who in root "$user"; do
    install -d -o "$who" -m 700 "$client/tokens/$who"
    (umask 077 && inside condor_token_create -identity "$user@$domain" >"$client/tokens/$who/pool")
    chown "$who" "$client/tokens/$who/pool"
  done
}

start() {
  local group root folders python
  if pool_pid >/dev/null; then
    put_image
    answers || fail "the pool runs but does not answer (yet): $self logs, $self stop"
    usage
    return
  fi
  ! (: </dev/tcp/127.0.0.1/"$port") 2>/dev/null || fail "port $port is taken: set NNTRAINER_POOL_PORT"
  [ "$user" != root ] || fail "jobs cannot be owned by root: name another user in NNTRAINER_POOL_USER"
  id "$user" >/dev/null 2>&1 || useradd --create-home --shell /bin/bash "$user"
  group=$(id -gn "$user")
  root=$("$here/build_root.sh")
  rm -rf "$state" "$client"
  mkdir -p "$state"/{changes,work,root,log} "$client"
  chmod 777 "$state/log"
  IFS=: read -r -a folders <<<"$shared"
  [ -d "${folders[0]}" ] || install -d -o "$user" -g "$group" "${folders[0]}"
  write_changes
  mapfile -t python < <(interpreter)
  setsid unshare --mount --pid --fork --propagation private \
    "$here/inside.sh" "$root" "$state" "$cgroup" /tmp "${here%/condor/pool}" "${folders[@]}" "${python[@]}" \
    >"$state/log/start.log" 2>&1 </dev/null &
  for _ in $(seq 60); do
    sleep 0.5
    answers && break
  done
  answers || fail "the pool did not come up within 30 s: $self logs, $self stop"
  write_client
  put_image
  usage
}

# What `make image` built last, where jobs see it; one inode in both places where that is possible.
put_image() {
  local image target
  image=$(find "${here%/condor/pool}/build" -maxdepth 1 -name 'nntrainer-*-cpu.sif' 2>/dev/null | sort -V | tail -n 1 || true)
  target=${shared%%:*}/nntrainer-cpu.sif
  if [ -z "$image" ] || [ "$image" -ef "$target" ]; then return; fi
  rm -f "$target.part"
  ln "$image" "$target.part" 2>/dev/null || cp "$image" "$target.part"
  mv -f "$target.part" "$target"
}

stop() {
  local pid folder was="was not running"
  if pid=$(pool_pid); then
    # SIGQUIT is HTCondor's fast shutdown. The end of a namespace's first process ends all others in it, and its mounts.
    kill -QUIT "$pid"
    for _ in $(seq 40); do
      pool_pid >/dev/null || break
      sleep 0.25
    done
    ! pool_pid >/dev/null || kill -KILL "$pid"
    while pool_pid >/dev/null; do sleep 0.1; done
    was="has stopped"
  fi
  for folder in /sys/fs/cgroup/*/"$cgroup"; do
    [ ! -d "$folder" ] || find "$folder" -depth -type d -exec rmdir {} +
  done
  rm -rf "$client" "$state"/{pid,fuse,changes,work,root} # the logs stay until the next start
  echo "The pool $was"
}

as_user() {
  local home
  pool_pid >/dev/null || fail "the pool is not running: $self start" 3
  home=$(getent passwd "$user" | cut -d: -f6)
  # He may read what root may, so that a checkout and a Python below /root will do; he writes only where he may.
  exec setpriv --reuid "$user" --regid "$(id -g "$user")" --init-groups \
    --inh-caps=+dac_read_search --ambient-caps=+dac_read_search \
    env HOME="$home" USER="$user" LOGNAME="$user" XDG_CACHE_HOME="$home/.cache" CONDOR_CONFIG="$client/condor_config" "$@"
}

# The files go in and out as streams, so they may lie anywhere on this machine.
build_sif() {
  local work
  work=$(inside mktemp -d /var/tmp/sif.XXXXXX)
  inside cp /dev/stdin "$work/image.tar" <"$1"
  inside env APPTAINER_TMPDIR="$work" apptainer --quiet build --disable-cache "$work/image.sif" \
    "docker-archive:$work/image.tar"
  inside cat "$work/image.sif" >"$2.part"
  mv "$2.part" "$2"
  inside rm -rf "$work"
}

case ${1:-} in
  start | stop) "$1" ;;
  status)
    answers || { echo "The pool is not running: $self start"; exit 3; }
    inside condor_status
    inside condor_q -all
    ;;
  client)
    pool_pid >/dev/null || fail "the pool is not running: $self start" 3
    echo "export CONDOR_CONFIG='$client/condor_config'"
    ;;
  as-user) shift; as_user "$@" ;;
  exec) shift; inside "$@" ;;
  token) inside condor_token_create -identity "${2:-$user}@$domain" ;;
  sif)
    [ $# = 3 ] || fail "sif takes two files: $self sif IN.tar OUT.sif" 2
    build_sif "$2" "$3"
    ;;
  logs) tail -n "${2:-20}" "$state"/log/*[lL]og* ;;
  *)
    sed -n '2,9s/^# \{0,1\}//p' "$self" >&2
    exit 2
    ;;
esac
