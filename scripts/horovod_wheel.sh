#!/usr/bin/env bash
# Builds Horovod's wheel (TensorFlow, Gloo, no MPI; with --gpu also NCCL) against the packages of the given environment and
# prints its path. The wheel is kept in the user's cache, keyed by everything that went into it.
#   scripts/horovod_wheel.sh PYTHON [--gpu]
# --gpu compiles with the CUDA 12 in $CUDA_HOME where that is set; else scripts/cuda_home.sh fetches what is needed.
set -euo pipefail
python=$1 gpu=${2:-}
version=0.28.1
here=$(cd "$(dirname "$0")" && pwd)
scripts=("$0")
[ -z "$gpu" ] || scripts+=("$here/cuda_home.sh" "$here/../requirements/cuda.txt")
key=$( { "$python" -c 'import sys, platform, tensorflow as tf; print(sys.version, platform.machine(), platform.libc_ver(), tf.__version__)' 2>/dev/null
         echo "$gpu ${gpu:+${CUDA_HOME:-}}"
         cat "${scripts[@]}" "$here/../requirements/horovod.txt" "$here/../requirements/build.txt"; } | sha256sum | cut -c1-16)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/nntrainer/horovod/$key
wheel() { find "$cache" -maxdepth 1 -name "horovod-$version-*.whl" 2>/dev/null | head -n 1; }
if [ -z "$(wheel)" ]; then
  for tool in g++ make; do
    command -v "$tool" >/dev/null || { echo "horovod: $tool is missing; install a C++ compiler (apt-get install build-essential)" >&2; exit 1; }
  done
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  echo "Building Horovod $version${gpu:+ with NCCL} (five to ten minutes, once; kept in $cache)" >&2
  # A build environment that sees the target's TensorFlow: Horovod compiles against its headers.
  "$python" -m venv --system-site-packages "$work/env" >&2
  site=$("$python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
  "$work/env/bin/python" -c "import sysconfig, pathlib; pathlib.Path(sysconfig.get_paths()['purelib'], 'target.pth').write_text('$site\n')"
  "$work/env/bin/python" -m pip install -q --require-hashes -r "$here/../requirements/build.txt" >&2
  "$work/env/bin/python" -m pip download -q --no-deps --no-binary :all: --no-build-isolation --require-hashes \
    -r "$here/../requirements/horovod.txt" -d "$work/source" >&2
  with=(HOROVOD_WITH_TENSORFLOW=1 HOROVOD_WITHOUT_PYTORCH=1 HOROVOD_WITHOUT_MXNET=1 HOROVOD_WITHOUT_MPI=1 HOROVOD_WITH_GLOO=1)
  if [ -n "$gpu" ]; then
    cuda=${CUDA_HOME:-$work/cuda}
    [ -n "${CUDA_HOME:-}" ] || "$here/cuda_home.sh" "$python" "$cuda"
    [ -x "$cuda/bin/nvcc" ] || { echo "horovod: CUDA_HOME is $cuda, but there is no $cuda/bin/nvcc; unset it or name a CUDA 12" >&2; exit 1; }
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
  mkdir -p "$cache"
  mv "$work"/wheel/horovod-*.whl "$cache/"
fi
wheel
