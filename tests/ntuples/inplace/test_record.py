"""The record of a tree: tags behind the change, 64-bit keys, branches unhooked, all that a tree may hold at its end."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot

from nntrainer.errors import InPlaceError
from nntrainer.ntuples import add_branches
from nntrainer.ntuples.inplace import BranchType, InPlace, keys, layout
from nntrainer.ntuples.inplace.baskets import Baskets
from nntrainer.ntuples.inplace.branch import IO_FEATURES, Versions, branch_item
from nntrainer.ntuples.inplace.clusters import Clusters
from nntrainer.ntuples.inplace.compression import decompress
from nntrainer.ntuples.inplace.fields import BYTE_COUNT, I32, TOBJECT, U16, U32, counted, packed_string
from nntrainer.ntuples.inplace.layout import RootFile
from nntrainer.ntuples.inplace.streamers import missing_blobs, with_infos
from nntrainer.ntuples.inplace.walk import CLASS, NEW_CLASS

SAMPLES = ["uproot-sample-5.30.00-zlib", "uproot-sample-6.16.00-lz4"]
# What ends the record of a tree that has nothing there: fAliases, two empty arrays, five null pointers.
EMPTY_TAIL = b"\0" * 28


class Tail:
    """Streams objects one behind the other, with tags that count from the key of their record."""

    def __init__(self, start: int, keylen: int) -> None:
        self.data = b""
        self.start = start + keylen + 2
        self.classes: dict[bytes, int] = {}

    @property
    def here(self) -> int:
        return self.start + len(self.data)

    def open(self, kind: bytes) -> int:
        """Begin an object and return its tag."""
        tag = self.here
        self.data += U32.pack(0)
        if kind in self.classes:
            self.data += U32.pack(CLASS | self.classes[kind])
        else:
            self.classes[kind] = self.here
            self.data += U32.pack(NEW_CLASS) + kind + b"\0"
        return tag

    def close(self, tag: int) -> None:
        """Put in the byte count of an object."""
        at = tag - self.start
        self.data = self.data[:at] + U32.pack(BYTE_COUNT | (len(self.data) - at - 4)) + self.data[at + 4 :]

    def named(self, name: bytes, title: bytes) -> int:
        tag = self.open(b"TNamed")
        self.data += counted(U16.pack(1), TOBJECT, packed_string(name), packed_string(title))
        self.close(tag)
        return tag

    def list_of(self, *items: Any) -> int:
        """Stream a TList of what the items stream, tags (numbers) or objects (functions)."""
        tag = self.open(b"TList")
        inside = len(self.data)
        self.data += U32.pack(0) + U16.pack(5) + TOBJECT + packed_string(b"list") + I32.pack(len(items))
        for item in items:
            if callable(item):
                item()
            else:
                self.data += U32.pack(item)
            self.data += b"\0"
        count = U32.pack(BYTE_COUNT | (len(self.data) - inside - 4))
        self.data = self.data[:inside] + count + self.data[inside + 4 :]
        self.close(tag)
        return tag


def rich_tail(start: int, keylen: int, branch: int, leaf: int) -> bytes:
    """Return the end of a tree with aliases, an index, and user info: nested, shared, and pointing at branches."""
    tail = Tail(start, keylen)
    shared: list[int] = []
    tail.list_of(lambda: tail.named(b"pt", b"sqrt(px*px+py*py)"), lambda: tail.named(b"twice", b"2*n"))
    tail.data += I32.pack(2) + np.array([1.5, 2.5], ">f8").tobytes()  # fIndexValues
    tail.data += I32.pack(2) + np.array([1, 0], ">i4").tobytes()  # fIndex
    tail.data += U32.pack(0) * 2  # fTreeIndex, fFriends

    def inner() -> None:
        tail.list_of(lambda: shared.append(tail.named(b"shared", b"by two lists")), branch, leaf)

    def text() -> None:
        tag = tail.open(b"TObjString")
        tail.data += counted(U16.pack(1), TOBJECT, packed_string(b"a text"))
        tail.close(tag)

    def again() -> None:
        tail.data += U32.pack(shared[0])

    tail.list_of(inner, text, again, 1, lambda: tail.named(b"last", b""))
    branch_ref(tail, branch)
    return tail.data


def branch_ref(tail: Tail, branch: int) -> None:
    """Stream a TBranchRef with a TRefTable, whose parents are branches and whose owner is the tree."""
    # A TBranch as this package writes it, without entries: what it has behind `class TBranch`.
    baskets = Baskets(None, b"t", b"TRefTable", BranchType(np.dtype("i4")), 0, Clusters(()))  # type: ignore[arg-type]
    item, _ = branch_item(baskets, Versions(13, 2, IO_FEATURES), 1)
    plain = item[8 + len(b"TBranch\0") :]
    tag = tail.open(b"TBranchRef")
    head = tail.here
    tail.data += U32.pack(0) + U16.pack(1) + plain
    inner = tail.open(b"TRefTable")
    body = tail.here
    tail.data += U32.pack(0) + U16.pack(3) + TOBJECT + I32.pack(0)
    parents = tail.open(b"TObjArray")
    items = U32.pack(branch) + U32.pack(0)
    tail.data += counted(U16.pack(3), TOBJECT, b"\0", I32.pack(2), I32.pack(0), items)
    tail.close(parents)
    tail.data += U32.pack(1)
    tail.data += counted(U16.pack(9), I32.pack(1), packed_string(b"a-guid"))
    for at in (inner, body, tag, head):
        tail.close(at)


def with_tail(source: Path, target: Path, make: Any) -> None:
    """Write a file whose tree ``sample`` has another end, made of position, key length, and tags of branch and leaf."""
    shutil.copyfile(source, target)
    with InPlace(target) as file:
        tree = file.tree("sample")
        record = tree.record
        branch = record.walk.objects[record.branches.items[1]]
        leaf = next(node for node in record.walk.objects.values() if node.kind.startswith("TLeaf"))
        assert record.data.endswith(EMPTY_TAIL)
        body = record.data[: -len(EMPTY_TAIL)]
        origin = tree.key.keylen + 2
        end = make(len(body), tree.key.keylen, branch.start + origin, leaf.start + origin)
        data = U32.pack(BYTE_COUNT | (len(body) + len(end) - 4)) + body[4:] + end
        root = file._file.root_directory()
        key, infos = file._info_record or (tree.key, b"")
        classes = [
            ("TBranchRef", 1),
            ("TRefTable", 3),
            ("TBranch", 13),
            ("ROOT::TIOFeatures", 1),
            ("TLeafI", 1),
            ("TObjString", 1),
        ]
        infos = with_infos(infos, missing_blobs(file._infos or {}, classes))
        info = file._file.append(key, infos, len(infos))
        placed = file._file.append(tree.key, data, len(data))
        file._file.commit([(root, file._file.replace_keys(root, {tree.place: placed}))], info)


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("big", [False, True], ids=["32", "64"])
def test_what_follows_the_branches_is_re_based(
    name: str,
    big: bool,
    real_files: Path,
    tmp_path: Path,
    checker: Any,
    jsroot: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rich = tmp_path / "rich.root"
    with_tail(real_files / f"{name}.root", rich, rich_tail)
    if big:
        force_64_bit(monkeypatch)
    new = {"nn": np.arange(30, dtype="f4"), "nn2": np.arange(60, dtype="i8").reshape(30, 2)}
    target = checker.add(rich, "sample", new)
    with uproot.open(rich) as one, uproot.open(target) as other:
        before, after = one["sample"], other["sample"]
        assert after.aliases == before.aliases == {"pt": "sqrt(px*px+py*py)", "twice": "2*n"}
    # uproot stops before the user info; that JSROOT finds the same in both files, the checker has seen.
    (found,) = jsroot((target, "sample"), only=["nn"])
    inner, text, again, itself, last = found["tail"]["fUserInfo"]["arr"]
    shared, branch, leaf = inner["arr"]
    assert (shared["fName"], last["fName"], text["fString"]) == ("shared", "last", "a text")
    assert again.startswith("object ") and itself == "the tree"
    assert branch.startswith("TBranch ") and leaf.startswith("TLeaf")
    table = found["tail"]["fBranchRef"]["fRefTable"]
    assert table["fParents"]["arr"] == [branch, None] and table["fOwner"] == "the tree"
    # And a second time, and with a branch in front of it unhooked.
    checker.add(target, "sample", {"more": np.zeros(30, "f4")})
    checker.add(target, "sample", {"nn": np.ones(30, "f4")}, overwrite=True)


def force_64_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every new key a 64-bit one, as beyond 2 GB."""
    monkeypatch.setattr(keys, "BIG_FILE", 50)


@pytest.mark.parametrize("name", ["uproot-HZZ-objects", "uproot-Zmumu", "uproot-sample-6.08.04-lzma"])
def test_64_bit_keys(name: str, real_files: Path, checker: Any, helpers: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    force_64_bit(monkeypatch)
    source = real_files / f"{name}.root"
    for tree in helpers.trees(source):
        with uproot.open(source) as file:
            entries = file[tree].num_entries
        target = checker.add(source, tree, {"nn": np.arange(entries, dtype="f4")})
        with uproot.open(target) as file:
            assert file.file.fVersion >= 1_000_000
        monkeypatch.undo()
        checker.add(target, tree, {"n2": np.arange(entries, dtype="f4")})


def test_what_cannot_be_walked_is_refused_where_it_matters(real_files: Path, tmp_path: Path) -> None:
    def unknown(start: int, keylen: int, branch: int, leaf: int) -> bytes:
        tail = Tail(start, keylen)
        tail.data += U32.pack(0) + I32.pack(0) * 2 + U32.pack(0) * 2
        tag = tail.open(b"MyOwnInfo")
        tail.data += counted(U16.pack(7), b"whatever")
        tail.close(tag)
        tail.data += U32.pack(0)
        return tail.data

    path = tmp_path / "unknown.root"
    with_tail(real_files / f"{SAMPLES[0]}.root", path, unknown)
    before = path.read_bytes()
    with pytest.raises(InPlaceError, match=r"unknown.root: tree 'sample': .*MyOwnInfo version 7.*--mode friend"):
        add_branches(path, "sample", {"nn": np.zeros(30, "f4")})
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", [*SAMPLES, "uproot-HZZ", "uproot-Zmumu", "nanoAOD_2015_CMS_Open_Data_ttbar"])
def test_any_branch_gives_way(name: str, real_files: Path, tmp_path: Path, plain_checker: Any, helpers: Any) -> None:
    """Also the first one, which introduces the classes of all others, and the last one."""
    source = real_files / f"{name}.root"
    (tree,) = helpers.trees(source)
    with uproot.open(source) as file:
        branches = file[tree].branches
        entries = file[tree].num_entries
        leaves = [leaf for branch in branches for leaf in branch.member("fLeaves")]
        counters = {leaf.member("fLeafCount").member("fName") for leaf in leaves if leaf.member("fLeafCount")}
        names = [branch.name for branch in branches]
        totals = {branch.name: branch.member("fTotBytes") for branch in branches}
        total = file[tree].member("fTotBytes")
    for old in (names[0], names[1], names[-1]):
        new = {old: np.arange(entries, dtype="f4")}
        target = plain_checker.copy(source)
        if old in counters:
            with pytest.raises(InPlaceError, match=f"something else in the tree needs branch '{old}'"):
                add_branches(target, tree, new, overwrite=True)
            continue
        add_branches(target, tree, new, overwrite=True)
        plain_checker.check(source, target, tree, new)
        with uproot.open(target) as file:
            changed = file[tree]
            assert len(changed.branches) == len(names)
            assert changed.member("fTotBytes") == total - totals[old] + changed[old].member("fTotBytes")
            assert len(changed.member("fLeaves")) == sum(len(b.member("fLeaves")) for b in all_branches(changed))


def all_branches(tree: Any) -> list[Any]:
    return list(tree.itervalues())


def test_the_key_list_takes_no_less_room_than_before(real_files: Path, tmp_path: Path) -> None:
    """Until its place is written, too, the old list is read with the new length."""
    path = tmp_path / "f.root"
    shutil.copyfile(real_files / "uproot-Zmumu.root", path)
    with RootFile(path) as file:
        old = file.root_directory()
        assert file.replace_keys(old, {}).nbytes_keys >= old.nbytes_keys


@pytest.mark.parametrize("at", [0, 4070, 4078, 4082])
def test_a_directory_header_across_a_page_is_written_in_two_steps(at: int) -> None:
    fields = {"created": 0, "modified": 0, "nbytes_name": 9, "parent": 0, "seek": 9}
    old = layout.Directory(at=at, room=60, version=5, nbytes_keys=50, seek_keys=1000, **fields)
    new = replace(old, seek_keys=5000, nbytes_keys=70)
    writes = RootFile._directory_bytes(None, old, new)  # type: ignore[arg-type]
    assert len(writes) == (2 if at // 4096 != (at + 29) // 4096 else 1)
    assert b"".join(data for _, data in writes) == new.pack()


def test_decompressing_takes_no_more_than_there_is() -> None:
    with pytest.raises(InPlaceError, match="damaged"):
        decompress(b"ZL\x08" + b"\x03\0\0" + b"\xff\xff\xff" + b"abc", 0xFFFFFF)
    with pytest.raises(InPlaceError, match="limit"):
        decompress(b"abc", 2**31)
    with pytest.raises(InPlaceError, match="unknown method"):
        decompress(b"CS\x08" + b"\x03\0\0" + b"\x09\0\0" + b"abc", 9)
