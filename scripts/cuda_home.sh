#!/usr/bin/env bash
# Assembles a CUDA home that compiles Horovod's kernels, on a Debian machine without CUDA, GPU or root: headers, runtime and
# NCCL from the environment's nvidia wheels, the compiler driver from Debian's package nvidia-cuda-toolkit, unpacked only.
#   scripts/cuda_home.sh PYTHON DIRECTORY      PYTHON's environment has requirements/gpu.txt
# A machine with CUDA 12 needs none of this: see scripts/horovod_wheel.sh.
set -euo pipefail
python=$1 home=$2
here=$(cd "$(dirname "$0")" && pwd)
fail() { echo "cuda home: $*" >&2; exit 1; }
command -v apt-get >/dev/null || fail "the compiler comes from Debian's archive and there is no apt-get; install CUDA 12 and set CUDA_HOME"
nvidia=$("$python" -c 'import nvidia.cuda_runtime as it, pathlib; print(pathlib.Path(it.__file__).parents[1])') \
  || fail "$python has no CUDA wheels; install requirements/gpu.txt"
mkdir -p "$home"/{bin,include,lib64,nvvm} "$home"/apt/{lists/partial,archives/partial}
home=$(cd "$home" && pwd)

# An apt of its own, so that this machine's stays as it is. Trixie, because bookworm has CUDA 11.
mirror=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME)' 'Created-By: Packages' 'Component: main' \
  | awk '$2 == "bookworm" || $2 == "trixie" {print $1; exit}')
[ -n "$mirror" ] || fail "this machine's apt knows no Debian 12 or 13 mirror; install CUDA 12 and set CUDA_HOME"
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie non-free" >"$home/apt/sources.list"
apt=(apt-get -qq -o Dir::State="$home/apt" -o Dir::State::status=/dev/null -o Dir::Cache="$home/apt" -o Dir::Etc::SourceParts=/dev/null
  -o Dir::Etc::SourceList="$home/apt/sources.list" -o APT::Sandbox::User="$(id -un)")
"${apt[@]}" update </dev/null >&2
(cd "$home/apt" && "${apt[@]}" download nvidia-cuda-toolkit </dev/null >&2)
dpkg -x "$home"/apt/nvidia-cuda-toolkit_*.deb "$home/apt/toolkit"
tools=$home/apt/toolkit/usr
mv "$tools"/lib/nvidia-cuda-toolkit/bin/{nvcc,crt} "$tools"/bin/{cudafe++,ptxas,fatbinary,nvlink,bin2c} "$home/bin/"
mkdir "$home/nvvm/bin"
mv "$tools/lib/nvidia-cuda-toolkit/bin/cicc" "$home/nvvm/bin/"
mv "$tools/lib/nvidia-cuda-toolkit/libdevice" "$home/nvvm/"
rm -rf "$home/apt"
cat >"$home/bin/nvcc.profile" <<'P'
TOP = $(_HERE_)/..
NVVMIR_LIBRARY_DIR = $(TOP)/nvvm/libdevice
PATH += $(TOP)/nvvm/bin:$(_HERE_):
INCLUDES += "-I$(TOP)/include"
LIBRARIES =+ "-L$(TOP)/lib64"
P

"$python" -m pip install -q --no-deps --require-hashes -r "$here/../requirements/cuda.txt" --target "$home/cccl" >&2
for include in cuda_runtime cuda_nvcc nccl; do cp -r "$nvidia/$include/include/." "$home/include/"; done
cp -r "$home/cccl/nvidia/cuda_cccl/include/." "$home/include/"
rm -rf "$home/cccl"
ln -s "$nvidia/cuda_runtime/lib/libcudart.so.12" "$home/lib64/libcudart.so.12"
ln -s "$nvidia/nccl/lib/libnccl.so.2" "$home/lib64/libnccl.so.2"
ln -s libcudart.so.12 "$home/lib64/libcudart.so"
ln -s libnccl.so.2 "$home/lib64/libnccl.so"
# CMake insists on the static runtime, which no wheel has; the shared one is what the wheels provide when it runs.
echo 'INPUT(libcudart.so.12)' >"$home/lib64/libcudart_static.a"
ar cr "$home/lib64/libcudadevrt.a"
