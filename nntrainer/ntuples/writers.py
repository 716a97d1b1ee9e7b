"""Write scores: as a friend tree beside the ntuple, or in a copy of it.

Both are a :class:`ScoreWriter`; :class:`nntrainer.ntuples.inplace.writer.InPlaceWriter` is a third.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np

from nntrainer.errors import InjectError, InputError
from nntrainer.ntuples.carry import Layout, carry_objects, layout_of, refuse
from nntrainer.ntuples.reader import NtupleTree, list_trees, open_tree

Branches = Mapping[str, np.ndarray]
Types = Mapping[str, np.dtype[Any]]


class ScoreWriter(Protocol):
    """Takes the scores of one tree after another, chunk by chunk, entry by entry.

    Attributes:
        event_id: whether the new branches need the event id beside them, because the ntuple's own is elsewhere.
    """

    event_id: bool

    def __enter__(self) -> Self:
        """Open the output aside."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Rename the output, or remove it after an error."""

    def begin(self, tree: NtupleTree, branches: Types) -> None:
        """Begin a tree; ``branches`` are the new ones."""

    def extend(self, tree: NtupleTree, start: int, stop: int, scores: Branches) -> None:
        """Write entries ``start`` to ``stop``."""

    def note(self, name: str, text: str) -> None:
        """Store a text beside the trees: what made the output."""


class _Aside:
    """A ROOT file that gets its name when it is complete."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.part = path.with_name(path.name + ".part")
        self.out: Any = None
        self.tree: Any = None

    def __enter__(self) -> Self:
        import uproot

        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.out = uproot.recreate(self.part, **self._options())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.out.close()
            if kind is None:
                os.replace(self.part, self.path)
        finally:
            self.part.unlink(missing_ok=True)

    def _options(self) -> dict[str, Any]:
        """Return what uproot shall know when it makes the file."""
        return {}

    def note(self, name: str, text: str) -> None:
        """Store a text as ``TObjString``."""
        self.out[name] = text


class FriendWriter(_Aside):
    """A new file with a tree for each scored one: its name plus a suffix, aligned entry by entry.

    Args:
        path: the new file.
        suffix: added to the name of each tree.
    """

    event_id = True

    def __init__(self, path: Path, suffix: str) -> None:
        super().__init__(path)
        self.suffix = suffix

    def begin(self, tree: NtupleTree, branches: Types) -> None:
        """Begin a tree."""
        self.tree = self.out.mktree(tree.name + self.suffix, dict(branches))

    def extend(self, tree: NtupleTree, start: int, stop: int, scores: Branches) -> None:
        """Write entries; the friend holds the new branches only."""
        self.tree.extend(dict(scores))


class CopyWriter(_Aside):
    """A new file with all that the ntuple holds: each branch of each tree, other objects, and the new branches.

    Trees that are not scored are carried as they are, after the others. What uproot writes differs from the
    original in form, not in content: a ``std::vector`` of numbers becomes an array with a counter branch,
    counters are 32-bit.

    Args:
        path: the new file.
        source: the ntuple.
        chunk_events: entries copied at a time.
    """

    event_id = False

    def __init__(self, path: Path, source: str, chunk_events: int) -> None:
        super().__init__(path)
        self.source = source
        self.chunk_events = chunk_events
        self.layout: Layout | None = None
        self.left: list[str] = []

    def __enter__(self) -> Self:
        """Open the output and carry what is no tree.

        Returns:
            The writer.

        Raises:
            InjectError: the ntuple holds something that cannot be carried.
        """
        self.left = list_trees(self.source)
        for name in self.left:
            with open_tree(self.source, name) as tree:
                layout_of(tree, {})
        super().__enter__()
        try:
            carry_objects(self.source, self.out)
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Carry the trees that were not scored and rename the output, or remove it after an error."""
        try:
            while kind is None and self.left:
                self._carry(self.left[0])
        except BaseException as fault:
            super().__exit__(type(fault), fault, None)
            raise
        super().__exit__(kind, error, trace)

    def _options(self) -> dict[str, Any]:
        import uproot

        with uproot.open(self.source) as file:
            return {"compression": file.file.compression}

    def _carry(self, name: str) -> None:
        with open_tree(self.source, name) as tree:
            self.begin(tree, {})
            for start, stop in tree.spans(self.chunk_events):
                self.extend(tree, start, stop, {})

    def begin(self, tree: NtupleTree, branches: Types) -> None:
        """Begin a tree.

        Args:
            tree: the tree to copy.
            branches: the new branches.

        Raises:
            InjectError: the tree is an RNTuple, has a branch that cannot be carried, or one of a new branch's name.
        """
        layout = self.layout = layout_of(tree, branches)
        self.left = [name for name in self.left if name != tree.name]
        self.tree = self.out.mktree(
            tree.name,
            {**layout.types, **branches},
            title=str(getattr(tree.handle, "title", "")),
            counter_name=lambda name: layout.counters[name],
        )

    def extend(self, tree: NtupleTree, start: int, stop: int, scores: Branches) -> None:
        """Write entries: the old branches and the new ones.

        Args:
            tree: the tree to copy.
            start: first entry.
            stop: entry after the last one.
            scores: the new branches.

        Raises:
            InjectError: uproot cannot write a branch after all.
        """
        if self.layout is None:
            raise InjectError(f"{self.source}: begin a tree before extending it")
        try:
            self.tree.extend({**tree.read(list(self.layout.types), start, stop), **scores})
        except InputError:
            raise
        except (TypeError, ValueError, NotImplementedError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
            raise refuse(tree, [f"entries {start} to {stop} ({reason})"]) from None
