"""Questions to packages that may be missing, broken or able to end the process: asked in a process of their own.

``python -m nntrainer.probes NAME`` prints the answer as JSON in its last line.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.util
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def tensorflow() -> dict[str, Any]:
    """Return the versions and the devices, each after a small computation: GPUs, or else the CPU."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import keras
    import tensorflow as tf

    devices = []
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    for number, device in enumerate(gpus or tf.config.list_physical_devices("CPU")):
        details = tf.config.experimental.get_device_details(device)
        capability = details.get("compute_capability")
        devices.append(
            {
                "kind": device.device_type,
                "name": details.get("device_name", device.name),
                "capability": None if capability is None else list(capability),
                "error": _computes(f"/{device.device_type}:{number}"),
            }
        )
    return {"version": tf.__version__, "keras": keras.__version__, "devices": devices}


def _computes(device: str) -> str | None:
    import tensorflow as tf

    try:
        with tf.device(device):
            # a library's kernel, and one that TensorFlow's compiler generated
            total = float(tf.reduce_sum(tf.tanh(tf.matmul(tf.ones((64, 64)), tf.ones((64, 64))))))
    except tf.errors.OpError as error:
        return " ".join(str(error).split())[:200]
    return None if abs(total - 64 * 64) < 1 else f"64 × 64 hyperbolic tangents of 64 add up to {total}"


def horovod() -> dict[str, Any]:
    """Return the version and what it was built with."""
    from nntrainer.training.distributed import built_with

    return built_with()


def nccl() -> dict[str, Any]:
    """Return the version of the NCCL library that Horovod would load, and where it is found."""
    library = ctypes.CDLL(_nccl_library())
    version = ctypes.c_int()
    if (code := library.ncclGetVersion(ctypes.byref(version))) != 0:
        raise OSError(f"ncclGetVersion returned {code}")
    major, rest = divmod(version.value, 10_000)  # 2.19.3 is 21903
    return {"version": f"{major}.{rest // 100}.{rest % 100}"}


def _nccl_library() -> str:
    name = "libnccl.so.2"
    found = importlib.util.find_spec("nvidia")
    for folder in found.submodule_search_locations or () if found is not None else ():
        if (path := Path(folder, "nccl", "lib", name)).exists():
            return str(path)
    return name


def onnxruntime() -> dict[str, Any]:
    """Return the version and the execution providers."""
    import onnxruntime as ort

    return {"version": ort.__version__, "providers": ort.get_available_providers()}


def onnx() -> dict[str, Any]:
    """Return the versions of ONNX and of the converter."""
    import onnx as onnx_package

    # not imported, because that imports TensorFlow once more
    return {"version": onnx_package.__version__, "tf2onnx": importlib.metadata.version("tf2onnx")}


def files() -> dict[str, Any]:
    """Return the versions of what reads and writes ROOT and HDF5 files."""
    import awkward
    import h5py
    import uproot

    return {"uproot": uproot.__version__, "awkward": awkward.__version__, "h5py": h5py.__version__}


PROBES: dict[str, Callable[[], dict[str, Any]]] = {
    probe.__name__: probe for probe in (tensorflow, horovod, nccl, onnxruntime, onnx, files)
}


def main(name: str) -> None:
    """Answer one question."""
    try:
        answer = PROBES[name]()
    except ModuleNotFoundError as error:
        answer = {"missing": error.name}
    except Exception as error:  # whatever a broken package does is the answer
        answer = {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"}
    sys.stdout.write(f"\n{json.dumps(answer)}\n")


if __name__ == "__main__":
    main(sys.argv[1])
