"""Plots drawn by processes beside this one are those drawn in it, and no process outlives what it draws for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nntrainer.errors import MissingDependencyError, NNTrainerError, require
from nntrainer.evaluation import metrics
from nntrainer.evaluation.weighted import Fraction
from nntrainer.plots import evaluation, inputs, reconstruction, style, validation
from nntrainer.plots.histograms import histogram
from nntrainer.plots.press import Press, processes

HISTORY = {"epoch": [1, 2, 3], "loss": [0.5, 0.4, 0.3], "accuracy": [0.5, 0.6, 0.7]}


@pytest.fixture
def with_cores(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    return lambda number: monkeypatch.setattr("nntrainer.plots.press.processes", lambda: number)


@pytest.fixture
def drawings() -> list[tuple]:
    random = np.random.default_rng(1)
    target, score, weight = random.random(500) < 0.5, random.random(500), np.ones(500)
    edges = np.linspace(0, 1, 11)
    filled = {
        "s": histogram(score[target], weight[target], edges),
        "b": histogram(score[~target], weight[~target], edges),
    }
    right = {"network": [Fraction(0.5, 0.1, 20)] * 2}
    return [
        ("score", inputs.feature, "score", "GeV", filled, "s"),
        ("roc", evaluation.roc, {"s": (metrics.roc(target, score, weight), 0.01)}),
        (".", validation.history, HISTORY),
        ("right", reconstruction.fractions, "H", "all", np.array([0.0, 1, 2]), right),
    ]


def gone(process: int) -> bool:
    """Whether a process has ended, perhaps without anybody having asked how."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def children(process: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def test_a_slot_of_one_core_starts_no_processes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("nntrainer.plots.press.cores", lambda: 64)
    assert 1 <= processes() <= 8
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert processes() == 1
    with Press() as press:
        press.draw(tmp_path, validation.history, HISTORY)
    assert press._process is None and (tmp_path / "loss.png").exists()


def test_the_same_plots_come_from_one_core_and_from_several(
    with_cores: Callable[[int], None], drawings: list[tuple], tmp_path: Path
) -> None:
    style.apply(label="mine", description="here")
    made = {}
    for number in (1, 3):
        with_cores(number)
        with Press() as press:
            assert (press._process is None) == (number == 1)
            for name, *drawing in drawings:
                press.draw(tmp_path / str(number) / name, *drawing)
        made[number] = [(path.name, path.read_bytes()) for path in press.paths]
    style.apply()
    assert made[1] == made[3]
    names = ["score", "roc", "loss", "accuracy", "right"]
    assert [name for name, _ in made[3]] == [f"{name}.{kind}" for name in names for kind in ("png", "pdf")]


def test_processes_load_no_network_library(
    with_cores: Callable[[int], None], drawings: list[tuple], tmp_path: Path
) -> None:
    with_cores(2)
    with Press() as press:
        for name, *drawing in drawings:
            press.draw(tmp_path / name, *drawing)
        while press._coming:
            press._collect()
        assert press._process is not None
        first = press._process.pid
        processes = [first, *children(first)]
        assert len(processes) == 2
        loaded = [Path(f"/proc/{process}/maps").read_text() for process in processes]
    assert all("ft2font" in each for each in loaded)
    assert not [name for each in loaded for name in ("tensorflow", "h5py", "onnx", "pydantic") if name in each]
    assert all(gone(process) for process in processes)


@pytest.mark.parametrize("number", [1, 2])
def test_what_goes_wrong_is_raised_here(with_cores: Callable[[int], None], tmp_path: Path, number: int) -> None:
    with_cores(number)
    with (
        pytest.raises(MissingDependencyError, match=r"the plot needs the package 'no_such'.*'nntrainer.here.'"),
        Press() as press,
    ):
        press.draw(tmp_path / "x", require, "no_such", "the plot", "here")
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"), Press() as press:
        press.draw(tmp_path / "file" / "x", validation.history, HISTORY)
    assert press._process is None or press._process.returncode == 0


def test_a_process_that_dies_is_said(with_cores: Callable[[int], None], drawings: list[tuple], tmp_path: Path) -> None:
    with_cores(2)
    with (
        pytest.raises(NNTrainerError, match="ended before its work was done, perhaps for want of memory"),
        Press() as press,
    ):
        assert press._process is not None
        press._process.kill()
        press._process.wait()
        for name, *drawing in drawings:
            press.draw(tmp_path / name, *drawing)


CALLER = """
import sys
from pathlib import Path
import nntrainer.plots.press
from nntrainer.plots import validation
nntrainer.plots.press.processes = lambda: 2
with nntrainer.plots.press.Press() as press:
    history = {"epoch": [1, 2], "loss": [0.5, 0.4]}
    press.draw(Path(sys.argv[1]), validation.history, history)
    press._collect()
    print(press._process.pid, flush=True)
    while True:
        press.draw(Path(sys.argv[1]), validation.history, history)
        press._collect()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_outlives_its_caller(tmp_path: Path, number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", CALLER, tmp_path],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as caller:
        assert caller.stdout is not None and caller.stderr is not None
        first = int(caller.stdout.readline())
        processes = [first, *children(first)]
        assert len(processes) == 2 and not any(map(gone, processes))
        # A terminal sends Ctrl-C to all of them; who ends a job sends the other signals perhaps only to the first.
        (os.killpg if number == signal.SIGINT else os.kill)(caller.pid, number)
        said = caller.stderr.read()
    assert ("KeyboardInterrupt" in said) == (number == signal.SIGINT)
    while not all(map(gone, processes)):  # pytest's timeout is the limit
        time.sleep(0.05)
    assert not list(tmp_path.glob("*.part"))
