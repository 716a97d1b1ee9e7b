"""Whatever moment the writing is cut, the file opens, as before or as after."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot

from nntrainer.errors import InPlaceError
from nntrainer.ntuples import add_branches
from nntrainer.ntuples.inplace import InPlace, branch_type, layout, opening
from nntrainer.ntuples.inplace.writer import InPlaceWriter, recover
from nntrainer.ntuples.reader import open_tree

PAGE = 4096
ENTRIES = 30_000


@pytest.fixture
def ntuple(tmp_path: Path) -> Path:
    """A file with a tree in the top directory and one in another, several baskets each."""
    path = tmp_path / "data.root"
    rng = np.random.default_rng(5)
    with uproot.recreate(path, compression=uproot.ZLIB(1)) as file:
        for name in ("nominal", "syst/up"):
            tree = file.mktree(name, {"x": "f4", "v": "2 * int64"})
            for _ in range(3):
                x = rng.normal(size=ENTRIES // 3).astype("f4")
                tree.extend({"x": x, "v": np.stack([np.arange(len(x))] * 2, axis=1)})
    return path


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, bytes]]:
    """What is written to the file, in order."""
    seen: list[tuple[int, bytes]] = []
    real = opening.put

    def put(handle: int, data: bytes, at: int) -> None:
        seen.append((at, bytes(data)))
        real(handle, data, at)

    monkeypatch.setattr(layout, "put", put)
    return seen


def cuts(before: bytes, writes: list[tuple[int, bytes]]) -> Iterator[bytes]:
    """Yield the file as it is after each write, and cut at each boundary of a page in each."""
    state = bytearray(before)
    for at, data in writes:
        inner = range(PAGE - at % PAGE, len(data), PAGE)
        for length in (*inner, len(data)):
            if at + length > len(state):
                state.extend(bytes(at + length - len(state)))
            state[at : at + length] = data[:length]
            yield bytes(state)


def content(path: Path) -> dict[str, dict[str, np.ndarray]]:
    """Return all there is, read by uproot."""
    with uproot.open(path) as file:
        return {
            name: {branch: file[name][branch].array(library="np") for branch in file[name].keys()}  # noqa: SIM118
            for name, kind in file.classnames(cycle=False).items()
            if kind == "TTree"
        }


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(
        one[tree].keys() == other[tree].keys() and all(np.array_equal(one[tree][b], other[tree][b]) for b in one[tree])
        for tree in one
    )


@pytest.mark.parametrize("tree", ["nominal", "syst/up"])
def test_cut_at_every_page(tree: str, ntuple: Path, writes: list[tuple[int, bytes]], tmp_path: Path) -> None:
    before, old = ntuple.read_bytes(), content(ntuple)
    add_branches(ntuple, tree, {"nn": np.random.default_rng(1).random(ENTRIES).astype("f4")})
    new, path = content(ntuple), tmp_path / "cut.root"
    changes = []
    for state in cuts(before, writes):
        path.write_bytes(state)
        found = content(path)
        changes.append(same(found, new))
        assert changes[-1] or same(found, old)
    # Only the last write makes the difference, and there were some.
    assert changes == [False] * (len(changes) - 1) + [True]
    assert len(changes) > 30


def test_cut_and_read_by_another(ntuple: Path, writes: list[tuple[int, bytes]], tmp_path: Path, jsroot: Any) -> None:
    before = ntuple.read_bytes()
    add_branches(ntuple, "syst/up", {"nn": np.arange(ENTRIES, dtype="f4")})
    states = [state for i, state in enumerate(cuts(before, writes)) if i % 7 == 0] + list(cuts(before, writes))[-4:]
    files = []
    for i, state in enumerate(states):
        files.append(tmp_path / f"{i}.root")
        files[-1].write_bytes(state)
    found = jsroot(*((file, "syst/up") for file in files))
    assert [set(each["branches"]) for each in found] == [{"x", "v"}] * (len(files) - 1) + [{"x", "v", "nn"}]
    assert len({each["branches"]["x"]["digest"] for each in found}) == 1


def test_again_after_a_cut(ntuple: Path, writes: list[tuple[int, bytes]], tmp_path: Path) -> None:
    before, new = ntuple.read_bytes(), {"nn": np.arange(ENTRIES, dtype="f4")}
    add_branches(ntuple, "nominal", new)
    states, path = list(cuts(before, writes))[:-1], tmp_path / "cut.root"
    writes.clear()
    for state in (*states[::9], *states[-3:]):
        path.write_bytes(state)
        add_branches(path, "nominal", new)
        assert np.array_equal(content(path)["nominal"]["nn"], new["nn"])


def test_an_error_leaves_the_file_as_it_was(ntuple: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = ntuple.read_bytes()
    real, count = opening.put, 0

    def put(handle: int, data: bytes, at: int) -> None:
        nonlocal count
        count += 1
        if count == 3:
            raise OSError(28, "No space left on device")
        real(handle, data, at)

    monkeypatch.setattr(layout, "put", put)
    with pytest.raises(InPlaceError, match="No space left on device"):
        add_branches(ntuple, "nominal", {name: np.zeros(ENTRIES) for name in "abc"})
    assert ntuple.read_bytes() == before
    monkeypatch.undo()
    with pytest.raises(KeyboardInterrupt), InPlace(ntuple) as file:
        tree = file.tree("nominal")
        tree.begin({"nn": branch_type("nn", np.dtype("f8"), ())})
        tree.extend({"nn": np.zeros(ENTRIES)})
        raise KeyboardInterrupt
    assert ntuple.read_bytes() == before


def replace(path: Path, values: dict[str, np.ndarray]) -> None:
    """Add a branch to several trees as `inject --mode inplace --replace` does."""
    with InPlaceWriter(path, str(path)) as writer:
        for name, array in values.items():
            with open_tree(str(path), name) as tree:
                writer.begin(tree, {"nn": array.dtype})
                for start, stop in tree.spans(7_000):
                    writer.extend(tree, start, stop, {"nn": array[start:stop]})
        writer.note("nn_provenance", "{}")


def test_what_was_overwritten_is_kept_until_it_was_read_back(
    ntuple: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while the headers are written, torn anywhere: the next one finds the file as it was, byte for byte."""
    before, values = ntuple.read_bytes(), {name: np.arange(ENTRIES, dtype="f4") for name in ("nominal", "syst/up")}
    undo, states = opening.undo_path(ntuple), []
    real = opening.put

    def put(handle: int, data: bytes, at: int) -> None:
        if at < len(before):  # a header
            assert undo.exists()
            for length in range(0, len(data) + 1, 5):
                real(handle, data[:length], at)
                states.append((ntuple.read_bytes(), undo.read_bytes()))
        real(handle, data, at)

    monkeypatch.setattr(layout, "put", put)
    replace(ntuple, values)
    monkeypatch.undo()
    assert not undo.exists()
    assert all(np.array_equal(content(ntuple)[name]["nn"], values[name]) for name in values)
    assert len(states) > 20
    for file, kept in states:
        ntuple.write_bytes(file)
        undo.write_bytes(kept)
        assert recover(ntuple)
        assert ntuple.read_bytes() == before
        assert not undo.exists()
    assert not recover(ntuple)


def test_what_is_not_read_back_as_written_is_taken_back(ntuple: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = ntuple.read_bytes()
    monkeypatch.setattr("nntrainer.ntuples.inplace.baskets.compress", lambda data, code: b"\0" * len(data))
    with pytest.raises(InPlaceError, match=r"data.root: tree 'nominal': the new branches are not read back as written"):
        replace(ntuple, {"nominal": np.ones(ENTRIES, "f4")})
    assert ntuple.read_bytes() == before
    assert [path.name for path in ntuple.parent.iterdir()] == ["data.root"]


def test_what_something_else_changed_is_not_taken_back(ntuple: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    undo = opening.undo_path(ntuple)
    undo.write_text("{}")
    with pytest.raises(InPlaceError, match=r"data.root.undo: not readable"):
        recover(ntuple)
    undo.unlink()

    def killed(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(InPlaceWriter, "_verify", killed)
    monkeypatch.setattr("nntrainer.ntuples.inplace.writer.restore", lambda path, undo: None)
    with pytest.raises(KeyboardInterrupt):
        replace(ntuple, {"nominal": np.ones(ENTRIES, "f4")})
    monkeypatch.undo()
    with uproot.update(ntuple) as file:
        file["text"] = "by another"
    changed = ntuple.read_bytes()
    with pytest.raises(InPlaceError, match=r"data.root: changed by something else since .*undo was kept"):
        recover(ntuple)
    assert ntuple.read_bytes() == changed
