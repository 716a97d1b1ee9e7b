#!/usr/bin/env bash
# Builds the container image, as a Docker image, as an Apptainer file (SIF), or both; unchanged inputs are not built again.
#   scripts/image.sh [build|push]
# Set in the environment:
#   VARIANT    cpu (default) or gpu
#   FORM       both, docker or sif; by default both, or docker alone where there is no Apptainer and none can be had
#   ENGINE     docker or podman; the first that is there. (Apptainer cannot build from a Dockerfile, only fetch what is built.)
#   BASE_IMAGE debian:bookworm-slim; made locally where it can be neither found nor pulled
#   APPTAINER  the apptainer command; scripts/apptainer.sh where none is installed
#   SIF_COMPRESSION  zstd (default), or gzip for machines as old as CentOS 7
#   ARCHIVE    also write the image as a docker archive (.tar) there
#   REGISTRY   where push sends it to, such as registry.example.org/group
# Writes build/image-VARIANT.json: name, digest, size, commit, base image, SIF. See docs/images.md.
set -euo pipefail
cd "$(dirname "$0")/.."
verb=${1:-build} variant=${VARIANT:-cpu} form=${FORM:-} base=${BASE_IMAGE:-debian:bookworm-slim}
fail() { echo "image: $*" >&2; exit 2; }
say() { echo "image: $*" >&2; }
case $variant in cpu|gpu) ;; *) fail "VARIANT is '$variant'; it can be cpu or gpu" ;; esac
if [ -z "$form" ]; then
  form=both
  if [ -z "${APPTAINER:-}" ] && ! command -v apptainer >/dev/null && { [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; }; then
    say "there is no Apptainer here: only the Docker image is built"
    form=docker
  fi
fi
case $form in docker|sif|both) ;; *) fail "FORM is '$form'; it can be docker, sif or both" ;; esac
case $verb in build|push) ;; *) fail "'$verb' is no verb; give build or push" ;; esac

version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
# The commit is the last one that changed what the image is made of (.dockerignore), so that others do not make it again.
parts=(.dockerignore containers deploy nntrainer pyproject.toml README.md requirements scripts/cuda_home.sh
  scripts/horovod_wheel.sh scripts/pip_settings.py scripts/uv.sh)
commit=$(git log -1 --format=%H -- "${parts[@]}" 2>/dev/null || true)
commit=${commit:-unknown}
[ -z "$(git status --porcelain -- "${parts[@]}" 2>/dev/null)" ] || commit=$commit-dirty
name=nntrainer:$version-$variant
record=build/image-$variant.json
sif=build/nntrainer-$version-$variant.sif
mkdir -p build
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# --- Which engine
# Docker's clients from 23 on build with BuildKit only where the buildx plugin is installed; an older one beside it will do.
docker_client() {
  local each major
  for each in $(type -ap docker); do
    major=$("$each" version --format '{{.Client.Version}}' 2>/dev/null | head -n 1 | cut -d. -f1)
    if [ "${major:-0}" -lt 23 ] || "$each" buildx version >/dev/null 2>&1; then echo "$each"; return; fi
  done
  return 1
}
engine=${ENGINE:-}
if [ -z "$engine" ]; then
  for each in docker podman apptainer; do
    if command -v "$each" >/dev/null; then engine=$each; break; fi
  done
  [ -n "$engine" ] || engine=docker # scripts/docker_engine.sh installs it
fi
case $engine in
  docker)
    scripts/docker_engine.sh start
    client=$(docker_client) || fail "the docker client here cannot build: install the docker-buildx plugin, or set ENGINE=podman"
    build=(env DOCKER_BUILDKIT=1 "$client" build)
    ;;
  podman)
    command -v podman >/dev/null || fail "podman is not installed"
    client=podman
    build=(podman build --format docker --layers --isolation chroot) # chroot works for any user, in containers, too
    ;;
  apptainer)
    fail "Apptainer cannot build from a Dockerfile: build with docker or podman, or fetch a built image: apptainer build $sif docker://REGISTRY/$name"
    ;;
  *) fail "ENGINE is '$engine'; it can be docker, podman or apptainer" ;;
esac

inspect() { "$client" image inspect --format "$2" "$1" 2>/dev/null; }
digest() { inspect "${1:-$name}" '{{.Id}}' | sed 's/^\([0-9a-f]\{64\}\)$/sha256:\1/'; } # podman leaves out the sha256:
value() { [ -f "$record" ] && python3 -c 'import json, sys; print(json.load(open(sys.argv[1])).get(sys.argv[2]) or "")' "$record" "$1" || true; }
# note KEY VALUE …: sets keys of the record, which is written aside and renamed
note() {
  python3 - "$record" "$@" <<'P'
import json, os, sys
path, given = sys.argv[1], sys.argv[2:]
record = json.load(open(path)) if os.path.exists(path) else {}
record |= {key: int(value) if value.isdigit() else value for key, value in zip(given[::2], given[1::2])}
with open(path + ".part", "w") as file:
    json.dump(record, file, indent=1)
    file.write("\n")
os.replace(path + ".part", path)
P
}

if [ "$verb" = push ]; then
  [ -n "${REGISTRY:-}" ] || fail "REGISTRY is not set; give make push REGISTRY=registry.example.org/group"
  [ -n "$(digest)" ] || fail "there is no image $name; make image VARIANT=$variant builds it"
  target=${REGISTRY%/}/$name
  "$client" tag "$name" "$target"
  "$client" push "$target"
  pushed=$(inspect "$target" '{{join .RepoDigests "\n"}}' 2>/dev/null | grep -F "${target%:*}@" | head -n 1) || true
  note pushed "$target" repo_digest "$pushed"
  echo "${pushed:-$target}"
  exit 0
fi

# --- Build, unless an image of the same inputs is there
context() { find "${parts[@]}" -type f -not -path 'containers/wheels/*' -not -path '*/__pycache__/*' -print0 | LC_ALL=C sort -z | xargs -0 sha256sum; }
inputs=$( { context; echo "$variant $commit $engine $base"; } | sha256sum | cut -c1-64)
if [ -n "$(digest)" ] && [ "$(value digest)" = "$(digest)" ] && [ "$(value inputs)" = "$inputs" ]; then
  say "$name is up to date"
else
  scripts/base_image.sh "$client" "$base"
  # The certificates and the package index of this machine are handed over as secrets: steps use them, layers lack them.
  secrets=()
  for each in "${PIP_CERT:-}" "${REQUESTS_CA_BUNDLE:-}" "${SSL_CERT_FILE:-}" /etc/ssl/certs/ca-certificates.crt; do
    if [ -s "$each" ]; then secrets+=(--secret "id=ca,src=$each"); break; fi
  done
  python3 scripts/pip_settings.py conf >"$work/pip.conf" 2>/dev/null || : >"$work/pip.conf"
  secrets+=(--secret "id=pip,src=$work/pip.conf")
  locked() { sed -n "s/^$1==\([^ ]*\) .*/\1/p" "requirements/$2.txt"; }
  tensorflow=$(locked "$([ "$variant" = gpu ] && echo tensorflow || echo tensorflow-cpu)" "$variant")
  labels=(--label "org.opencontainers.image.base.name=$base" --label "nntrainer.variant=$variant"
    --label "nntrainer.horovod=$(locked horovod horovod)" --label "nntrainer.keras=$(locked keras "$variant")"
    --label "nntrainer.tensorflow=$tensorflow")
  if [ "$variant" = gpu ]; then
    labels+=(--label "nntrainer.cuda=$(locked nvidia-cuda-runtime-cu12 gpu)"
      --label "nntrainer.cudnn=$(locked nvidia-cudnn-cu12 gpu)" --label "nntrainer.nccl=$(locked nvidia-nccl-cu12 gpu)")
  fi
  # Horovod compiles for minutes: wheels of this TensorFlow that were built here are handed over (the Dockerfile says when it
  # takes one). They are no part of the inputs, because the image is the same without them.
  rm -rf containers/wheels/*-"$variant"-*
  for each in "${XDG_CACHE_HOME:-$HOME/.cache}/nntrainer/horovod/$tensorflow-$variant-"*; do
    if [ -d "$each" ]; then cp -r "$each" containers/wheels/; fi
  done
  say "building $name with $engine (a quarter of an hour the first time)"
  started=$SECONDS
  # --network=host: an engine on a restricted machine has no network of its own
  "${build[@]}" --network=host -f containers/Dockerfile --target "$variant" -t "$name" "${secrets[@]}" "${labels[@]}" \
    --build-arg "BASE_IMAGE=$base" --build-arg "GIT_COMMIT=$commit" --build-arg "VERSION=$version" \
    --build-arg "CREATED=$(git log -1 --format=%cI -- "${parts[@]}" 2>/dev/null || true)" . >&2
  rm -f "$record"
  note name "$name" variant "$variant" version "$version" commit "$commit" engine "$engine" digest "$(digest)" \
    size_bytes "$(inspect "$name" '{{.Size}}')" base "$base" base_digest "$(digest "$base")" \
    build_s "$((SECONDS - started))" inputs "$inputs"
fi

# --- The same as a file for Apptainer
archive() { # docker archive at $1
  rm -f "$1"
  "$client" save -o "$1" "$name" # podman's format is docker-archive, too
  chmod 644 "$1"
}
if [ -n "${ARCHIVE:-}" ]; then archive "$ARCHIVE.part"; mv "$ARCHIVE.part" "$ARCHIVE"; fi
if [ "$form" != docker ]; then
  if [ -f "$sif" ] && [ "$(value sif_of)" = "$(digest)" ] && [ "$(value sif_size_bytes)" = "$(stat -c %s "$sif")" ]; then
    say "$sif is up to date"
  else
    read -ra apptainer <<<"${APPTAINER:-$(command -v apptainer || echo scripts/apptainer.sh)}"
    started=$SECONDS
    tar=build/$variant.docker.tar
    trap 'rm -rf "$work" "$tar" "$sif.part"' EXIT
    archive "$tar"
    say "building $sif with ${apptainer[*]}"
    # Tested afterwards: the test while building wants capabilities that root on a restricted machine does not have.
    options=()
    # Four times as fast as gzip, and smaller; older Apptainers cannot be told.
    if [ "${SIF_COMPRESSION:-zstd}" = zstd ] && "${apptainer[@]}" build --help | grep mksquashfs-args >/dev/null; then
      options=(--mksquashfs-args "-comp zstd -Xcompression-level 6")
    fi
    "${apptainer[@]}" build --force --notest "${options[@]}" --build-arg "archive=$PWD/$tar" --build-arg "digest=$(digest)" \
      "$PWD/$sif.part" "$PWD/containers/nntrainer.def" >&2
    rm -f "$tar"
    "${apptainer[@]}" test "$PWD/$sif.part" >&2
    mv "$sif.part" "$sif"
    note sif "$sif" sif_of "$(digest)" sif_sha256 "$(sha256sum "$sif" | cut -d' ' -f1)" sif_size_bytes "$(stat -c %s "$sif")" sif_build_s "$((SECONDS - started))"
  fi
fi
[ "$form" = sif ] || echo "$name"
[ "$form" = docker ] || echo "$sif"
