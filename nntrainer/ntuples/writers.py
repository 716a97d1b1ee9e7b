"""Write scores: as a friend tree beside the ntuple, or in a copy of it.

Both are a :class:`ScoreWriter`; adding branches in place will be a third.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np

from nntrainer.errors import InjectError
from nntrainer.ntuples.reader import NtupleTree

Branches = Mapping[str, np.ndarray]


class ScoreWriter(Protocol):
    """Takes the scores of one tree after another, chunk by chunk, entry by entry."""

    def __enter__(self) -> ScoreWriter:
        """Open the output aside."""

    def __exit__(self, *details: Any) -> None:
        """Rename the output, or remove it after an error."""

    def begin(self, tree: NtupleTree, branches: Mapping[str, np.dtype]) -> None:
        """Begin a tree; ``branches`` are the new ones."""

    def extend(self, tree: NtupleTree, start: int, stop: int, scores: Branches) -> None:
        """Write entries ``start`` to ``stop``."""


class _Aside:
    """A ROOT file that gets its name when it is complete."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.part = path.with_name(path.name + ".part")
        self.out: Any = None
        self.tree: Any = None

    def __enter__(self) -> Any:
        import uproot

        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.out = uproot.recreate(self.part)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.out.close()
        if kind is None:
            os.replace(self.part, self.path)
        else:
            self.part.unlink(missing_ok=True)


class FriendWriter(_Aside):
    """A new file with a tree for each scored one: its name plus a suffix, aligned entry by entry.

    Args:
        path: the new file.
        suffix: added to the name of each tree.
    """

    def __init__(self, path: Path, suffix: str) -> None:
        super().__init__(path)
        self.suffix = suffix

    def begin(self, tree: NtupleTree, branches: Mapping[str, np.dtype]) -> None:
        """Begin a tree."""
        self.tree = self.out.mktree(tree.name + self.suffix, dict(branches))

    def extend(self, tree: NtupleTree, start: int, stop: int, scores: Branches) -> None:
        """Write entries; the friend holds the new branches only."""
        self.tree.extend(dict(scores))


class CopyWriter(_Aside):
    """A new file with every branch of each scored tree and the new ones.

    Args:
        path: the new file.
    """

    def begin(self, tree: NtupleTree, branches: Mapping[str, np.dtype]) -> None:
        """Begin a tree.

        Args:
            tree: the tree to copy.
            branches: the new branches.

        Raises:
            InjectError: the tree is an RNTuple, has a branch that cannot be carried, or one of a new branch's name.
        """
        if tree.kind != "TTree":
            raise InjectError(
                f"{tree.path}: '{tree.name}' is an {tree.kind}, which cannot be copied; use --mode friend"
            )
        taken = [name for name in branches if name in tree.branches]
        if taken:
            raise InjectError(
                f"{tree.path}: tree '{tree.name}' already has a branch '{taken[0]}'; give another --branch"
            )
        self.types, refused = _carried(tree)
        if refused:
            listed = ", ".join(refused[:6]) + (f" and {len(refused) - 6} more" if len(refused) > 6 else "")
            raise InjectError(
                f"{tree.path}: tree '{tree.name}' has branches that a copy cannot carry: {listed}; use --mode friend"
            )
        self.counters = _counters(tree)
        jagged = {name for name, kind in self.types.items() if kind.startswith("var")}
        names = {name: counter for name, counter in self.counters.items() if name in jagged}
        self.tree = self.out.mktree(
            tree.name,
            {
                **{name: kind for name, kind in self.types.items() if name not in names.values()},
                **dict(branches),
            },
            counter_name=lambda name: names.get(name, f"n{name}"),
        )
        self.skip = set(names.values())

    def extend(self, tree: NtupleTree, start: int, stop: int, scores: Branches) -> None:
        """Write entries: the old branches and the new ones."""
        names = [name for name in self.types if name not in self.skip]
        arrays = tree.read(names, start, stop)
        chunk: dict[str, Any] = {**arrays, **scores}
        # The writer makes a counter for each list of numbers and wants it given where several share one.
        for name, counter in self.counters.items():
            if counter in self.skip and counter not in chunk:
                import awkward

                chunk[counter] = np.asarray(awkward.num(arrays[name], axis=1), np.int32)
        self.tree.extend({name: values for name, values in chunk.items() if name not in self.skip})


def _carried(tree: NtupleTree) -> tuple[dict[str, str], list[str]]:
    """Return the type of each branch that the writer can carry, and the others by name and type."""
    import awkward

    types: dict[str, str] = {}
    refused: list[str] = []
    for name in tree.branches:
        branch = tree.handle[name]
        if getattr(branch, "branches", None):
            refused.append(f"'{name}' ({branch.typename or 'split object'})")
            continue
        try:
            form = branch.interpretation.awkward_form(None)
        except Exception as error:  # uproot raises its own kinds for types it cannot interpret
            refused.append(f"'{name}' ({type(error).__name__})")
            continue
        kind = str(form.type)
        plain = isinstance(form, awkward.forms.NumpyForm)
        listed = isinstance(form, awkward.forms.ListOffsetForm) and isinstance(form.content, awkward.forms.NumpyForm)
        if (
            "parameters" in kind
            or kind in ("string", "bytes")
            or not (plain or (listed and not form.content.inner_shape))
        ):
            refused.append(f"'{name}' ({branch.typename})")
        elif plain:
            types[name] = " * ".join([*(str(n) for n in form.inner_shape), form.primitive])
        else:
            types[name] = f"var * {form.content.primitive}"
    return types, refused


def _counters(tree: NtupleTree) -> dict[str, str]:
    """Return the branch that counts each list of numbers, where the original has one."""
    counters = {}
    for name in tree.branches:
        counter = getattr(tree.handle[name], "count_branch", None)
        if counter is not None:
            counters[name] = counter.name
    return counters
