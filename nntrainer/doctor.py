"""What works here and what does not: the self-test of an environment or an image."""

from __future__ import annotations

import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from nntrainer import __version__
from nntrainer.config import gpus
from nntrainer.errors import HOROVOD
from nntrainer.probes import PROBES
from nntrainer.provenance import git_commit

State = Literal["ok", "warn", "fail"]
Answers = dict[str, dict[str, Any]]

TIMEOUT_S = 180
GIB = 2**30


@dataclass(frozen=True)
class Row:
    """One finding.

    Attributes:
        name: what was looked at.
        state: ``ok``; ``warn``: something does not work, or not well; ``fail``: it is broken.
        text: what was found, and what to do about it.
    """

    name: str
    state: State
    text: str


@dataclass(frozen=True)
class Report:
    """All findings.

    Attributes:
        rows: the findings.
    """

    rows: tuple[Row, ...]

    @property
    def usable(self) -> bool:
        """Whether nothing is broken."""
        return all(row.state != "fail" for row in self.rows)

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {"usable": self.usable, "rows": [asdict(row) for row in self.rows]}


def examine() -> Report:
    """Look at everything.

    Returns:
        The findings; a probe that goes wrong is one of them.
    """
    with ThreadPoolExecutor(len(PROBES)) as pool:
        answers = dict(zip(PROBES, pool.map(ask, PROBES), strict=True))
    rows: list[Row] = []
    for look in LOOKS:
        try:
            rows += look(answers)
        except Exception as error:  # a probe that fails is a finding, and the others go on
            rows.append(Row(look.__name__.strip("_"), "fail", f"{type(error).__name__}: {error}"))
    return Report(tuple(rows))


def ask(name: str) -> dict[str, Any]:
    """Ask a probe in a process of its own.

    Args:
        name: one of ``nntrainer.probes.PROBES``.

    Returns:
        Its answer; ``missing`` names a package that is not installed, ``error`` says what went wrong.
    """
    command = [sys.executable, "-m", "nntrainer.probes", name]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return {"error": f"no answer within {TIMEOUT_S} s"}
    if done.returncode < 0:
        return {"error": f"the process ended with {signal.Signals(-done.returncode).name}{_hint(-done.returncode)}"}
    try:
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        last = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        return {"error": f"the process ended with code {done.returncode} and said: {last[:200]}"}
    return answer


def _hint(number: int) -> str:
    if number == signal.SIGILL:
        return ": this CPU lacks instructions that the package was compiled for (TensorFlow needs AVX)"
    return ": it was killed, probably for its memory" if number == signal.SIGKILL else ""


def _variant() -> str | None:
    """Return ``cpu`` or ``gpu`` inside one of our images, whose parts must all be there; None elsewhere."""
    return os.environ.get("NNTRAINER_IMAGE_VARIANT")


def _broken(name: str, answer: dict[str, Any], lost: str, required: bool) -> list[Row]:
    """Return the row of a package that is missing or does not work; none where it works."""
    if package := answer.get("missing"):
        return [Row(name, "fail" if required else "warn", f"'{package}' is not installed: {lost}")]
    return [Row(name, "fail", f"{answer['error']}: {lost}")] if "error" in answer else []


def _python(answers: Answers) -> list[Row]:
    text = f"{platform.python_version()} ({sys.executable})"
    if _variant() is not None and (path := os.environ.get("PYTHONPATH")):
        why = "the machine's packages may hide the image's; unset it, or apptainer exec --cleanenv"
        return [Row("Python", "warn", f"{text}, but PYTHONPATH is {path}: {why}")]
    return [Row("Python", "ok", text)]


def _nntrainer(answers: Answers) -> list[Row]:
    return [Row("nntrainer", "ok", f"{__version__}, commit {git_commit()}")]


def _image(answers: Answers) -> list[Row]:
    digest = os.environ.get("NNTRAINER_IMAGE_DIGEST")
    if digest:
        return [Row("image", "ok", digest)]
    if (variant := _variant()) is None:
        return [Row("image", "ok", "none")]
    text = (
        f"{variant}, of unknown digest: set NNTRAINER_IMAGE_DIGEST when the container is started, for the run's record"
    )
    return [Row("image", "warn", text)]


def _tensorflow(answers: Answers) -> list[Row]:
    answer = answers["tensorflow"]
    lost = "train, evaluate and export do not work; pip install 'nntrainer[train]'"
    if rows := _broken("TensorFlow", answer, lost, required=_variant() is not None):
        return rows
    return [Row("TensorFlow", "ok", f"{answer['version']} with Keras {answer['keras']}"), *_devices(answer["devices"])]


def _devices(devices: list[dict[str, Any]]) -> list[Row]:
    rows = []
    for device in devices:
        name, error = device["name"], device["error"]
        if device["kind"] != "GPU":
            if error:
                rows.append(Row("CPU", "fail", f"TensorFlow does not compute on it: {error}"))
            rows.append(_no_gpu())
            continue
        capability = device["capability"]
        if capability is None:
            rows.append(Row("GPU", "warn", f"{name}, of unknown compute capability; served are {gpus.SERVED}"))
            continue
        verdict = gpus.serves((capability[0], capability[1]))
        text = f"{name}, {verdict.sentence}"
        if error:
            rows.append(Row("GPU", "fail", f"{text}; TensorFlow does not compute on it: {error}"))
        else:
            rows.append(Row("GPU", "ok" if verdict.native else "warn", text))
    return rows


def _no_gpu() -> Row:
    nodes = sorted(path.name for path in Path("/dev").glob("nvidia[0-9]*"))
    if not nodes:
        return Row("GPU", "ok", "none; training uses the CPU")
    version = Path("/proc/driver/nvidia/version")
    driver = version.read_text().split("\n")[0] if version.exists() else "unknown driver"
    text = f"{', '.join(nodes)} in /dev, but TensorFlow sees none ({driver}; {gpus.DRIVER} or newer is needed)"
    if _variant() == "cpu":
        return Row("GPU", "warn", "this is the cpu image, which does not use the GPUs of this machine")
    return Row("GPU", "warn", f"{text}; install requirements/gpu.txt, or start the gpu image with --gpus all or --nv")


def _horovod(answers: Answers) -> list[Row]:
    answer = answers["horovod"]
    lost = f"training.workers must be 1; {HOROVOD}"
    if rows := _broken("Horovod", answer, lost, required=_variant() is not None):
        return rows
    text = f"{answer['version']} with TensorFlow, {', '.join(answer['with'])}"
    if "NCCL" in answer["with"] or not (_variant() == "gpu" or _gpus(answers)):
        return [Row("Horovod", "ok", text)]
    state: State = "fail" if _variant() == "gpu" else "warn"
    return [Row("Horovod", state, f"{text}, without NCCL: GPUs exchange gradients slowly; build it with --gpu")]


def _gpus(answers: Answers) -> int:
    return sum(device["kind"] == "GPU" for device in answers["tensorflow"].get("devices", ()))


def _nccl(answers: Answers) -> list[Row]:
    answer = answers["nccl"]
    if "version" in answer:
        return [Row("NCCL", "ok", answer["version"])]
    if _variant() == "gpu" or "NCCL" in answers["horovod"].get("with", ()):
        return [Row("NCCL", "fail", f"{answer.get('error')}: Horovod cannot use GPUs")]
    return [Row("NCCL", "ok", "none; only Horovod on GPUs needs it")]


def _onnx_runtime(answers: Answers) -> list[Row]:
    answer = answers["onnxruntime"]
    lost = "inject does not work; pip install 'nntrainer[inject]'"
    if rows := _broken("ONNX Runtime", answer, lost, required=_variant() is not None):
        return rows
    providers = ", ".join(name.removesuffix("ExecutionProvider") for name in answer["providers"])
    return [Row("ONNX Runtime", "ok", f"{answer['version']} on {providers}")]


def _onnx(answers: Answers) -> list[Row]:
    answer = answers["onnx"]
    lost = "export does not work; pip install 'nntrainer[train]'"
    if rows := _broken("ONNX", answer, lost, required=_variant() is not None):
        return rows
    return [Row("ONNX", "ok", f"{answer['version']} with tf2onnx {answer['tf2onnx']}")]


def _files(answers: Answers) -> list[Row]:
    answer = answers["files"]
    lost = "convert, inspect and inject do not work; pip install 'nntrainer[ntuples]'"
    if rows := _broken("ROOT and HDF5", answer, lost, required=_variant() is not None):
        return rows
    return [Row("ROOT and HDF5", "ok", ", ".join(f"{name} {version}" for name, version in answer.items()))]


def _host(answers: Answers) -> list[Row]:
    name = socket.gethostname()
    try:
        socket.getaddrinfo(name, None)
    except OSError:
        text = f"'{name}' cannot be resolved: training.workers must be 1; add '127.0.0.1 {name}' to /etc/hosts"
        return [Row("host name", "warn", text)]
    return [Row("host name", "ok", name)]


def _cpus(answers: Answers) -> list[Row]:
    allowed = len(os.sched_getaffinity(0))
    quota = _cgroup("cpu.max", "cpu/cpu.cfs_quota_us")
    text = f"{allowed} to use"
    numbers = quota.split() if quota else []
    if numbers and numbers[0].isdigit():
        period = numbers[1] if len(numbers) > 1 else _cgroup("cpu.max", "cpu/cpu.cfs_period_us")
        text += f", time of {int(numbers[0]) / int(period):g}"
    return [Row("CPUs", "ok", text)]


def _cgroup(new: str, old: str) -> str:
    """Return what the container's limits say (cgroups of version 2 or 1); empty where there is none."""
    for path in (Path("/sys/fs/cgroup", new), Path("/sys/fs/cgroup", old)):
        if path.is_file():
            return path.read_text().strip()
    return ""


def _memory(answers: Answers) -> list[Row]:
    lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    free = int(lines["MemAvailable"].split()[0]) * 1024
    limit = _cgroup("memory.max", "memory/memory.limit_in_bytes")
    text = f"{free / GIB:.1f} GiB free of {int(lines['MemTotal'].split()[0]) * 1024 / GIB:.1f} GiB"
    if limit.isdigit() and int(limit) < 2**60:
        free = min(free, int(limit))
        text += f", limit {int(limit) / GIB:.1f} GiB"
    return [Row("memory", "ok" if free >= 2 * GIB else "warn", text + ("" if free >= 2 * GIB else ": little"))]


def _shared_memory(answers: Answers) -> list[Row]:
    free = shutil.disk_usage("/dev/shm").free
    text = f"{free / GIB:.2f} GiB free in /dev/shm"
    if free < GIB and _gpus(answers) > 1:
        more = "docker run --shm-size=1g, or a memory-backed volume on Kubernetes"
        return [Row("shared memory", "warn", f"{text}: NCCL between GPUs needs more; {more}")]
    return [Row("shared memory", "ok", text)]


def _disk(answers: Answers) -> list[Row]:
    here = Path.cwd()
    free = shutil.disk_usage(here).free
    text = f"{free / GIB:.1f} GiB free in {here}"
    if not os.access(here, os.W_OK):
        return [Row("disk", "warn", f"{here} cannot be written to: run it where outputs may go")]
    return [Row("disk", "ok" if free >= GIB else "warn", text + ("" if free >= GIB else ": little"))]


LOOKS: tuple[Callable[[Answers], list[Row]], ...] = (
    _python,
    _nntrainer,
    _image,
    _tensorflow,
    _horovod,
    _nccl,
    _onnx_runtime,
    _onnx,
    _files,
    _host,
    _cpus,
    _memory,
    _shared_memory,
    _disk,
)
