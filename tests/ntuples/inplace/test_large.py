"""Files at and beyond 2,000,000,000 bytes, where positions get 64 bits; sparse, so that they take little room."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot

from nntrainer.ntuples import add_branches
from nntrainer.ntuples.inplace.keys import BIG_FILE
from nntrainer.ntuples.inplace.layout import RootFile

ENTRIES = 3000


def grow(path: Path, end: int) -> None:
    """Move the end of a file, with a hole before it."""
    with RootFile(path) as file:
        file.tail = end
        file.commit([], None)


@pytest.fixture
def ntuple(tmp_path: Path) -> Path:
    path = tmp_path / "f.root"
    with uproot.recreate(path, compression=uproot.ZLIB(1)) as file:
        for name in ("nominal", "syst/up"):
            file.mktree(name, {"x": "f4"}).extend({"x": np.arange(ENTRIES, dtype="f4")})
    return path


def check(path: Path, tree: str, names: list[str], entries: int, jsroot: Any) -> None:
    with uproot.open(path) as file:
        for name in names:
            assert np.array_equal(file[tree][name].array(library="np"), np.arange(entries, dtype="f4")), name
    (found,) = jsroot((path, tree), only=names)
    for name in names:
        assert np.array_equal(found["branches"][name]["values"], np.arange(entries)), name


@pytest.mark.parametrize(
    "end", [BIG_FILE - 200_000, BIG_FILE - 9000, BIG_FILE - 700, BIG_FILE - 1, BIG_FILE + 1, 4_400_000_000]
)
@pytest.mark.parametrize("tree", ["nominal", "syst/up"])
def test_across_2_gb(end: int, tree: str, ntuple: Path, jsroot: Any) -> None:
    grow(ntuple, end)
    names = ["x"]
    for name in ("nn", "second", "third"):
        add_branches(ntuple, tree, {name: np.arange(ENTRIES, dtype="f4")})
        names.append(name)
        check(ntuple, tree, names, ENTRIES, jsroot)
    other = {"nominal": "syst/up", "syst/up": "nominal"}[tree]
    add_branches(ntuple, other, {"nn": np.arange(ENTRIES, dtype="f4")})
    check(ntuple, other, ["x", "nn"], ENTRIES, jsroot)
    check(ntuple, tree, names, ENTRIES, jsroot)
    with uproot.update(ntuple) as file:
        file["text"] = "another writer goes on"
    check(ntuple, tree, names, ENTRIES, jsroot)


@pytest.mark.parametrize("name", ["uproot-Zmumu", "uproot-sample-5.30.00-zlib", "nanoAOD_2015_CMS_Open_Data_ttbar"])
def test_files_of_root(name: str, real_files: Path, tmp_path: Path, jsroot: Any, helpers: Any) -> None:
    path = tmp_path / "f.root"
    shutil.copyfile(real_files / f"{name}.root", path)
    (tree,) = helpers.trees(path)
    with uproot.open(path) as file:
        entries = file[tree].num_entries
        old = {branch.name: branch.array(library="np") for branch in file[tree].branches[:9]}
    grow(path, BIG_FILE - 3000)
    for branch in ("nn", "second"):
        add_branches(path, tree, {branch: np.arange(entries, dtype="f4")})
    check(path, tree, ["nn", "second"], entries, jsroot)
    with uproot.open(path) as file:
        assert all(str(file[tree][each].array(library="np")) == str(values) for each, values in old.items())
        assert file.file.fVersion > 1_000_000
