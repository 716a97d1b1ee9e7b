"""Finding, opening and streaming ntuples, and what is said about bad ones."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot

from nntrainer.errors import InputError
from nntrainer.files import expand
from nntrainer.ntuples.reader import identity, iterate, list_trees, open_tree

N = 10
ODD = {"x": 0, "x-1": 100, "x*": 200, "sum(x)": 300, "Jets:pt": 400}
"""Names that uproot would take for formulas or patterns, and what their values start at."""


def odd(kind: str) -> dict[str, int]:
    """Return ODD; a TTree may also have dots, which in an RNTuple are between a field and its parts."""
    return ODD | ({"Jets.pt": 500} if kind == "TTree" else {})


def write(path: Path, kind: str = "TTree", tree: str = "t", n: int = N) -> Path:
    """Write a tree with strange names, a jagged branch, a matrix and a text."""
    branches = {name: np.arange(n, dtype=np.int64) + first for name, first in odd(kind).items()}
    branches["jagged"] = ak.unflatten(np.arange(n * (n - 1) // 2, dtype=np.float32), np.arange(n))
    branches["matrix"] = np.arange(2 * n, dtype=np.float32).reshape(n, 2)
    with uproot.recreate(path) as file:
        (file.mktree if kind == "TTree" else file.mkrntuple)(tree, branches)
    return path


@pytest.fixture(params=["TTree", "RNTuple"])
def ntuple(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(write(tmp_path / "n.root", request.param))


def test_expand(tmp_path: Path) -> None:
    for name in ("b.root", "a.root", "sub.root/c.root"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    a, b, remote = str(tmp_path / "a.root"), str(tmp_path / "b.root"), "root://host:1094//eos/*.root"
    assert expand([str(tmp_path / "*.root")]) == [a, b]
    assert expand([b, remote, str(tmp_path / "*.root")]) == [b, remote, a]
    with pytest.raises(InputError, match=r"aa\.root'.*Did you mean 'a\.root'"):
        expand([a, str(tmp_path / "aa.root")])
    with pytest.raises(InputError, match=r"directory .*nowhere does not exist"):
        expand([str(tmp_path / "nowhere" / "a.root")])


def test_identity_is_of_the_content(tmp_path: Path) -> None:
    path = write(tmp_path / "a.root")
    copy = shutil.copy(path, tmp_path / "b.root")
    assert identity(str(copy)).key() == identity(str(path)).key()
    before = identity(str(path))
    assert before.as_dict()["size"] == path.stat().st_size
    assert identity(str(write(path))).key() != before.key()


def test_a_colon_is_part_of_the_path(tmp_path: Path) -> None:
    assert list_trees(str(write(tmp_path / "run:12.root"))) == ["t"]


def test_trees_in_directories_without_cycles(tmp_path: Path) -> None:
    path = str(write(tmp_path / "n.root", tree="systematics/up"))
    with uproot.update(path) as file:
        file.mktree("systematics/up", {"y": np.zeros(3)})
        file.mkrntuple("other", {"y": np.zeros(3)})
    assert sorted(list_trees(path)) == ["other", "systematics/up"]
    with open_tree(path, "systematics/up") as tree:
        assert tree.branches == ["y"]
    with open_tree(path, "other") as tree:
        assert (tree.kind, tree.entries) == ("RNTuple", 3)


def test_names_are_names(ntuple: str) -> None:
    with open_tree(ntuple, "t") as tree:
        names = odd(tree.kind)
        assert set(tree.branches) >= {*names, "jagged", "matrix"}
        found = tree.read([*names, "jagged", "matrix"], 2, 6)
    assert list(found) == [*names, "jagged", "matrix"]
    for name, first in names.items():
        assert isinstance(found[name], np.ndarray)
        assert found[name].tolist() == list(range(first + 2, first + 6)), name
    assert ak.to_list(ak.num(found["jagged"])) == [2, 3, 4, 5]
    assert ak.to_list(found["matrix"])[0] == [4, 5]


def test_the_branch_of_a_parent_is_another_one(real_files: Path) -> None:
    with open_tree(str(real_files / "uproot-issue434.root"), "E") as tree:
        assert "Evt/AAObject/TObject/fBits" in tree.branches
        with pytest.raises(InputError, match="no branch 'fBits'"):
            tree.read(["fBits"], 0, 0)


@pytest.mark.parametrize("chunk", [1, 4, 10, 99])
def test_iterate(ntuple: str, chunk: int) -> None:
    parts = list(iterate(ntuple, "t", ["x", "jagged"], chunk))
    assert [(start, stop) for start, stop, _ in parts] == [(i, min(i + chunk, N)) for i in range(0, N, chunk)]
    assert np.concatenate([part["x"] for _, _, part in parts]).tolist() == list(range(N))
    assert ak.to_list(ak.num(ak.concatenate([part["jagged"] for _, _, part in parts]))) == list(range(N))


@pytest.mark.parametrize("chunk", [1, 3, 5, 7, 30, 45, 200])
@pytest.mark.parametrize("kind", ["TTree", "RNTuple"])
def test_chunks_end_where_baskets_do(tmp_path: Path, kind: str, chunk: int) -> None:
    path, steps = str(tmp_path / "t.root"), [10, 40, 10, 25, 15]
    with uproot.recreate(path) as file:
        tree = (file.mktree if kind == "TTree" else file.mkrntuple)("t", {"x": "int32", "y": "float64"})
        for step in steps:
            tree.extend({"x": np.arange(step, dtype=np.int32), "y": np.zeros(step)})
    with open_tree(path, "t") as tree:
        spans = list(tree.spans(chunk, ["x", "y"]))
    edges = [0, *np.cumsum(steps)]
    assert [start for start, _ in spans] == [0, *(stop for _, stop in spans[:-1])] and spans[-1][1] == 100
    assert all(stop - start <= 2 * chunk for start, stop in spans)
    for start, stop in spans[:-1]:
        near = [edge for edge in edges if start + chunk / 2 <= edge <= start + 2 * chunk]
        assert stop in near if near else stop == start + chunk


def test_an_empty_tree_has_no_chunk(tmp_path: Path) -> None:
    path = tmp_path / "empty.root"
    with uproot.recreate(path) as file:
        file.mktree("t", {"x": "float32"})
    assert list(iterate(str(path), "t", ["x"], 10)) == []


def test_all_missing_branches_at_once(ntuple: str) -> None:
    with open_tree(ntuple, "t") as tree, pytest.raises(InputError) as error:
        tree.read(["x", "jaged", "zzz", "Jets:pd"], 0, 1)
    said = str(error.value)
    assert said.startswith(f"{ntuple}: tree 't' has no branches 'jaged'")
    assert "Did you mean 'jagged'?" in said and "'zzz'" in said and "Did you mean 'Jets:pt'?" in said


def test_wrong_tree(ntuple: str) -> None:
    with pytest.raises(InputError, match=r"there is no tree 'tt'; it has 't'"), open_tree(ntuple, "tt"):
        pass


def test_two_branches_of_one_name(tmp_path: Path) -> None:
    path = tmp_path / "twice.root"
    with uproot.recreate(path, compression=None) as file:
        file.mktree("t", {"xxa": np.zeros(3), "xxb": np.ones(3), "y": np.ones(3)})
    path.write_bytes(path.read_bytes().replace(b"xxb", b"xxa"))
    with open_tree(str(path), "t") as tree:
        assert tree.branches == ["xxa", "y"]
        assert tree.read(["y"], 0, 3)["y"].tolist() == [1, 1, 1]
        with pytest.raises(InputError, match="several branches 'xxa'"):
            tree.read(["xxa"], 0, 3)


def test_a_damaged_branch_is_named(tmp_path: Path) -> None:
    path = tmp_path / "damaged.root"
    with uproot.recreate(path, compression=uproot.ZLIB(1)) as file:
        file.mktree("t", {"good": np.arange(999), "bad": np.arange(999)})
    with uproot.open(path) as file:
        branch = file["t"]["bad"]
        end = int(branch.member("fBasketSeek")[0] + branch.member("fBasketBytes")[0])
    data = bytearray(path.read_bytes())
    data[end - 200 : end] = b"\xff" * 200
    path.write_bytes(data)
    with open_tree(str(path), "t") as tree:
        assert tree.read(["good"], 0, 999)["good"].sum() == 999 * 998 // 2
        with pytest.raises(InputError, match=r"damaged\.root: branch 'bad' of tree 't', int64_t, cannot be read"):
            tree.read(["good", "bad"], 0, 999)


@pytest.mark.parametrize("content", [b"", b"hello" * 99, b"root" * 99], ids=["empty", "text", "root only in name"])
def test_not_root(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.root"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"x\.root: not a "):
        list_trees(str(path))


def test_no_such_file_and_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"y\.root: no such file"):
        identity(str(tmp_path / "y.root"))
    with pytest.raises(InputError, match="cannot be opened"):
        identity(str(tmp_path))


@pytest.mark.parametrize("part", [0.01, 0.3, 0.9, 0.9999])
@pytest.mark.parametrize("name", ["uproot-HZZ.root", "uproot-physlite-rntuple_v1-0-0-0.root"])
def test_truncated(real_files: Path, tmp_path: Path, name: str, part: float) -> None:
    data = (real_files / name).read_bytes()
    path = tmp_path / "cut.root"
    path.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(InputError, match=r"cut\.root: .*truncated"):
        list_trees(str(path))


@pytest.mark.parametrize(
    "name", ["uproot-Zmumu.root", "uproot-sample-6.08.04-lzma.root", "uproot-sample-6.16.00-lz4.root"]
)
def test_damage_anywhere_is_a_sentence(real_files: Path, tmp_path: Path, name: str) -> None:
    """Whatever bytes are wrong, either the values come or an InputError, and nothing else."""
    data, chance, refused = (real_files / name).read_bytes(), random.Random(7), 0
    path = tmp_path / "x.root"
    for _ in range(12):
        damaged = bytearray(data)
        for _ in range(30):
            damaged[chance.randrange(4, len(data))] = chance.randrange(256)
        path.write_bytes(damaged)
        try:
            for tree in list_trees(str(path)):
                with open_tree(str(path), tree) as opened:
                    opened.read(opened.branches, 0, min(opened.entries, 3000))
        except InputError as error:
            assert str(error).startswith(str(path))
            assert "\n" not in str(error)
            refused += 1
    assert refused


def test_real_kinds(real_files: Path) -> None:
    with open_tree(str(real_files / "uproot-physlite-rntuple_v1-0-0-0.root"), "EventData") as tree:
        assert (tree.kind, tree.entries) == ("RNTuple", 100)
        found = tree.read(["xTrigDecisionAux:.smk", "AnalysisJetsAuxDyn:pt"], 0, 100)
    assert found["xTrigDecisionAux:.smk"].shape == (100,)
    assert found["AnalysisJetsAuxDyn:pt"].ndim == 2
    with open_tree(str(real_files / "uproot-HZZ.root"), "events") as tree:
        assert (tree.kind, tree.entries, len(tree.branches)) == ("TTree", 2421, 51)
