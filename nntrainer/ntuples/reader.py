"""Read ntuples: find files, open trees, stream chunks of branches."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np

from nntrainer.errors import InputError, MissingDependencyError, nearest, one_of
from nntrainer.files import is_remote
from nntrainer.threads import pool

ATTEMPTS = 3
BACKOFF_S = 0.5
T = TypeVar("T")

# XRootD's own values keep an unreachable server waited for over ten minutes. Its fork handler waits, with Python's lock
# held, for threads that want that lock: a process started later with fork hangs. XRD_* environment variables win.
XROOTD = {"ConnectionWindow": 10, "ConnectionRetry": 1, "StreamErrorWindow": 0, "RunForkHandler": 0}


@dataclass(frozen=True)
class FileIdentity:
    """What tells two versions of a file apart; the time of change is for people, not for comparison."""

    path: str
    size: int
    uuid: str
    mtime_ns: int | None

    def as_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)

    def key(self) -> str:
        """Return what means "the same input"."""
        return f"{self.uuid}:{self.size}"


def _attempt(
    path: str, work: Callable[[], T], what: str = "not a readable ROOT file, perhaps truncated or damaged"
) -> T:
    """Call ``work``, several times for remote files, and turn what goes wrong into a sentence."""
    attempts = ATTEMPTS if is_remote(path) else 1
    for attempt in range(1, attempts + 1):
        try:
            return work()
        except InputError:
            raise
        except ImportError as error:
            raise MissingDependencyError(
                f"{path}: reading it needs the package '{error.name or str(error).split()[-1]}'; "
                "`pip install 'nntrainer[ntuples]'` brings it"
            ) from None
        except Exception as error:  # on damaged bytes uproot and the decompressors raise anything at all
            problem = error
        if is_remote(path):
            _let_go(path)
        if attempt < attempts:
            time.sleep(BACKOFF_S * 2 ** (attempt - 1))
    reason = (str(problem).strip().splitlines() or [type(problem).__name__])[0][:160]
    if is_remote(path):
        raise InputError(f"{path}: cannot be read after {attempts} attempts: {reason}")
    raise InputError(f"{path}: {what} ({reason})")


def _let_go(path: str) -> None:
    """Drop the connection that failed: the next attempt opens the file anew, and none is closed in vain at exit."""
    from fsspec.core import url_to_fs

    with suppress(Exception):  # that a dead connection cannot be closed is no news
        system, inside = url_to_fs(path)
        system.invalidate_cache(inside)


def _check_local(path: str) -> None:
    """Refuse what is no ROOT file before uproot says so less clearly."""
    try:
        size = os.path.getsize(path)
        with open(path, "rb") as handle:
            magic = handle.read(4)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be opened: {error.strerror}") from None
    if size < 64:
        raise InputError(f"{path}: not a ROOT file; it has {size} bytes")
    if magic != b"root":
        raise InputError(f"{path}: not a ROOT file; it does not begin with 'root'")


def _set_patience() -> None:
    from XRootD.client.env import EnvPutInt

    for name, value in XROOTD.items():
        EnvPutInt(name, value)


@contextmanager
def _opened(path: str) -> Iterator[Any]:
    import uproot

    from nntrainer.ntuples.local import LocalSource

    if not is_remote(path):
        _check_local(path)
    elif path.startswith("root"):
        _attempt(path, _set_patience)
    how = {} if is_remote(path) else {"handler": LocalSource}
    file = _attempt(path, lambda: uproot.open({path: None}, **how))  # as a key, a colon in it is part of the path
    try:
        if not is_remote(path) and (size := os.path.getsize(path)) < file.file.fEND:
            raise InputError(f"{path}: truncated; its header speaks of {file.file.fEND:,} bytes and {size:,} are there")
        yield file
    finally:
        file.close()


def identity(path: str) -> FileIdentity:
    """Return size and UUID of a ROOT file.

    Args:
        path: the file.

    Returns:
        The identity.

    Raises:
        InputError: it cannot be read.
    """
    with _opened(path) as file:
        source = file.file
        size = int(source.source.num_bytes) if is_remote(path) else os.path.getsize(path)
        mtime = None if is_remote(path) else os.stat(path).st_mtime_ns
        return FileIdentity(path, size, str(source.uuid), mtime)


def _kinds(file: Any) -> dict[str, str]:
    """Return the class of every tree by path without cycle."""
    classes = file.classnames(recursive=True, cycle=False)
    return {
        name: kind
        for name, kind in classes.items()
        if kind.startswith(("TTree", "TNtuple", "TChain")) or "RNTuple" in kind
    }


def list_trees(path: str) -> list[str]:
    """Return the names of all TTrees and RNTuples of a file, without cycles.

    Args:
        path: the file.

    Returns:
        The names, with directories.

    Raises:
        InputError: the file cannot be read.
    """
    with _opened(path) as file:
        return list(_attempt(path, lambda: _kinds(file)))


class NtupleTree:
    """An open TTree or RNTuple.

    Args:
        path: the file.
        name: the tree's name.
        kind: its class in the file.
        handle: what uproot opened.

    Attributes:
        path: the file.
        name: the tree's name.
        kind: ``TTree`` or ``RNTuple``.
        entries: number of entries.
        branches: names of all branches.
    """

    def __init__(self, path: str, name: str, kind: str, handle: Any) -> None:
        self.path = path
        self.name = name
        self.kind = "RNTuple" if "RNTuple" in kind else "TTree"
        self.handle = handle
        self.entries = int(handle.num_entries)
        # Looked up by whole name: uproot would take 'x' for 'parent/x' and '*' for a pattern.
        pairs = handle.items()
        self._branches: dict[str, Any] = dict(pairs)
        self._several = {each for each, count in Counter(each for each, _ in pairs).items() if count > 1}
        self.branches: list[str] = list(self._branches)

    def require(self, names: Sequence[str]) -> None:
        """Check that branches exist.

        Args:
            names: exact names.

        Raises:
            InputError: some do not, and all are named, each with the nearest that does; or there are two of a name.
        """
        there = self._branches
        missing = [name for name in names if name not in there]
        if missing:
            listed = " ".join(f"'{name}'{'.' + near if (near := nearest(name, there)) else '.'}" for name in missing)
            word = "branch" if len(missing) == 1 else "branches"
            raise InputError(f"{self.path}: tree '{self.name}' has no {word} {listed}")
        for name in names:
            if name in self._several:
                raise InputError(f"{self.path}: tree '{self.name}' has several branches '{name}'; rename one of them")

    def spans(self, chunk_events: int, names: Sequence[str] = ()) -> Iterator[tuple[int, int]]:
        """Yield chunks, together all entries.

        A chunk ends where baskets (or clusters) do if that makes it at least half and at most twice as long as asked
        for: a basket that two chunks need is decompressed twice.

        Args:
            chunk_events: entries in a chunk.
            names: the branches that will be read and whose baskets count; if there are none, all chunks are as asked.

        Yields:
            First entry and entry after the last of each chunk.
        """
        edges = self._edges(names)
        start = 0
        while start < self.entries:
            near = edges[(edges >= start + chunk_events / 2) & (edges <= start + 2 * chunk_events)]
            best = int(near[np.argmin(abs(near - start - chunk_events))]) if len(near) else start + chunk_events
            stop = min(best, self.entries)
            yield start, stop
            start = stop

    def _edges(self, names: Sequence[str]) -> np.ndarray:
        """Return where baskets of all branches end."""
        if names and self.kind == "RNTuple":
            clusters = self.handle.ntuple.cluster_summaries
            return np.array([each.num_first_entry + each.num_entries for each in clusters], np.int64)
        edges = [self._branches[name].entry_offsets for name in names if name in self._branches]
        return np.array(sorted(set(edges[0]).intersection(*edges[1:])) if edges else [], np.int64)

    def read(self, names: Sequence[str], start: int, stop: int) -> dict[str, Any]:
        """Read branches.

        Args:
            names: exact names.
            start: first entry.
            stop: entry after the last one.

        Returns:
            Arrays by name: NumPy where a branch has one number an event, awkward otherwise.

        Raises:
            InputError: a branch is missing or cannot be read.
        """
        self.require(names)
        read = partial(self._read, start=start, stop=stop)
        # uproot reads RNTuples by state that branches share, and connections fail by themselves.
        together = self.kind == "TTree" and not is_remote(self.path)
        return dict(zip(names, (pool().map if together else map)(read, names), strict=True))

    def _read(self, name: str, start: int, stop: int) -> Any:
        branch = self._branches[name]
        # Without uproot's cache: nothing is read twice here.
        read = partial(_array, branch, entry_start=start, entry_stop=stop, array_cache=None)
        kind = " ".join(str(branch.typename).split())
        return _attempt(self.path, read, f"branch '{name}' of tree '{self.name}', {kind}, cannot be read")


def _array(branch: Any, **how: Any) -> Any:
    """Return a branch as NumPy where it has one number an event, as awkward array otherwise."""
    import awkward
    import uproot

    meaning = getattr(branch, "interpretation", None)  # which RNTuples do not have
    if isinstance(meaning, uproot.AsDtype) and not meaning.to_dtype.shape and meaning.to_dtype.kind in "biuf":
        return branch.array(library="np", **how)
    array = branch.array(library="ak", **how)
    # Strings, too, are one-dimensional but have parameters.
    flat = array.ndim == 1 and not awkward.parameters(array) and not awkward.fields(array)
    return awkward.to_numpy(array) if flat else array


@contextmanager
def open_tree(path: str, tree: str) -> Iterator[NtupleTree]:
    """Open a tree for reading.

    Args:
        path: the file.
        tree: its name, with directories if it lies in one.

    Yields:
        The tree.

    Raises:
        InputError: the file cannot be read, or has no such tree.
    """
    with _opened(path) as file:
        kinds = _attempt(path, lambda: _kinds(file))
        if tree not in kinds:
            has = f"it has {one_of(kinds)}" if kinds else "it has none"
            raise InputError(f"{path}: there is no tree '{tree}'; {has}.{nearest(tree, kinds)}")
        handle = _attempt(path, lambda: file[tree])
        yield _attempt(path, lambda: NtupleTree(path, tree, kinds[tree], handle))


def iterate(path: str, tree: str, names: Sequence[str], chunk_events: int) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """Stream a tree in chunks; memory is bounded by the chunk.

    Args:
        path: the file.
        tree: the tree's name.
        names: exact names of branches.
        chunk_events: largest number of entries in a chunk.

    Yields:
        First entry, entry after the last, arrays by name.
    """
    with open_tree(path, tree) as source:
        for start, stop in source.spans(chunk_events):
            yield start, stop, source.read(names, start, stop)
