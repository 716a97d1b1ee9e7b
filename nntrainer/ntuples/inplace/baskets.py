"""Baskets: the values of a branch for a run of entries, big-endian and compressed, each a record of its own.

The key of a basket is longer than a TKey: behind it stand version, buffer size, bytes per entry, number of entries, end
of the data (from the beginning of the key), and a flag.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from struct import Struct
from typing import Any

import numpy as np

from nntrainer.errors import InPlaceError
from nntrainer.ntuples.inplace.clusters import Clusters
from nntrainer.ntuples.inplace.compression import compress
from nntrainer.ntuples.inplace.keys import new_key
from nntrainer.ntuples.inplace.layout import RootFile

# 65,536 scores: large enough to compress and to be few, small enough to read a part of a tree.
BASKET_BYTES = 256 * 1024
BUFFER_BYTES = 32000
_EXTRA = Struct(">HiiiiB")

# Numbers that a leaf can hold: class, code in titles, whether unsigned.
LEAVES: dict[str, tuple[str, str]] = {
    "?": ("TLeafO", "O"),
    "i1": ("TLeafB", "B"),
    "u1": ("TLeafB", "b"),
    "i2": ("TLeafS", "S"),
    "u2": ("TLeafS", "s"),
    "i4": ("TLeafI", "I"),
    "u4": ("TLeafI", "i"),
    "i8": ("TLeafL", "L"),
    "u8": ("TLeafL", "l"),
    "f4": ("TLeafF", "F"),
    "f8": ("TLeafD", "D"),
}


@dataclass(frozen=True)
class BranchType:
    """What a branch holds for each entry: one number, or a fixed number of them."""

    dtype: np.dtype[Any]
    length: int = 1
    array: bool = False

    @property
    def code(self) -> str:
        """The type as NumPy writes it, without byte order."""
        return "?" if self.dtype.kind == "b" else f"{self.dtype.kind}{self.dtype.itemsize}"

    @property
    def leaf(self) -> str:
        """The class of the leaf."""
        return LEAVES[self.code][0]

    @property
    def letter(self) -> str:
        """The type in titles."""
        return LEAVES[self.code][1]

    @property
    def entry_bytes(self) -> int:
        """Bytes of an entry."""
        return self.dtype.itemsize * self.length

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of an entry."""
        return (self.length,) if self.array else ()


def branch_type(name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> BranchType:
    """Return the type of a branch.

    Args:
        name: its name, for messages.
        dtype: of its values.
        shape: of an entry: empty, or one fixed length.

    Returns:
        The type.

    Raises:
        InPlaceError: a branch cannot hold such values.
    """
    found = BranchType(dtype, int(shape[0]) if shape else 1, bool(shape))
    if found.code not in LEAVES:
        raise InPlaceError(
            f"branch '{name}' would hold {dtype}; it can hold float32, float64, bool and integers of 8 to 64 bits"
        )
    if len(shape) > 1 or found.length < 1:
        raise InPlaceError(
            f"branch '{name}' would hold {list(shape)} values an entry; give one value an entry (1-d), or the same "
            "number for each (2-d)"
        )
    return found


@dataclass
class Baskets:
    """Writes a branch basket by basket, as its values come.

    Attributes:
        file: the open file.
        tree: name of the tree.
        name: name of the branch.
        type: what it holds.
        directory: position of the tree's directory.
        clusters: where baskets had better end.
        seeks: where each basket lies.
        nbytes: size of each.
        first: first entry of each.
        entries: entries written or waiting.
        total: bytes of all before compression, with keys.
        stored: bytes of all in the file.
    """

    file: RootFile
    tree: bytes
    name: bytes
    type: BranchType
    directory: int
    clusters: Clusters
    seeks: list[int] = field(default_factory=list)
    nbytes: list[int] = field(default_factory=list)
    first: list[int] = field(default_factory=list)
    entries: int = 0
    total: int = 0
    stored: int = 0
    _written: int = 0
    _waiting: list[np.ndarray] = field(default_factory=list)

    def extend(self, values: np.ndarray) -> None:
        """Take the values of further entries."""
        if values.shape[1:] != self.type.shape or not np.can_cast(values.dtype, self.type.dtype, "equiv"):
            got = f"{values.dtype} {list(values.shape[1:])}"
            raise InPlaceError(
                f"branch '{self.name.decode()}' holds {self.type.dtype} {list(self.type.shape)} and was given {got}"
            )
        if len(values):
            self._waiting.append(np.array(values))  # a copy: the caller may use its array again
            self.entries += len(values)
        limit = max(1, BASKET_BYTES // self.type.entry_bytes)
        while self.entries - self._written >= limit:
            self._write(self.clusters.boundary(self._written, limit))

    def finish(self) -> None:
        """Write what waits."""
        if self.entries > self._written:
            self._write(self.entries)

    def _write(self, stop: int) -> None:
        """Write the basket of the entries up to ``stop``."""
        count = stop - self._written
        values = np.concatenate(self._waiting) if len(self._waiting) > 1 else self._waiting[0]
        self._waiting = [values[count:]] if len(values) > count else []
        data = values[:count].astype(self.type.dtype.newbyteorder(">")).tobytes()
        key = new_key(b"TBasket", self.name, self.tree, self.directory)
        keylen = self.file.key_size(key) + _EXTRA.size
        extra = _EXTRA.pack(2, max(BUFFER_BYTES, len(data)), self.type.entry_bytes, count, keylen + len(data), 0)
        placed = self.file.append(key, compress(data, self.file.header.compress), len(data), extra)
        self.seeks.append(placed.seek)
        self.nbytes.append(placed.nbytes)
        self.first.append(self._written)
        self._written = stop
        self.total += keylen + len(data)
        self.stored += placed.nbytes
