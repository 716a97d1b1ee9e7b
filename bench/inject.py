"""Scores into an ntuple of 200 branches, of which the network wants 60."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from bench.measure import Contender, Rival, RivalMissing, Row, interleaved, timed
from bench.ntuples import FLAT, JAGGED, TREE, models, ntuple, told

BRANCHES = 200
OTHERS = BRANCHES - len(FLAT) - len(JAGGED) - 3
"""Branches nobody asks for: all but features, objects with their counter, eventNumber and weight."""
SCRIPT = "script that writes everything again"
BATCH = 4096


def rows(quick: bool) -> list[Row]:
    """Measure adding scores to a copy of the file, and writing them as a friend."""
    from nntrainer.inject.inject import inject

    events, repeats = (100_000, 2) if quick else (2_000_000, 3)
    file, networks = ntuple(events, "zlib", OTHERS), models()
    with tempfile.TemporaryDirectory(prefix="nntrainer-bench-") as name:
        folder = Path(name)

        def ours(mode: str) -> Contender:
            def work() -> None:
                (done,) = inject(networks, [str(file)], output=folder / mode, mode=mode)
                if done.scored != events:
                    raise SystemExit(f"{done.scored} events were scored, not {events}")

            return removing(timed(work), folder / mode)

        contenders: dict[str, Contender] = {
            "inplace": ours("inplace"),
            "friend": ours("friend"),
            "copy": copy(file, folder / "copy.root"),
            "score": read_and_score(file, networks[0]),
        }
        given = {"file": file, "tree": TREE, "features": FLAT, "counters": ["njet"], "model": networks[0]}
        missing = {}
        try:
            rival = contenders[SCRIPT] = Rival("rival_script.py", told(**given, output=folder / "script.root"))
        except RivalMissing as why:
            rival, missing[SCRIPT] = None, str(why)
        try:
            samples = interleaved(contenders, repeats, warmup=0)
        finally:
            if rival:
                rival.close()
    work = f"{events:,} events, 60 features, {BRANCHES}-branch ntuple"
    scripts = {SCRIPT: samples[SCRIPT]} if SCRIPT in samples else {}
    both = [copied + scored for copied, scored in zip(samples["copy"], samples["score"], strict=True)]
    wanted: dict[str, Any] = {"missing": missing, "at_most": 1.3, "at_least": {SCRIPT: 10.0}}
    floor = (
        "the floor is a copy of the file, uproot reading the 60 features in one thread, and ONNX Runtime with its own "
        f"threads on batches of {BATCH}, one after the other"
    )
    return [
        Row(f"inject into a copy, {work}", samples["inplace"], both, scripts, **wanted, note=floor),
        Row(
            f"inject as a friend, {work}",
            samples["friend"],
            samples["score"],
            scripts,
            **wanted,
            note="the floor is the same without the copy",
        ),
    ]


def copy(file: Path, target: Path) -> Contender:
    """Return the copying of the file."""
    return removing(timed(lambda: shutil.copyfile(file, target)), target)


def removing(contender: Contender, output: Path) -> Contender:
    """Return the contender with its output removed afterwards: one at a time has to fit on the disk."""

    def work() -> float:
        took = contender()
        shutil.rmtree(output) if output.is_dir() else output.unlink()
        return took

    return work


def read_and_score(file: Path, model: Path) -> Contender:
    """Return the reading of the features and ONNX Runtime alone."""
    import time

    import numpy as np
    import onnxruntime
    import uproot

    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    noise = np.random.default_rng(1).normal(size=(BATCH, len(FLAT))).astype(np.float32)

    def work() -> float:
        started = time.perf_counter()
        with uproot.open(file) as opened:
            events = len(opened[TREE].arrays(FLAT))
        for start in range(0, events, BATCH):
            session.run(["scores"], {"events": noise[: events - start]})
        return time.perf_counter() - started

    return work
