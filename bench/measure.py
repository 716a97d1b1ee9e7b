"""What the rows of the benchmark share: contenders timed in turns, and what comes of it.

Only the standard library is imported, since the rivals import it, too, in an environment of their own.
"""

from __future__ import annotations

import gc
import hashlib
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RIVAL_PYTHON = ROOT / ".venv-bench" / "bin" / "python"
"""The environment of the rivals; `make bench` makes it from requirements/bench.txt."""

Contender = Callable[[], float]
"""Does the work once and returns the seconds it took (or what else is compared: smaller is better)."""


BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def write_measured(page: Path, table: str) -> None:
    """Put a table between the two marks of a page, in place of what stands there."""
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    page.write_text(f"{before}{BEGIN}\n{table}{END}{after}", encoding="utf-8")


@dataclass(frozen=True)
class Row:
    """One line of the table: samples of each contender, taken in turns in one run.

    Attributes:
        work: what is done, in words.
        ours: the samples of this project.
        floor: the samples of what cannot be undercut, or the hand-written best; may be absent.
        rivals: the samples of each rival.
        unit: of all samples; smaller is better.
        missing: for each rival that was not measured, why.
        at_most: the largest ours ÷ floor wanted.
        at_least: for each rival the smallest rival ÷ ours wanted.
        below: the largest median of ours wanted, in the unit.
        note: what a reader must know beside the numbers.
    """

    work: str
    ours: Sequence[float]
    floor: Sequence[float] = ()
    rivals: Mapping[str, Sequence[float]] = field(default_factory=dict)
    unit: str = "s"
    missing: Mapping[str, str] = field(default_factory=dict)
    at_most: float | None = None
    at_least: Mapping[str, float] = field(default_factory=dict)
    below: float | None = None
    note: str = ""


def median(samples: Sequence[float]) -> float:
    """Return the median."""
    return statistics.median(samples)


def spread(samples: Sequence[float]) -> float:
    """Return half the distance between the quartiles: what an honest repetition would differ by."""
    if len(samples) < 2:
        return 0.0
    low, _, high = statistics.quantiles(samples, n=4, method="inclusive")
    return (high - low) / 2


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """Return the ratio in each round; a machine that is slow for a while is slow for both."""
    return [a / b for a, b in zip(above, below, strict=True)]


def timed(work: Callable[[], Any]) -> Contender:
    """Return a contender of what is done by a call."""

    def contender() -> float:
        started = time.perf_counter()
        work()
        return time.perf_counter() - started

    return contender


def interleaved(contenders: Mapping[str, Contender], repeats: int, warmup: int = 1) -> dict[str, list[float]]:
    """Time contenders in turns; every other round goes backwards, so that none always follows the same one.

    Args:
        contenders: by name.
        repeats: rounds that count.
        warmup: rounds before them that do not.

    Returns:
        The samples of each contender, by round.
    """
    samples: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(-warmup, repeats):
        for name in list(contenders)[:: -1 if number % 2 else 1]:
            gc.collect()
            took = contenders[name]()
            print(f"  {name:<40}{took:10.3f}{'' if number >= 0 else '  (warm-up)'}", file=sys.stderr, flush=True)
            if number >= 0:
                samples[name].append(took)
    return samples


class Rival:
    """A contender in a process and an environment of its own, as its users have it; close it when done.

    The script imports :func:`serve` of this module and hands it the contender. It is started once; each call tells it
    to do the work and returns the seconds that it measured itself.

    Args:
        script: beside this module.
        arguments: for the script.
        python: the interpreter of its environment.

    Raises:
        RivalMissing: it cannot be started, and why.
    """

    def __init__(self, script: str, *arguments: str, python: Path = RIVAL_PYTHON) -> None:
        if not python.exists():
            raise RivalMissing(f"no {python.parent.parent.name}; make bench makes it")
        command = [str(python), str(Path(__file__).with_name(script)), *arguments]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._answer()

    def _answer(self) -> str:
        line = (self._process.stdout.readline() if self._process.stdout else "").strip()
        if not line or line.startswith("missing"):
            self.close()
            why = line.partition(" ")[2] or f"its process ended with exit code {self._process.returncode}"
            raise RivalMissing(why)
        return line

    def __call__(self) -> float:
        """Do the work once."""
        if self._process.stdin is None:
            raise RivalMissing("its process has no input")
        print("go", file=self._process.stdin, flush=True)
        return float(self._answer())

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


class RivalMissing(Exception):
    """A rival cannot be measured here."""


def serve(make: Callable[[], Contender]) -> None:
    """Be a :class:`Rival`: make the contender, say so, and run it for every line of input.

    Args:
        make: returns the contender; a package that it cannot import is reported.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the rival itself prints is no answer
    try:
        contender = make()
    except ImportError as error:
        print(f"missing {error}", file=answers, flush=True)
        return
    print("ready", file=answers, flush=True)
    for _ in sys.stdin:
        gc.collect()
        print(contender(), file=answers, flush=True)


def cached(name: str, build: Callable[[Path], None], *key: object) -> Path:
    """Return a folder of inputs in the user's cache, made when it is not there yet.

    Args:
        name: what it holds.
        build: fills an empty folder.
        key: what else the contents depend on.

    Returns:
        The folder.
    """
    digest = hashlib.sha256(repr((name, key)).encode()).hexdigest()[:12]
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = home / "nntrainer" / "bench" / f"{name}-{digest}"
    if not folder.exists():
        print(f"  making {name} once", file=sys.stderr, flush=True)
        part = folder.with_name(f"{folder.name}.{os.getpid()}.part")
        part.mkdir(parents=True)
        try:
            build(part)
            part.rename(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return folder
