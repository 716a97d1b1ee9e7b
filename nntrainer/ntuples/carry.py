"""What of a ROOT file can be written again without ROOT, and what cannot, by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nntrainer.errors import InjectError
from nntrainer.ntuples.reader import NtupleTree

SHOWN = 6
ADVICE = "use --mode friend, which leaves the ntuple as it is"


@dataclass(frozen=True)
class Layout:
    """How to write a tree again.

    Attributes:
        types: what ``mktree`` wants to know, for each branch but counters of lists.
        counters: for each branch of lists the branch that counts its numbers.
    """

    types: dict[str, str]
    counters: dict[str, str]


def refuse(tree: NtupleTree, what: Sequence[str]) -> InjectError:
    """Return the error that names what of a tree cannot be copied."""
    more = f" and {len(what) - SHOWN} more" if len(what) > SHOWN else ""
    listed = ", ".join(what[:SHOWN]) + more
    return InjectError(f"{tree.path}: a copy cannot carry {listed} of tree '{tree.name}'; {ADVICE}")


def layout_of(tree: NtupleTree, new: Iterable[str]) -> Layout:
    """Return how to write a tree again with new branches.

    Args:
        tree: an open tree.
        new: names of the new branches.

    Returns:
        The layout, without the new branches.

    Raises:
        InjectError: it is an RNTuple, has branches that cannot be written (all are named, with their types), or
            has branches of the new ones' names.
    """
    if tree.kind != "TTree":
        raise InjectError(f"{tree.path}: '{tree.name}' is an {tree.kind}, which cannot be copied; {ADVICE}")
    taken = [name for name in new if name in tree.branches]
    if taken:
        raise InjectError(f"{tree.path}: tree '{tree.name}' already has a branch '{taken[0]}'; give another --branch")
    types: dict[str, str] = {}
    refused = []
    for name in tree.branches:
        kind = _type(tree.handle[name])
        if kind is None:
            refused.append(f"branch '{name}' ({_typename(tree.handle[name])})")
        else:
            types[name] = kind
    if refused:
        raise refuse(tree, refused)
    if not types:
        raise refuse(tree, ["a tree without branches"])
    counters = _counters(tree, types, new)
    return Layout({name: kind for name, kind in types.items() if name not in counters.values()}, counters)


def _type(branch: Any) -> str | None:
    """Return a branch's type as an awkward datashape, or None where the writer knows no way.

    It knows numbers, booleans, fixed-size arrays of them, lists of numbers or booleans, and strings.
    """
    import awkward

    if branch.branches:
        return None
    try:
        form = branch.interpretation.awkward_form(branch.file)
    except Exception:  # whatever uproot says about a type it does not know, the answer is the same
        return None
    sizes = ""
    while isinstance(form, awkward.forms.RegularForm):
        sizes, form = f"{sizes}{form.size} * ", form.content
    if isinstance(form, awkward.forms.NumpyForm):
        inner = "".join(f"{size} * " for size in form.inner_shape)
        return f"{sizes}{inner}{form.primitive}"
    if sizes or not isinstance(form, awkward.forms.ListOffsetForm):
        return None
    if form.parameter("__array__") == "string":
        return "string"
    content = form.content
    if form.parameters or content.parameters or not isinstance(content, awkward.forms.NumpyForm) or content.inner_shape:
        return None
    return f"var * {content.primitive}"


def _typename(branch: Any) -> str:
    try:
        return str(branch.typename) or "split object"
    except Exception:  # as above
        return "unknown type"


def _counters(tree: NtupleTree, types: Mapping[str, str], new: Iterable[str]) -> dict[str, str]:
    """Return the counter of each branch of lists: the original's, or a new name where it has none (vectors)."""
    taken = {*tree.branches, *new}
    counters = {}
    for name in types:
        if not types[name].startswith("var"):
            continue
        original = getattr(tree.handle[name], "count_branch", None)
        if original is not None and original.name in types:
            counters[name] = str(original.name)
            continue
        made = f"n{name}"
        while made in taken:
            made += "_"
        taken.add(made)
        counters[name] = made
    return counters


def carry_objects(path: str, out: Any) -> None:
    """Write everything of a file that is no tree, such as histograms and texts, into another.

    Args:
        path: the file.
        out: the open uproot file to write.

    Raises:
        InjectError: there are objects that cannot be written; all are named, with their classes.
    """
    import uproot

    refused = []
    with uproot.open(path) as file:
        for name, kind in file.classnames(recursive=True, cycle=False).items():
            if kind.startswith(("TTree", "TNtuple")) or "RNTuple" in kind:
                continue
            if kind.startswith("TDirectory"):
                out.mkdir(name)
                continue
            try:
                thing = file[name]
                out[name] = str(thing) if isinstance(thing, str) else thing
            except Exception:  # reading and writing of unknown classes fails in many ways
                refused.append(f"'{name}' ({kind})")
    if refused:
        more = f" and {len(refused) - SHOWN} more" if len(refused) > SHOWN else ""
        raise InjectError(f"{path}: a copy would lose {', '.join(refused[:SHOWN])}{more}; {ADVICE}")
