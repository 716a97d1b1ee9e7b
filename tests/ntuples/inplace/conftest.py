"""What the tests of branches in place share: checks of a file before and after."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot

from nntrainer.ntuples import add_branches


def trees_of(path: Path) -> list[str]:
    """Return the TTrees of a file, each with its cycle."""
    with uproot.open(path) as file:
        return [name for name, kind in file.classnames(recursive=True).items() if kind.startswith(("TTree", "TNtuple"))]


@lru_cache
def baskets_of(path: Path) -> list[tuple[int, int]]:
    """Return the ranges of bytes of all baskets of all trees; of a tree with very many cycles those of the last."""
    ranges = []
    with uproot.open(path) as file:
        for name in trees_of(path):
            if name.startswith("MetaData;") and name != "MetaData;5":
                continue
            for branch in file[name].itervalues():
                count = branch.member("fWriteBasket")
                seeks, sizes = branch.member("fBasketSeek")[:count], branch.member("fBasketBytes")[:count]
                ranges += [(int(seek), int(size)) for seek, size in zip(seeks, sizes, strict=True) if seek and size > 0]
    return sorted(set(ranges))


def digest_of(path: Path, ranges: list[tuple[int, int]]) -> str:
    """Return the hash of ranges of a file."""
    total = hashlib.sha256()
    with path.open("rb") as handle:
        for at, size in ranges:
            handle.seek(at)
            total.update(handle.read(size))
    return total.hexdigest()


class Checker:
    """Adds branches to a copy of a file and compares everything with the original."""

    def __init__(self, jsroot: Callable[..., list[dict[str, Any]]] | None, folder: Path) -> None:
        self.jsroot = jsroot
        self.folder = folder

    def copy(self, source: Path) -> Path:
        """Return a writable copy."""
        target = self.folder / f"copy-{source.name}"
        shutil.copyfile(source, target)
        return target

    def add(self, source: Path, tree: str, new: Mapping[str, np.ndarray], **options: Any) -> Path:
        """Add branches to a copy, check it, and return it."""
        target = self.copy(source)
        add_branches(target, tree, new, **options)
        self.check(source, target, tree, new)
        return target

    def check(self, source: Path, target: Path, tree: str, new: Mapping[str, np.ndarray]) -> None:
        """Compare a changed file with the original."""
        ranges = baskets_of(source)
        assert digest_of(target, ranges) == digest_of(source, ranges)
        with uproot.open(source) as before, uproot.open(target) as after:
            assert set(before.keys()) <= set(after.keys())
            one, other = before[tree], after[tree]
            with (self.folder / "show.txt").open("w") as stream:
                other.show(stream=stream)
            assert other.num_entries == one.num_entries
            old = [name for name in one.keys() if name not in new]  # noqa: SIM118
            assert other.keys() == [*old, *new]
            assert _same_but_for_branches(one, other)
            for name, values in new.items():
                there = other[name].array(library="np")
                assert there.dtype == values.dtype and np.array_equal(there, values, equal_nan=True), name
            for name in some(old):
                _same(one[name], other[name])
        if self.jsroot is not None:
            self._check_with_jsroot(source, target, tree, new)

    def _check_with_jsroot(self, source: Path, target: Path, tree: str, new: Mapping[str, np.ndarray]) -> None:
        assert self.jsroot is not None
        before, after = self.jsroot((source, tree), (target, tree))
        assert "error" not in after, after
        there = after["branches"]
        for name, values in new.items():
            assert there[name]["entries"] == len(values)
            assert np.array_equal(there[name]["values"], values.ravel().astype("f8"), equal_nan=True), name
        if "error" in before:
            return
        assert after["tail"] == before["tail"]
        assert set(there) == set(before["branches"]) | set(new)
        with uproot.open(source) as file:
            original, compared = file[tree], set(some(list(before["branches"])))
            for name, old in before["branches"].items():
                if name in new:
                    continue
                assert there[name].get("digest") == old.get("digest"), name
                assert there[name].get("error") == old.get("error"), name
                if name in compared and old.get("values") is not None:
                    _agrees(original[name], there[name]["values"])


def some(names: list[str]) -> list[str]:
    """Return what uproot shall read: all, or of a very wide tree every few, as it takes 10 ms for each."""
    return names[:: 1 + len(names) // 500]


def _same_but_for_branches(one: Any, other: Any) -> bool:
    """Compare the members of two trees that must not change."""
    changed = {"fBranches", "fLeaves", "fTotBytes", "fZipBytes"}
    for name, value in one.all_members.items():
        if name not in changed and not name.startswith("@") and isinstance(value, int | float | str):
            assert other.all_members[name] == value or value != value, name
    return True


def _same(one: Any, other: Any) -> None:
    """Compare a branch before and after; one that uproot could not read must fail as it did."""
    try:
        expected = one.array()
    except Exception as error:
        with pytest.raises(type(error)):
            other.array()
        return
    found = other.array()
    assert ak.type(found) == ak.type(expected)
    assert ak.array_equal(found, expected, equal_nan=True, dtype_exact=True) or str(found.tolist()) == str(
        expected.tolist()
    ), one.name


def _agrees(branch: Any, values: np.ndarray) -> None:
    """Compare what JSROOT reads with uproot, where a branch has numbers only and both can read it."""
    try:
        array = branch.array()
    except Exception:
        return
    if "{" in (kind := str(ak.type(array))) or "[" in kind or "string" in kind:
        return
    expected = ak.to_numpy(ak.flatten(array, axis=None)).astype("f8")
    assert np.array_equal(values, expected, equal_nan=True), branch.name


@pytest.fixture
def checker(jsroot: Callable[..., list[dict[str, Any]]], tmp_path: Path) -> Checker:
    """Add branches and compare, also with JSROOT."""
    return Checker(jsroot, tmp_path)


@pytest.fixture
def plain_checker(tmp_path: Path) -> Checker:
    """Add branches and compare, with uproot only."""
    return Checker(None, tmp_path)


@pytest.fixture
def helpers() -> Any:
    """The functions above."""

    class Helpers:
        trees = staticmethod(trees_of)
        baskets = staticmethod(baskets_of)
        digest = staticmethod(digest_of)

    return Helpers
