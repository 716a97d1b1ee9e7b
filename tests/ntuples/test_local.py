"""How uproot reads a file on this machine."""

import queue
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import uproot

from nntrainer.ntuples.local import LocalSource
from nntrainer.ntuples.reader import open_tree

SIZE = 1 << 20


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "bytes"
    path.write_bytes(np.random.default_rng(1).bytes(SIZE))
    return path


def test_threads_that_read_at_once_get_their_own_bytes(file: Path) -> None:
    whole = file.read_bytes()
    starts = np.random.default_rng(2).integers(0, SIZE - 1000, 500)
    with LocalSource(str(file)) as source, ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda start: bytes(source.chunk(start, start + 1000).raw_data), starts))
    assert found == [whole[start : start + 1000] for start in starts]
    assert source.closed


def test_pieces_come_in_order_and_each_is_told(file: Path) -> None:
    whole = file.read_bytes()
    told: queue.Queue = queue.Queue()
    with LocalSource(str(file)) as source:
        pieces = source.chunks([(5, 9), (0, 3)], notifications=told)
        assert [bytes(each.raw_data) for each in pieces] == [whole[5:9], whole[:3]]
        assert told.qsize() == 2
        assert (source.num_requested_bytes, source.num_bytes) == (7, SIZE)


@pytest.mark.parametrize("span", [(SIZE - 4, SIZE + 4), (SIZE + 10, SIZE + 20), (0, 1 << 60)])
def test_what_lies_behind_the_end_is_missed_and_not_waited_for(file: Path, span: tuple[int, int]) -> None:
    with LocalSource(str(file)) as source, pytest.raises(OSError, match="expected Chunk of length"):
        source.chunk(*span).wait()


def test_trees_are_read_by_it(tmp_path: Path) -> None:
    path = tmp_path / "a.root"
    values = np.arange(1000, dtype=np.float32)
    with uproot.recreate(path) as written:
        written.mktree("t", {"x": np.float32, "pair": np.dtype((np.int32, (2,)))})
        written["t"].extend({"x": values, "pair": np.arange(2000, dtype=np.int32).reshape(-1, 2)})
    with open_tree(str(path), "t") as tree:
        assert isinstance(tree.handle.file.source, LocalSource)
        read = tree.read(["x", "pair"], 10, 1000)
    assert isinstance(read["x"], np.ndarray) and read["x"].dtype == np.dtype("=f4")
    assert np.array_equal(read["x"], values[10:])
    assert read["pair"].to_list()[0] == [20, 21]
