"""The doctor tells what works, and outlives what does not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nntrainer import doctor
from nntrainer.doctor import Report, Row, ask

BROKEN = {
    "crash": "import os, signal\nos.kill(os.getpid(), signal.SIGILL)\n",
    "exit": "import sys\nsys.exit('libcudart.so.12 is damaged')\n",
    "absent": "raise ModuleNotFoundError('no such package', name='tensorflow')\n",
    "raise": "raise ImportError('GLIBCXX_3.4.99 not found')\n",
    "hang": "import time\ntime.sleep(60)\n",
}


@pytest.fixture
def tensorflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Put a TensorFlow that goes wrong in the way named before the real one."""

    def replace(how: str) -> None:
        package = tmp_path / "tensorflow"
        package.mkdir()
        (package / "__init__.py").write_text(BROKEN[how])
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    monkeypatch.delenv("NNTRAINER_IMAGE_VARIANT", raising=False)
    return replace


def command(*arguments: str, **environment: str) -> tuple[int, dict[str, Row]]:
    """Run ``nntrainer doctor --json`` and return its exit code and rows by name."""
    process = subprocess.run(
        [sys.executable, "-m", "nntrainer", "doctor", "--json", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
    )
    report = json.loads(process.stdout)
    assert report["usable"] == (process.returncode == 0), process.stderr
    return process.returncode, {row["name"]: Row(**row) for row in report["rows"]}


@pytest.mark.slow
def test_this_environment() -> None:
    pytest.importorskip("tensorflow", reason="`make venv` installs TensorFlow")
    code, rows = command(NNTRAINER_IMAGE_DIGEST="sha256:0123", NNTRAINER_GIT_COMMIT="abc")
    assert code == 0
    assert rows["TensorFlow"].state == "ok" and rows["TensorFlow"].text.startswith("2.16")
    assert rows["image"].text == "sha256:0123"
    assert rows["nntrainer"].text.endswith("commit abc")
    assert "CPU" in rows["ONNX Runtime"].text
    assert "uproot" in rows["ROOT and HDF5"].text
    assert {"memory", "shared memory", "disk", "CPUs", "host name"} <= set(rows)


@pytest.mark.slow
def test_horovod_names_what_it_was_built_with() -> None:
    pytest.importorskip("horovod", reason="`make horovod` builds it")
    assert "Gloo" in ask("horovod")["with"]


def test_without_tensorflow_the_rest_is_usable(tensorflow: Any) -> None:
    tensorflow("absent")
    code, rows = command()
    assert code == 0
    assert rows["TensorFlow"].state == "warn"
    assert "'tensorflow' is not installed: train, evaluate and export do not work" in rows["TensorFlow"].text
    assert rows["ONNX Runtime"].state == "ok"


def test_an_image_must_have_it(tensorflow: Any) -> None:
    tensorflow("absent")
    code, rows = command(NNTRAINER_IMAGE_VARIANT="cpu")
    assert code == 1
    assert rows["TensorFlow"].state == "fail"


def test_crash_is_a_row(tensorflow: Any) -> None:
    tensorflow("crash")
    code, rows = command()
    assert code == 1
    assert rows["TensorFlow"].state == "fail"
    assert "SIGILL: this CPU lacks instructions" in rows["TensorFlow"].text
    assert rows["disk"].state == "ok"


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ("exit", "the process ended with code 1 and said: libcudart.so.12 is damaged"),
        ("raise", "ImportError: GLIBCXX_3.4.99 not found"),
    ],
)
def test_error_is_told(tensorflow: Any, how: str, error: str) -> None:
    tensorflow(how)
    assert ask("tensorflow") == {"error": error}


def test_hanging_probe_is_ended(tensorflow: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tensorflow("hang")
    monkeypatch.setattr(doctor, "TIMEOUT_S", 1)
    assert ask("tensorflow") == {"error": "no answer within 1 s"}


def test_look_that_fails_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def _memory(answers: doctor.Answers) -> list[Row]:
        raise OSError("no /proc here")

    monkeypatch.setattr(doctor, "PROBES", {"nccl": None})
    monkeypatch.setattr(doctor, "LOOKS", (_memory, doctor._python))
    report = doctor.examine()
    assert [row.state for row in report.rows] == ["fail", "ok"]
    assert report.rows[0] == Row("memory", "fail", "OSError: no /proc here")
    assert not report.usable


def gpu(capability: list[int] | None, error: str | None = None) -> dict[str, Any]:
    return {"kind": "GPU", "name": "NVIDIA X", "capability": capability, "error": error}


@pytest.mark.parametrize(
    ("device", "state", "text"),
    [
        (gpu([5, 2]), "ok", "compute capability 5.2 is served with compiled kernels"),
        (gpu([9, 0]), "warn", "the driver compiles TensorFlow's generated kernels"),
        (gpu([12, 0]), "warn", "compute capability 12.0 is not served"),
        (gpu([12, 0], "CUDA_ERROR_INVALID_PTX"), "fail", "does not compute on it: CUDA_ERROR_INVALID_PTX"),
        (gpu(None), "warn", "unknown compute capability"),
    ],
)
def test_gpu_verdict(device: dict[str, Any], state: str, text: str) -> None:
    (row,) = doctor._devices([device])
    assert row.state == state
    assert text in row.text


def test_gpu_image_must_have_nccl(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"tensorflow": {}, "horovod": {"version": "0.28.1", "with": ["Gloo"]}, "nccl": {"error": "OSError: none"}}
    monkeypatch.delenv("NNTRAINER_IMAGE_VARIANT", raising=False)
    assert [row.state for row in doctor._horovod(answers) + doctor._nccl(answers)] == ["ok", "ok"]
    monkeypatch.setenv("NNTRAINER_IMAGE_VARIANT", "gpu")
    assert [row.state for row in doctor._horovod(answers) + doctor._nccl(answers)] == ["fail", "fail"]


def test_python_path_of_the_machine_in_an_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/cvmfs/views/lib")
    monkeypatch.delenv("NNTRAINER_IMAGE_VARIANT", raising=False)
    assert doctor._python({})[0].state == "ok"
    monkeypatch.setenv("NNTRAINER_IMAGE_VARIANT", "cpu")
    assert "PYTHONPATH is /cvmfs/views/lib" in doctor._python({})[0].text


def test_little_shared_memory_matters_between_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: _Usage(64 * 2**20))
    one, two = ({"tensorflow": {"devices": [gpu([8, 0])] * number}} for number in (1, 2))
    assert doctor._shared_memory(one)[0].state == "ok"
    assert doctor._shared_memory(two)[0].state == "warn"


class _Usage:
    def __init__(self, free: int) -> None:
        self.free = free


def test_usable_with_warnings() -> None:
    assert Report((Row("a", "ok", ""), Row("b", "warn", ""))).usable


def test_killed_probe_names_memory() -> None:
    assert "memory" in doctor._hint(signal.SIGKILL)
