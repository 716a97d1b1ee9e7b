#!/usr/bin/env bash
# Builds Horovod's wheel (TensorFlow, Gloo, no MPI; with --gpu also NCCL) against the packages of the given environment and
# prints its path. The wheel is kept in the user's cache, under the versions and scripts that it comes from; one that was built
# on another machine is taken if TensorFlow can load it here.
#   scripts/horovod_wheel.sh PYTHON [--gpu]
# --gpu compiles with the CUDA 12 in $CUDA_HOME where that is set; else scripts/cuda_home.sh fetches what is needed.
set -euo pipefail
python=$1 gpu=${2:-}
version=0.28.1
here=$(cd "$(dirname "$0")" && pwd)
scripts=("$0")
[ -z "$gpu" ] || scripts+=("$here/cuda_home.sh" "$here/../requirements/cuda.txt")
fail() { echo "horovod: $*" >&2; exit 1; }
about=$("$python" -c 'import importlib.metadata as it, platform, sysconfig
print(it.version(it.packages_distributions()["tensorflow"][0]), sysconfig.get_config_var("SOABI"), platform.machine())' 2>/dev/null) \
  || fail "$python has no TensorFlow, which it is built against"
key=${about%% *}-${gpu:---cpu}-$( { echo "$about $gpu ${gpu:+${CUDA_HOME:-}}"
  cat "${scripts[@]}" "$here/../requirements/horovod.txt" "$here/../requirements/build.txt"; } | sha256sum | cut -c1-16)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/nntrainer/horovod/${key/---/-}
site=$("$python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$cache"
exec 8>"$cache/lock"
flock -n 8 || { echo "Waiting for another build of Horovod" >&2; flock 8; }

wheel() { find "$cache" -maxdepth 1 -name "horovod-$version-*.whl" | head -n 1; }
loads() { # whether TensorFlow can load it: the system that it was built on may have been newer
  "$python" -m zipfile -e "$1" "$work/try"
  env PYTHONPATH="$work/try" LD_LIBRARY_PATH="$(printf '%s:' "$site"/nvidia/*/lib)${LD_LIBRARY_PATH:-}" TF_CPP_MIN_LOG_LEVEL=3 \
    "$python" -c 'import horovod.tensorflow' >"$work/log" 2>&1 && return
  echo "Horovod's wheel in $cache cannot be loaded here ($(tail -n 1 "$work/log"))" >&2
  return 1
}
if [ -z "$(wheel)" ] || ! loads "$(wheel)"; then
  for tool in g++ make; do
    command -v "$tool" >/dev/null || fail "$tool is missing; install a C++ compiler (apt-get install build-essential)"
  done
  echo "Building Horovod $version${gpu:+ with NCCL} (five to ten minutes, once; kept in $cache)" >&2
  # A build environment that sees the target's TensorFlow, as Horovod compiles against its headers, and its pip.
  "$python" -m pip --version >/dev/null || fail "$python has no pip; install requirements/seed.txt"
  "$python" -m venv --system-site-packages --without-pip "$work/env" >&2
  "$work/env/bin/python" -c "import sysconfig, pathlib; pathlib.Path(sysconfig.get_paths()['purelib'], 'target.pth').write_text('$site\n')"
  "$work/env/bin/python" -m pip install -q --require-hashes -r "$here/../requirements/build.txt" >&2
  "$work/env/bin/python" -m pip download -q --no-deps --no-binary :all: --no-build-isolation --require-hashes \
    -r "$here/../requirements/horovod.txt" -d "$work/source" >&2
  with=(HOROVOD_WITH_TENSORFLOW=1 HOROVOD_WITHOUT_PYTORCH=1 HOROVOD_WITHOUT_MXNET=1 HOROVOD_WITHOUT_MPI=1 HOROVOD_WITH_GLOO=1)
  if [ -n "$gpu" ]; then
    cuda=${CUDA_HOME:-$work/cuda}
    [ -n "${CUDA_HOME:-}" ] || "$here/cuda_home.sh" "$python" "$cuda"
    [ -x "$cuda/bin/nvcc" ] || fail "CUDA_HOME is $cuda, but there is no $cuda/bin/nvcc; unset it or name a CUDA 12"
    # The wheels' NCCL is the one that is there when it runs, also where CUDA is installed.
    nccl=$("$python" -c 'import nvidia.nccl as it, pathlib; print(pathlib.Path(it.__file__).parent)')
    mkdir -p "$work/nccl/lib"
    ln -s "$nccl/include" "$work/nccl/include"
    ln -s "$nccl/lib/libnccl.so.2" "$work/nccl/lib/libnccl.so"
    with+=(HOROVOD_GPU=CUDA HOROVOD_GPU_OPERATIONS=NCCL HOROVOD_CUDA_HOME="$cuda" HOROVOD_NCCL_HOME="$work/nccl"
      HOROVOD_NCCL_LINK=SHARED HOROVOD_BUILD_CUDA_CC_LIST=52,60,70,75,80,90 CUDAToolkit_ROOT="$cuda" CUDACXX="$cuda/bin/nvcc")
  fi
  if ! env PATH="$work/env/bin:$PATH" "${with[@]}" CMAKE_POLICY_VERSION_MINIMUM=3.5 \
       "$work/env/bin/python" -m pip wheel -q --no-build-isolation --no-cache-dir --no-deps \
       "$work"/source/horovod-*.tar.gz -w "$work/wheel" >"$work/log" 2>&1; then
    tail -n 40 "$work/log" >&2
    exit 1
  fi
  built=$(basename "$work"/wheel/horovod-*.whl)
  cp "$work/wheel/$built" "$cache/part"
  mv "$cache/part" "$cache/$built"
fi
wheel
