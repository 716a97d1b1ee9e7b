"""Branches of every type into trees of every kind, and what is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot

from nntrainer.errors import InPlaceError
from nntrainer.ntuples import add_branches
from nntrainer.ntuples.inplace import BranchType, InPlace, branch_type
from nntrainer.ntuples.inplace.clusters import clusters_of
from nntrainer.ntuples.inplace.layout import RootFile

COMPRESSIONS = [None, uproot.ZLIB(1), uproot.LZMA(1), uproot.LZ4(4), uproot.ZSTD(5)]
KINDS = ["?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"]


def make(path: Path, entries: int = 1000, compression: Any = None, parts: int = 3, name: str = "nominal") -> Path:
    """Write a tree with numbers, arrays, lists and texts in several baskets of unequal size."""
    rng = np.random.default_rng(entries)
    with uproot.recreate(path, compression=compression) as file:
        tree = file.mktree(name, {"n": "i4", "x": "f8", "m": "2 * 3 * float32", "jet_pt": "var * float32"})
        edges = np.unique(np.linspace(0, 1, parts + 1) ** 2 * entries).astype(int)
        for start, stop in pairwise(edges):
            count = stop - start
            counts = rng.integers(0, 4, count)
            tree.extend(
                {
                    "n": np.arange(start, stop, dtype="i4"),
                    "x": rng.normal(size=count),
                    "m": rng.random((count, 2, 3)).astype("f4"),
                    "jet_pt": ak.unflatten(rng.random(counts.sum()).astype("f4"), counts),
                }
            )
    return path


def values_of(kind: str, entries: int, length: int = 0) -> np.ndarray:
    """Return values over the whole range of a type, as far as both readers have it."""
    shape = (entries, length) if length else (entries,)
    raw = np.random.default_rng(1).integers(0, 256, (*shape, np.dtype(kind).itemsize), dtype="u1")
    if kind == "?":
        return raw[..., 0] > 99
    values = raw.view(kind)[..., 0]
    if kind.startswith("f"):
        values = np.where(np.isfinite(values), values, np.array(1.5, kind))
    # JSROOT's numbers are doubles, and it reads large negative ones of 64 bits wrong by 2**32.
    return np.abs(values >> 12) if kind == "i8" else values >> 12 if kind == "u8" else values


@pytest.mark.parametrize("compression", COMPRESSIONS, ids=str)
def test_files_of_each_compression(compression: Any, checker: Any, tmp_path: Path) -> None:
    source = make(tmp_path / "f.root", compression=compression)
    new = {"nn": np.arange(1000, dtype="f4") // 9, "classes": np.linspace(0, 1, 3000).reshape(1000, 3)}
    target = checker.add(source, "nominal", new)
    with uproot.open(target) as file:
        assert file.file.compression == compression
        stored = file["nominal"]["nn"].compressed_bytes
        assert (stored < 4000) == (compression is not None)
    assert target.stat().st_size - source.stat().st_size < 4 * 7000 + 12_000


@pytest.mark.parametrize("length", [0, 1, 5])
def test_every_type(length: int, checker: Any, tmp_path: Path) -> None:
    source = make(tmp_path / "f.root", entries=50)
    new = {f"b{i}": values_of(kind, 50, length) for i, kind in enumerate(KINDS)}
    if not length:
        checker.add(source, "nominal", new)
        return
    target = checker.copy(source)
    add_branches(target, "nominal", new)
    with uproot.open(target) as file:
        for name, values in new.items():
            # uproot, like ROOT, knows no arrays of one number: they are single numbers.
            there = file["nominal"][name].array(library="np").reshape(values.shape)
            assert there.dtype == values.dtype and np.array_equal(there, values, equal_nan=True), name
    (found,) = checker.jsroot((target, "nominal"))
    for name, values in new.items():
        if values.dtype.itemsize == 1 and values.dtype.kind in "iu" and length > 1:
            continue  # a text to JSROOT
        expected = values.ravel().astype("f8")
        assert np.array_equal(found["branches"][name]["values"], expected, equal_nan=True), name


def test_all_64_bits(tmp_path: Path, plain_checker: Any) -> None:
    source = make(tmp_path / "f.root", entries=3)
    new = {"i": np.array([-(2**63), -1, 2**63 - 1]), "u": np.array([0, 2**63, 2**64 - 1], "u8")}
    plain_checker.add(source, "nominal", new)


def test_other_byte_order_and_strides(tmp_path: Path, checker: Any) -> None:
    source = make(tmp_path / "f.root", entries=60)
    every = np.arange(360, dtype="f4").reshape(60, 6)
    target = checker.copy(source)
    add_branches(target, "nominal", {"swapped": every[:, 0].astype(">f4"), "strided": every[:, ::2], "row": every.T[1]})
    checker.check(source, target, "nominal", {"swapped": every[:, 0], "strided": every[:, ::2], "row": every[:, 1]})


def test_empty_tree(checker: Any, tmp_path: Path) -> None:
    path = tmp_path / "e.root"
    with uproot.recreate(path) as file:
        file.mktree("nominal", {"x": "f4"})
    checker.add(path, "nominal", {"nn": np.zeros(0, "f4"), "v": np.zeros((0, 2), "i4")})


def test_directories(checker: Any, tmp_path: Path) -> None:
    path = tmp_path / "d.root"
    with uproot.recreate(path) as file:
        for name in ("a/b/tree", "a/tree", "tree"):
            file.mktree(name, {"x": "f4"}).extend({"x": np.arange(9, dtype="f4")})
        file["a/hist"] = np.histogram([1.0])
    target = checker.add(path, "a/b/tree", {"nn": np.arange(9, dtype="f4")})
    checker.add(target, "a/tree", {"nn": np.arange(9, dtype="f4")})
    with uproot.open(target) as file:
        assert "nn" not in file["a/tree"] and "nn" not in file["tree"]


def test_toy_files(toy_files: list[Path], checker: Any, helpers: Any) -> None:
    for source in toy_files:
        for tree in helpers.trees(source):
            with uproot.open(source) as file:
                entries = file[tree].num_entries
            checker.add(source, tree, {"nn": np.arange(entries, dtype="f4"), "p": np.ones((entries, 4), "f4")})


def test_a_hundred_in_a_row(tmp_path: Path, jsroot: Any) -> None:
    path = make(tmp_path / "f.root", entries=200, compression=uproot.ZLIB(1))
    with uproot.open(path) as file:
        old = file["nominal"].keys()
    for i in range(100):
        add_branches(path, "nominal", {f"nn{i}": np.full(200, i, "f4")})
    with uproot.open(path) as file:
        tree = file["nominal"]
        assert tree.keys() == [*old, *(f"nn{i}" for i in range(100))]
        assert all(set(tree[f"nn{i}"].array(library="np").tolist()) == {i} for i in range(100))
    (found,) = jsroot((path, "nominal"))
    assert all((found["branches"][f"nn{i}"]["values"] == np.full(200, i)).all() for i in range(100))
    with uproot.update(path) as file:  # another writer goes on from there
        file["text"] = "more"
    with uproot.open(path) as file:
        assert file["text"] == "more" and len(file["nominal"].keys()) == len(old) + 100


def test_baskets_end_with_clusters_where_they_can() -> None:
    clusters = clusters_of([999, 1499], [1000, 100], 300, 5000)
    assert clusters.boundary(0, 1200) == 1200
    assert clusters.boundary(0, 1250) == 1200
    assert clusters.boundary(0, 999) == 999
    assert clusters.boundary(1200, 400) == 1500
    assert clusters.boundary(1500, 700) == 2100
    assert clusters.boundary(4800, 10_000) == 5000
    assert clusters_of([], [], -30_000_000, 100).boundary(0, 7) == 7
    assert clusters_of([5, 3], [0, 0], 0, 0).boundary(0, 9) == 6


def test_chunks_make_baskets(tmp_path: Path, plain_checker: Any) -> None:
    entries = 300_000
    path = tmp_path / "f.root"
    with uproot.recreate(path, compression=uproot.LZ4(1)) as file:
        file.mktree("t", {"x": "i4"}).extend({"x": np.arange(entries, dtype="i4")})
    new = {"nn": np.random.default_rng(1).random(entries).astype("f4"), "v": np.arange(2 * entries).reshape(entries, 2)}
    target = plain_checker.copy(path)
    with InPlace(target) as file:
        tree = file.tree("t")
        tree.begin({name: branch_type(name, array.dtype, array.shape[1:]) for name, array in new.items()})
        for start in range(0, entries, 1234):
            tree.extend({name: array[start : start + 1234] for name, array in new.items()})
        file.commit()
    plain_checker.check(path, target, "t", new)
    with uproot.open(target) as file:
        assert [file["t"][name].num_baskets for name in new] == [5, 19]


def test_several_trees_in_one_pass(tmp_path: Path, checker: Any) -> None:
    path = tmp_path / "d.root"
    with uproot.recreate(path) as file:
        for name in ("nominal", "syst/up", "syst/down"):
            file.mktree(name, {"x": "f4"}).extend({"x": np.arange(9, dtype="f4")})
    target = checker.copy(path)
    kind = BranchType(np.dtype("f4"))
    with InPlace(target) as file:
        for i, name in enumerate(("nominal", "syst/up", "syst/down")):
            tree = file.tree(name)
            tree.begin({"nn": kind, "mm": kind})
            tree.extend({"nn": np.full(9, i, "f4"), "mm": np.full(9, -i, "f4")})
        file.note("made", "by a test")
        file.commit()
    for i, name in enumerate(("nominal", "syst/up", "syst/down")):
        checker.check(path, target, name, {"nn": np.full(9, i, "f4"), "mm": np.full(9, -i, "f4")})
    with uproot.open(target) as file:
        assert file["made"] == "by a test"


def test_long_and_strange_names(tmp_path: Path, checker: Any, plain_checker: Any) -> None:
    path = make(tmp_path / "f.root", entries=10, name="t" * 300)
    checker.add(path, "t" * 300, {"n" * 300: np.arange(10, dtype="f4"), "e.x_1": np.arange(10, dtype="f4")})
    plain_checker.add(path, "t" * 300, {"é µ": np.arange(10, dtype="f4")})


def test_what_is_refused(tmp_path: Path, real_files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make(tmp_path / "f.root", entries=10)
    x = np.zeros(10, "f4")
    before = path.read_bytes()

    def refused(words: str, tree: str = "nominal", where: Path | str = path, **new: Any) -> None:
        with pytest.raises(InPlaceError) as caught:
            add_branches(where, tree, new or {"nn": x})
        assert all(word in str(caught.value) for word in words.split("|")), caught.value
        assert str(where) in str(caught.value) or "branch '" in str(caught.value)
        assert "\n" not in str(caught.value)

    refused("tree 'nominal' already has a branch 'x'|--overwrite-branch", x=x)
    refused("already has a branch 'jet_pt'", jet_pt=x)
    refused("10 entries|'nn' was given 9 values", nn=x[:9])
    refused("10 entries|'nn' was given 11 values", nn=np.zeros(11, "f4"))
    refused("differ in length", nn=x, mm=x[:3])
    refused("complex64", nn=x.astype("c8"))
    refused("float16", nn=x.astype("f2"))
    refused("object", nn=np.array([[1], [1, 2]] * 5, dtype=object))
    refused("not given numbers", nn=[[1], [1, 2]] * 5)
    refused("single value", nn=3.0)
    refused("[2, 2] values an entry", nn=np.zeros((10, 2, 2)))
    refused("[0] values an entry", nn=np.zeros((10, 0)))
    refused("'a/b' cannot be the name of a branch", **{"a/b": x})
    refused("'' cannot be the name of a branch", **{"": x})
    refused("no tree 'nominl'|Did you mean 'nominal'?", tree="nominl")
    refused("no tree 'nominal;7'", tree="nominal;7")
    refused("no tree 'nominal;x'", tree="nominal;x")
    refused("no tree", tree="nominal\udcff")
    with pytest.raises(InPlaceError, match="no branch is given"):
        add_branches(path, "nominal", {})
    refused("no such file", where=tmp_path / "none.root")
    refused("files on this machine", where="root://host//f.root")
    assert path.read_bytes() == before

    os.chmod(path, 0o444)
    refused("read-only|chmod u+w")
    os.chmod(path, 0o644)
    with InPlace(path):
        refused("another process is changing it")
    other = tmp_path / "other.root"
    other.write_bytes(b"root" + before[4:12][::-1][4:] + before[8:12][::-1] + before[12:])
    refused("other byte order", where=other)
    other.write_bytes(before[:-7])
    refused("truncated", where=other)
    other.write_bytes(b"hello" * 100)
    refused("not a ROOT file", where=other)
    other.write_bytes(b"root" + bytes(200))
    refused("damaged", where=other)
    with uproot.recreate(other) as file:
        file.mkrntuple("events", {"x": x})
        file["h"] = np.histogram([1.0])
    refused("'events' is an RNTuple|--mode friend", where=other, tree="events")
    refused("it is a TH1D and no tree", where=other, tree="h")


def test_split_branches_hold_their_names(real_files: Path, plain_checker: Any) -> None:
    source = real_files / "uproot-issue434.root"
    with uproot.open(source) as file:
        tree = file["KM3NET_TIMESLICE_L1"]
        nested = next(branch for branch in tree.itervalues() if "fUniqueID" in branch.name)
        entries, name = tree.num_entries, nested.name
    target = plain_checker.copy(source)
    with pytest.raises(InPlaceError, match="already has a branch"):
        add_branches(target, "KM3NET_TIMESLICE_L1", {name: np.zeros(entries)})
    with pytest.raises(InPlaceError, match="part of another"):
        add_branches(target, "KM3NET_TIMESLICE_L1", {name: np.zeros(entries)}, overwrite=True)


def test_bytes_behind_the_end_are_overwritten(tmp_path: Path, plain_checker: Any) -> None:
    path = make(tmp_path / "f.root", entries=10)
    with path.open("ab") as handle:
        handle.write(b"garbage" * 9999)
    plain_checker.add(path, "nominal", {"nn": np.zeros(10, "f4")})


def test_the_import_is_light() -> None:
    code = (
        "import sys, nntrainer.ntuples\nassert 'numpy' not in sys.modules\n"
        "from nntrainer.ntuples import add_branches\n"
        "assert not {'uproot', 'awkward', 'tensorflow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_damaged_free_space_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by the fuzzer: a segment whose first byte is far below zero."""
    path = tmp_path / "x.root"
    with uproot.recreate(path) as file:
        file.mktree("t", {"x": "f4"}).extend({"x": np.ones(3, np.float32)})
    monkeypatch.setattr(RootFile, "_free", lambda self: [(-(2**40), 300), (200, 100), (300, 310)])
    add_branches(path, "t", {"y": np.arange(3, dtype=np.float32)})
    with uproot.open(path) as file:
        assert file["t"]["y"].array(library="np").tolist() == [0, 1, 2]
