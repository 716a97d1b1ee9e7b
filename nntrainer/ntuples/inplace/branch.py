"""A new TBranch with its leaf, streamed as an item of a tree's list of branches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from struct import Struct

import numpy as np

from nntrainer.ntuples.inplace.baskets import Baskets
from nntrainer.ntuples.inplace.fields import (
    BYTE_COUNT_MASK,
    F32,
    F64,
    I8,
    I16,
    I32,
    I64,
    TOBJECT,
    U8,
    U16,
    U32,
    Unwalkable,
    counted,
    packed_string,
)
from nntrainer.ntuples.inplace.keys import needs_big
from nntrainer.ntuples.inplace.schema import Infos
from nntrainer.ntuples.inplace.walk import NEW_CLASS

NEWEST = 13
# Versions of TBranch that are written: the first eight numbers have 32 bits up to 9.
VERSIONS = range(8, NEWEST + 1)
ROOM = 10  # the least number of baskets that ROOT makes room for
# ROOT::TIOFeatures without features, as a class without a version: 0, then its checksum.
IO_FEATURES = counted(U16.pack(0), U32.pack(0x1AA12F10), b"\0")
_EXTREMES = {"O": U8, "B": I8, "S": I16, "I": I32, "L": I64, "F": F32, "D": F64}
_OLD = Struct(">iiiiiiiiddd")
_LEAF = Struct(">iii??I")


@dataclass(frozen=True)
class Versions:
    """Versions of the classes to write, and the description of no features in the words of the file's writer."""

    branch: int
    fill: int
    io_features: bytes


def versions_for(infos: Infos, io_features: bytes | None) -> Versions:
    """Return the versions to write: those that the file describes, else the newest.

    Args:
        infos: what the file describes.
        io_features: ``fIOFeatures`` of the tree, if it has them.

    Returns:
        The versions.
    """
    branch = max((version for name, version in infos if name == "TBranch" and version in VERSIONS), default=NEWEST)
    fill = max((version for name, version in infos if name == "TAttFill" and version in (1, 2)), default=2)
    return Versions(branch, fill, io_features[:-1] + b"\0" if io_features else IO_FEATURES)


def classes_for(versions: Versions, leaves: Sequence[str]) -> list[tuple[str, int]]:
    """Return the classes and versions that a file must describe for new branches with these leaves."""
    classes = [("TObject", 1), ("TNamed", 1), ("TLeaf", 2), *((leaf, 1) for leaf in dict.fromkeys(leaves))]
    if versions.fill == 2:
        classes.append(("TAttFill", 2))
    if versions.branch == NEWEST:
        classes += [("ROOT::TIOFeatures", 1), ("TBranch", NEWEST)]
    return classes


def named(name: bytes, title: bytes) -> bytes:
    """Return a TNamed."""
    return counted(U16.pack(1), TOBJECT, packed_string(name), packed_string(title))


def pointed(kind: str, body: bytes) -> bytes:
    """Return an object as a pointer to it is streamed, with its class introduced."""
    return counted(U32.pack(NEW_CLASS), kind.encode(), b"\0", body)


def _array(*items: bytes) -> bytes:
    return counted(U16.pack(3), TOBJECT, b"\0", I32.pack(len(items)), I32.pack(0), *items)


def _leaf(baskets: Baskets) -> bytes:
    kind, name = baskets.type, baskets.name
    title = name + (f"[{kind.length}]".encode() if kind.array else b"")
    numbers = _LEAF.pack(kind.length, kind.dtype.itemsize, 0, False, kind.dtype.kind == "u", 0)
    extremes = _EXTREMES[kind.leaf[-1]].pack(0) * 2
    body = counted(U16.pack(1), counted(U16.pack(2), named(name, title), numbers), extremes)
    return pointed(kind.leaf, body)


def branch_item(baskets: Baskets, versions: Versions, compress: int) -> tuple[bytes, int]:
    """Return a streamed branch.

    Args:
        baskets: its baskets, all written.
        versions: of the classes.
        compress: ``fCompress`` of the file.

    Returns:
        The bytes, and where in them the leaf lies, to which the tree's list of leaves will point.

    Raises:
        Unwalkable: it has more entries or bytes than its version can count.
    """
    kind, version, entries, count = baskets.type, versions.branch, baskets.entries, len(baskets.seeks)
    most = max(ROOM, count + 1)
    if version < 10 and entries > 2**31 - 1:
        raise Unwalkable(f"TBranch version {version} cannot count {entries:,} entries")
    suffix = f"[{kind.length}]/{kind.letter}" if kind.array else f"/{kind.letter}"
    title = named(baskets.name, baskets.name + suffix.encode())
    fill = counted(U16.pack(versions.fill), I16.pack(0), I16.pack(1001))
    totals = (entries, baskets.total, baskets.stored)
    if version < 10:
        numbers = _OLD.pack(compress, 32000, 0, count, entries, 0, most, 0, *map(float, totals))
    else:
        first = [I64.pack(0)] if version >= 11 else []
        numbers = b"".join(
            [
                *(I32.pack(value) for value in (compress, 32000, 0, count)),
                I64.pack(entries),
                versions.io_features if version >= 13 else b"",
                *(I32.pack(value) for value in (0, most, 0)),
                I64.pack(totals[0]),
                *first,
                *(I64.pack(value) for value in totals[1:]),
            ]
        )
    wide = version >= 10 or needs_big(*baskets.seeks)
    arrays = b"".join(
        [
            b"\1" + _padded(baskets.nbytes, most, ">i4"),
            b"\1" + _padded([*baskets.first, entries], most, ">i4" if version < 10 else ">i8"),
            (b"\2" if wide and version < 10 else b"\1") + _padded(baskets.seeks, most, ">i8" if wide else ">i4"),
        ]
    )
    leaf = _leaf(baskets)
    head = title + fill + numbers + _array()
    body = counted(U16.pack(version), head, _array(leaf), _array(), arrays, packed_string(b""))
    item = pointed("TBranch", body)
    if len(item) > BYTE_COUNT_MASK // 2:
        raise Unwalkable(f"branch '{baskets.name.decode()}' has too many baskets: {count:,}")
    # Behind the leaf: an empty array, the arrays and the file name.
    return item, len(item) - (len(leaf) + len(_array()) + len(arrays) + 1)


def _padded(values: Sequence[int], length: int, dtype: str) -> bytes:
    padded = np.zeros(length, dtype)
    padded[: len(values)] = values
    return padded.tobytes()
