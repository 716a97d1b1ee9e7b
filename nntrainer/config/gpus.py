"""Which GPUs the locked packages serve: the one table that the doctor, the sites' checks and docs/gpus.md use.

The kernels were read out of the libraries of requirements/gpu.txt (TensorFlow 2.16.2, CUDA 12.3, cuDNN 8.9.7, NCCL
2.19.3) with ``scripts/gpu_kernels.py``; measure again when those change. A GPU of compute capability x.y runs kernels
compiled for x.z with z ≤ y. PTX is compiled by its driver at the first use, for any later capability, but PTX made for
"9.0a" runs on 9.0 only (CUDA C++ Programming Guide, 3.1.2 to 3.1.4).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from nntrainer.errors import NNTrainerError

Capability = tuple[int, int]

DRIVER = "525.60.13"
"""Oldest driver that runs CUDA 12: https://docs.nvidia.com/deploy/cuda-compatibility"""


@dataclass(frozen=True)
class Library:
    """A library with GPU kernels.

    Attributes:
        name: what it is called in messages.
        compiled: capabilities it has compiled kernels for.
        ptx: capability of the PTX it holds as well, or None.
        portable: whether that PTX serves later capabilities too.
    """

    name: str
    compiled: tuple[Capability, ...]
    ptx: Capability | None
    portable: bool = True

    def kernels(self, gpu: Capability) -> str:
        """Return the kernels that a GPU uses: ``8.0``, ``PTX 9.0``, or an empty string where there are none."""
        fitting = [each for each in self.compiled if each[0] == gpu[0] and each[1] <= gpu[1]]
        if fitting:
            return text(max(fitting))
        if self.ptx is None or gpu < self.ptx or (gpu != self.ptx and not self.portable):
            return ""
        return f"PTX {text(self.ptx)}"


LIBRARIES: tuple[Library, ...] = (
    Library("TensorFlow 2.16", ((5, 0), (6, 0), (7, 0), (8, 0), (9, 0)), ptx=(9, 0)),
    # Elementwise operations: made by TensorFlow's compiler, with PTX of the kind "9.0a".
    Library("TensorFlow's generated kernels", ((5, 0), (6, 0), (7, 0), (8, 0)), ptx=(9, 0), portable=False),
    Library("cuDNN 8.9", ((5, 0), (6, 0), (6, 1), (7, 0), (7, 5), (8, 0), (8, 6), (9, 0)), ptx=(9, 0)),
    Library("cuBLAS 12.3", ((5, 0), (6, 0), (6, 1), (7, 0), (7, 5), (8, 0), (8, 6), (9, 0)), ptx=(9, 0)),
    Library("NCCL 2.19", ((5, 0), (6, 0), (6, 1), (7, 0), (8, 0), (9, 0)), ptx=(9, 0)),
    Library("Horovod 0.28", ((5, 2), (6, 0), (7, 0), (7, 5), (8, 0), (9, 0)), ptx=(9, 0)),
)

GPUS: Mapping[Capability, tuple[str, ...]] = MappingProxyType(
    {
        (3, 5): ("Tesla K40",),
        (3, 7): ("Tesla K80",),
        (5, 0): ("GTX 750 Ti",),
        (5, 2): ("GTX 970", "GTX 980", "GTX Titan X", "Tesla M40"),
        (6, 0): ("P100",),
        (6, 1): ("GTX 1080", "GTX 1080 Ti", "Titan Xp", "P4", "P40"),
        (7, 0): ("V100", "Titan V"),
        (7, 5): ("RTX 2080", "RTX 2080 Ti", "T4", "Titan RTX", "Quadro RTX 6000"),
        (8, 0): ("A100", "A30"),
        (8, 6): ("RTX 3090", "A10", "A40", "RTX A6000"),
        (8, 9): ("RTX 4090", "L4", "L40", "L40S", "RTX 6000 Ada"),
        (9, 0): ("H100", "H200", "GH200"),
        (10, 0): ("B200", "GB200"),
        (10, 3): ("B300", "GB300"),
        (12, 0): ("RTX 5080", "RTX 5090", "RTX PRO 6000"),
    }
)
"""Names of GPUs by compute capability (https://developer.nvidia.com/cuda-gpus)."""


@dataclass(frozen=True)
class Verdict:
    """Whether the gpu image serves a GPU.

    Attributes:
        capability: the GPU's compute capability.
        served: whether it does.
        native: whether nothing is left for the driver to compile.
        sentence: the same for people, with the reason.
        kernels: the kernels used, by library; an empty string where there are none.
    """

    capability: Capability
    served: bool
    native: bool
    sentence: str
    kernels: Mapping[str, str]


def text(capability: Capability) -> str:
    """Return ``5.2`` for (5, 2)."""
    return f"{capability[0]}.{capability[1]}"


def parse(capability: str) -> Capability:
    """Return (5, 2) for ``5.2``.

    Args:
        capability: major and minor number.

    Returns:
        The two numbers.

    Raises:
        NNTrainerError: it is not of this form.
    """
    found = re.fullmatch(r"(\d{1,2})\.(\d)", capability.strip())
    if found is None:
        raise NNTrainerError(f"{capability!r} is not a compute capability; give it as in 5.2 or 8.0")
    return int(found[1]), int(found[2])


def capability_of(name: str) -> Capability | None:
    """Return the compute capability of a GPU by its name, as drivers and clusters write it.

    Args:
        name: such as ``NVIDIA GeForce GTX 1080 Ti`` or ``NVIDIA-A100-SXM4-40GB``.

    Returns:
        The capability; None where the name is not in the table.
    """
    words = f" {_words(name)} "
    fitting = [(len(known), each) for each, names in GPUS.items() for known in names if f" {_words(known)} " in words]
    return max(fitting)[1] if fitting else None


def _words(name: str) -> str:
    return " ".join(re.findall(r"[a-z]+\d*[a-z]*|\d+", name.lower()))


def serves(capability: Capability | str) -> Verdict:
    """Say whether the gpu image serves GPUs of a compute capability.

    Args:
        capability: as numbers or as text, ``8.0``.

    Returns:
        The verdict.

    Raises:
        NNTrainerError: the text is not a compute capability.
    """
    gpu = parse(capability) if isinstance(capability, str) else capability
    kernels = {library.name: library.kernels(gpu) for library in LIBRARIES}
    missing = [name for name, used in kernels.items() if not used]
    by_driver = [name for name, used in kernels.items() if used.startswith("PTX")]
    name = f"compute capability {text(gpu)}"
    if missing:
        sentence = f"{name} is not served: nothing that runs on it in {_listed(missing)}; served are {SERVED}"
    elif by_driver:
        sentence = f"{name} is served; the driver compiles {_listed(by_driver)} at their first use"
    else:
        sentence = f"{name} is served with compiled kernels"
    return Verdict(gpu, not missing, not missing and not by_driver, sentence, MappingProxyType(kernels))


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


LOWEST, HIGHEST = (5, 2), (9, 0)
"""What batch systems are asked for: all that lies between these is served."""
SERVED = f"{text(LOWEST)} to {text(HIGHEST)}"


def page() -> str:
    """Return docs/gpus.md."""
    lines = [
        "<!-- written by `make gpus` from nntrainer/config/gpus.py -->",
        "# Which GPUs the gpu image serves",
        f"Compute capabilities {SERVED}, with NVIDIA driver {DRIVER} or newer. The columns say which of a library's",
        "kernels a GPU uses: compiled ones, or PTX that its driver compiles at the first use. They were read out of",
        "the locked packages with `scripts/gpu_kernels.py`; no GPU was at hand to run them on.",
        "",
        "| capability | GPUs | " + " | ".join(library.name for library in LIBRARIES) + " | served |",
        "|---|---|" + "---|" * len(LIBRARIES) + "---|",
    ]
    for capability, names in GPUS.items():
        verdict = serves(capability)
        answer = "yes" if verdict.native else "yes, slow first steps" if verdict.served else "no"
        cells = [text(capability), ", ".join(names), *(used or "–" for used in verdict.kernels.values()), answer]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "- TensorFlow from 2.17 on has no compiled kernels for 5.2, cuDNN from 9.11 on none before 7.5: hence these",
        "  versions.",
        "- On Hopper (9.0) only TensorFlow's generated elementwise kernels are left to the driver.",
        "- On Blackwell (10.x, 12.x) these are of a kind that runs on 9.0 only, and operations end in",
        "  `CUDA_ERROR_INVALID_PTX` ([TensorFlow issue 101746](https://github.com/tensorflow/tensorflow/issues/101746)).",
        "- Exporting to ONNX and scoring with ONNX Runtime use the CPU.",
    ]
    return "\n".join(lines) + "\n"
