"""Every TTree of files that real experiments' software wrote takes branches, and two readers agree on all of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot

FILES = [
    "nanoAOD_2015_CMS_Open_Data_ttbar",
    "uproot-HZZ-objects",
    "uproot-HZZ",
    "uproot-Zmumu",
    "uproot-issue434",
    "uproot-physlite-rntuple_v1-0-0-0",
    "uproot-sample-5.30.00-zlib",
    "uproot-sample-6.08.04-lzma",
    "uproot-sample-6.16.00-lz4",
]


def new_values(entries: int) -> dict[str, np.ndarray]:
    """Return values that tell where they belong."""
    return {
        "nn_score": np.arange(entries, dtype="f4") / 2 + 1,
        "nn_fold": np.arange(entries, dtype="i4") - 1,
        "nn_jets": np.arange(3 * entries, dtype="i2").reshape(entries, 3),
    }


@pytest.mark.parametrize("name", FILES)
def test_every_tree(name: str, real_files: Path, checker: Any, helpers: Any) -> None:
    source = real_files / f"{name}.root"
    trees = helpers.trees(source)
    assert trees
    for tree in trees:
        if (not tree.endswith((";1", ";6")) and tree != "MetaData;5") or tree == "MetaData;1":
            continue  # of five or six cycles the first and the last; the last only of one with 3572 branches
        with uproot.open(source) as file:
            entries = file[tree].num_entries
        new = new_values(entries)
        target = checker.add(source, tree, new)
        grown = target.stat().st_size - source.stat().st_size
        record = record_bytes(source, tree)
        scores = sum(values.nbytes for values in new.values())
        # The new record of the tree, the list of keys, StreamerInfo and the free list.
        assert grown < scores + 1.1 * record + info_bytes(source) + 8_000


def record_bytes(path: Path, tree: str) -> int:
    with uproot.open(path) as file:
        return int(file.key(tree).fNbytes)


def info_bytes(path: Path) -> int:
    with uproot.open(path) as file:
        return int(file.file.fNbytesInfo)


def test_the_newest_cycle_is_meant_and_older_ones_stay(real_files: Path, checker: Any) -> None:
    source = real_files / "uproot-physlite-rntuple_v1-0-0-0.root"
    new = {"nn": np.arange(529, dtype="f4")}
    target = checker.add(source, "##Links", new)
    with uproot.open(target) as file:
        assert "nn" in file["##Links;6"]
        assert all("nn" not in file[f"##Links;{cycle}"] for cycle in range(1, 6))
