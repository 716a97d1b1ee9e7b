"""What is in a ROOT file: trees, branches with their types, and the ranges of those with numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from nntrainer.dataset.inspection import (
    FieldInfo,
    GroupInfo,
    Inspection,
    Statistics,
    choose,
    detail_of,
    jsonable,
)
from nntrainer.errors import InputError
from nntrainer.ntuples.reader import NtupleTree, list_trees, open_tree

SCANNED = 100_000
CHUNK = 25_000

_NUMBER = re.compile(
    r"bool|u?int(8|16|32|64)_t|(unsigned |signed )?(char|short|int|long|long long)|float|double|u?byte"
    r"|(U?Long64|U?Int|U?Short|Float|Float16|Double|Double32|Bool)_t"
)
_CONTAINER = re.compile(r"(?:vector|RVec|array|deque|list|set)<(.*?)(?:, ?\d+)?>")


def inspect_root(path: Path, field: str | None, head: int, tree: str | None) -> Inspection:
    """Look into a ROOT file; see :func:`nntrainer.dataset.inspect.inspect`.

    Args:
        path: the file.
        field: the branch to look at in depth.
        head: rows to give.
        tree: the tree to look at.

    Returns:
        What is in it; numbers are of the first 100,000 entries of a tree.

    Raises:
        InputError: it is damaged, or has no such tree or branch, or the chosen branch has no numbers.
    """
    names = [tree] if tree is not None else list_trees(str(path))
    detail = None
    with ExitStack() as stack:
        trees = [stack.enter_context(open_tree(str(path), name)) for name in names]
        if field is None:
            groups = [_group(each, each.branches, head) for each in trees]
        else:
            if not trees:
                raise InputError(f"{path}: there is no branch '{field}', as the file has no tree")
            name, field = choose(path, field, {each.name: each.branches for each in trees}, InputError)
            chosen = next(each for each in trees if each.name == name)
            groups = [_group(chosen, [field], head)]
            if groups[0].fields[0].note:
                info = groups[0].fields[0]
                raise InputError(f"{path}: '{field}' of tree '{name}' is {info.type}: {info.note}")
            detail = _detail(chosen, field)
    return Inspection(str(path), "ROOT", path.stat().st_size, tuple(groups), detail=detail)


def is_numeric(type_name: str) -> bool:
    """Return whether a C++ type is a number, or an array or vector of them, to any depth."""
    name = type_name.replace("std::", "").replace("ROOT::VecOps::", "").strip()
    while name.endswith("]"):
        name = name[: name.rindex("[")]
    inner = _CONTAINER.fullmatch(name)
    return is_numeric(inner.group(1)) if inner else _NUMBER.fullmatch(name) is not None


def _group(tree: NtupleTree, names: list[str], head: int) -> GroupInfo:
    scanned = min(tree.entries, SCANNED)
    infos, heads = [], {}
    for name in names:
        info, first = _branch(tree, name, scanned, head)
        infos.append(info)
        if first is not None:
            heads[name] = first
    rows = tuple({name: first[row] for name, first in heads.items()} for row in range(min(head, scanned)))
    return GroupInfo(tree.name, tree.kind, tree.entries, None, scanned, tuple(infos), rows if heads else ())


def _branch(tree: NtupleTree, name: str, scanned: int, head: int) -> tuple[FieldInfo, list[Any] | None]:
    """Return what is known of a branch and its first values, None where it has no numbers."""
    branch = tree.handle[name]
    kind = " ".join(str(branch.typename).split())
    title = str(getattr(branch, "title", "") or "")
    description = "" if title.startswith(name) else title
    if not is_numeric(kind):
        return FieldInfo(name, kind, description=description, note="not numbers; not read"), None
    found = Statistics()
    first: list[Any] = []
    try:
        for array, flat in _chunks(tree, name, scanned):
            found.add(flat)
            first += jsonable(array[: head - len(first)].to_list()) if len(first) < head else []
    except Exception as error:  # uproot raises anything at all on branches that it cannot interpret
        return FieldInfo(name, kind, description=description, note=f"cannot be read: {type(error).__name__}"), None
    return found.info(name, kind, description=description), first


def _chunks(tree: NtupleTree, name: str, scanned: int) -> Iterator[tuple[Any, np.ndarray]]:
    """Yield arrays by entry, and all their numbers."""
    import awkward

    branch = tree.handle[name]
    for start in range(0, scanned, CHUNK):
        array = branch.array(entry_start=start, entry_stop=min(start + CHUNK, scanned), library="ak")
        yield array, awkward.to_numpy(awkward.flatten(array, axis=None))


def _detail(tree: NtupleTree, name: str) -> Any:
    scanned = min(tree.entries, SCANNED)
    return detail_of(tree.name, name, "", lambda: (flat for _, flat in _chunks(tree, name, scanned)))
