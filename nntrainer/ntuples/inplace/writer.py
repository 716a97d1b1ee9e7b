"""Scores into ntuples in place: on a copy made first, or on the ntuple itself."""

from __future__ import annotations

import os
import shutil
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from nntrainer.errors import InPlaceError, InputError
from nntrainer.files import is_remote
from nntrainer.ntuples.inplace.add import InPlace, TreeBranches
from nntrainer.ntuples.inplace.baskets import branch_type
from nntrainer.ntuples.inplace.opening import restore, undo_path
from nntrainer.ntuples.reader import NtupleTree, open_tree

VERIFY_EVENTS = 500_000
COPY_BYTES = 1 << 30


@dataclass
class _Written:
    """What a tree was given: entries, and for each branch a checksum of its values."""

    types: Mapping[str, np.dtype[Any]]
    entries: int = 0
    checksums: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, values: np.ndarray) -> None:
        """Take the checksum of further values."""
        plain = np.ascontiguousarray(values, self.types[name])
        self.checksums[name] = zlib.crc32(plain.data.cast("B") if len(plain) else b"", self.checksums.get(name, 0))


class InPlaceWriter:
    """Branches in the ntuple: everything else in the file stays byte for byte what it was.

    A copy is changed aside and gets its name when it is complete and was read back. The ntuple itself is changed with
    the overwritten bytes kept beside it (``<name>.undo``) until the new branches were read back; whatever goes wrong,
    it is made what it was, and if the process is killed, the next one does so (:func:`recover`).

    Args:
        path: the file to write: a new one, or the ntuple.
        source: the ntuple.
        overwrite: unhook branches of the new names.
    """

    event_id = False

    def __init__(self, path: Path, source: str, overwrite: bool = False) -> None:
        self.path = path
        self.source = source
        self.overwrite = overwrite
        self.replace = not is_remote(source) and path.exists() and path.samefile(source)
        self.part = path if self.replace else path.with_name(path.name + ".part")
        self._file: InPlace | None = None
        self._tree: TreeBranches | None = None
        self._written: dict[str, _Written] = {}

    def __enter__(self) -> Self:
        """Make the copy and open it, or the ntuple.

        Returns:
            The writer.

        Raises:
            InPlaceError: the file cannot be changed in place.
        """
        if is_remote(self.source):
            raise InPlaceError(
                f"{self.source}: --mode inplace needs a file on this machine; copy it here first, or use --mode friend"
            )
        try:
            if not self.replace:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                _copy(self.source, self.part)
            self._file = InPlace(self.part)
        except BaseException as error:
            self._discard()
            if isinstance(error, OSError):
                raise InPlaceError(f"{self.part}: cannot be written: {error.strerror or error}") from None
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Commit, read back and rename; or leave everything as it was after an error."""
        if self._file is None:
            return
        undo = undo_path(self.path) if self.replace else None
        try:
            with self._file as file:
                if kind is None:
                    file.commit(undo, durable=self.replace)
            if kind is None:
                self._verify()
                if self.replace:
                    undo_path(self.path).unlink()
                else:
                    os.replace(self.part, self.path)
        except BaseException:
            if undo is not None and undo.exists():
                restore(self.path, undo)
            raise
        finally:
            self._discard()

    def _discard(self) -> None:
        if not self.replace:
            self.part.unlink(missing_ok=True)

    def begin(self, tree: NtupleTree, branches: Mapping[str, np.dtype[Any]]) -> None:
        """Begin a tree.

        Args:
            tree: the tree.
            branches: the new branches.

        Raises:
            InPlaceError: it is an RNTuple, its record cannot be changed, or it has a branch of a new one's name.
        """
        if self._file is None:
            raise InPlaceError(f"{self.source}: open the writer before a tree")
        self._tree = self._file.tree(tree.name)
        if self._tree.entries != tree.entries:
            raise InPlaceError(f"{self.source}: tree '{tree.name}' changed while it was read; start again")
        self._tree.begin({name: branch_type(name, dtype, ()) for name, dtype in branches.items()}, self.overwrite)
        self._written[tree.name] = _Written(dict(branches))

    def extend(self, tree: NtupleTree, start: int, stop: int, scores: Mapping[str, np.ndarray]) -> None:
        """Write entries ``start`` to ``stop``.

        Args:
            tree: the tree.
            start: first entry.
            stop: entry after the last one.
            scores: the new branches.

        Raises:
            InPlaceError: the tree was not begun, or the scores do not fit it.
        """
        if self._tree is None:
            raise InPlaceError(f"{self.source}: begin a tree before extending it")
        self._tree.extend(scores)
        written = self._written[tree.name]
        written.entries += stop - start
        for name, values in scores.items():
            written.add(name, values)

    def note(self, name: str, text: str) -> None:
        """Store a text in the top directory: what made the scores."""
        if self._file is not None:
            self._file.note(name, text)

    def _verify(self) -> None:
        """Read the new branches with uproot and compare them with what was written."""
        for name, written in self._written.items():
            found = _Written(written.types)
            try:
                with open_tree(str(self.part), name) as tree:
                    found.entries = tree.entries
                    for start, stop in tree.spans(VERIFY_EVENTS):
                        for branch, values in tree.read(list(written.types), start, stop).items():
                            found.add(branch, np.asarray(values))
            except InputError as error:
                raise InPlaceError(f"{error}; the new branches cannot be read back, and nothing was changed") from None
            if (found.entries, found.checksums) != (written.entries, written.checksums):
                raise InPlaceError(
                    f"{self.part}: tree '{name}': the new branches are not read back as written; nothing was changed"
                )


def recover(path: str | os.PathLike[str]) -> bool:
    """Make a file what it was if a change of it was interrupted before it was verified; return whether it was so."""
    undo = undo_path(path)
    if not undo.exists():
        return False
    restore(path, undo)
    return True


def _copy(source: str, target: Path) -> None:
    """Copy a file; file systems that can share the blocks or copy on the server do so."""
    with open(source, "rb") as old, open(target, "wb") as new:
        left = os.fstat(old.fileno()).st_size
        try:
            while left and (done := os.copy_file_range(old.fileno(), new.fileno(), min(left, COPY_BYTES))):
                left -= done
        except OSError:  # not between these file systems
            old.seek(0)
            new.seek(0)
            new.truncate()
            shutil.copyfileobj(old, new, 1 << 20)
