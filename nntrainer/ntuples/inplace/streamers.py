"""StreamerInfo: the record in which a ROOT file describes the classes it holds.

It is a TList of TStreamerInfo objects, one for each version of a class; each has the elements (bases and members) that
the class streams. Readers need it for every class they do not know by heart, so a class that is new in the file must
be described there, too. The descriptions of the ROOT classes that are written here come with uproot.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from nntrainer.ntuples.inplace.fields import (
    BYTE_COUNT,
    BYTE_COUNT_MASK,
    I32,
    TOBJECT,
    U16,
    U32,
    Unwalkable,
    counted,
    number,
    string,
)
from nntrainer.ntuples.inplace.schema import Element, Info, Infos, closed
from nntrainer.ntuples.inplace.walk import Walk

LIST_VERSIONS = (4, 5)
NOTHING = counted(U16.pack(LIST_VERSIONS[-1]), TOBJECT, b"\0", I32.pack(0))
_ELEMENTS = (
    "TStreamerElement",
    "TStreamerArtificial",
    "TStreamerBase",
    "TStreamerBasicPointer",
    "TStreamerBasicType",
    "TStreamerLoop",
    "TStreamerObject",
    "TStreamerObjectAny",
    "TStreamerObjectAnyPointer",
    "TStreamerObjectPointer",
    "TStreamerSTL",
    "TStreamerSTLstring",
    "TStreamerString",
)


class InfoWalk(Walk):
    """A walk through a StreamerInfo record.

    Args:
        data: the decompressed payload.
        keylen: bytes of the record's key.

    Attributes:
        found: the descriptions.
    """

    def __init__(self, data: bytes, keylen: int) -> None:
        super().__init__(data, keylen, {})
        self.found: dict[tuple[str, int], Info] = {}
        self._elements: list[Element] = []

    def _members_of(self, kind: str, version: int, at: int, end: int | None, counters: dict[str, int]) -> int:
        if kind == "TStreamerInfo":
            return self._info(at)
        if kind in _ELEMENTS and end is not None:
            self._described(kind, version, at)
            return end
        return super()._members_of(kind, version, at, end, counters)

    def _info(self, at: int) -> int:
        name, _, at = self._name_and_title(at)
        checksum, version = number(self.data, U32, at, self.stop), number(self.data, I32, at + 4, self.stop)
        self._elements = []
        at = self.pointer(at + 8)
        name = closed(name)
        self.found.setdefault((name, version), Info(name, version, checksum, tuple(self._elements)))
        return at

    def _name_and_title(self, at: int) -> tuple[str, str, int]:
        _, inside, _ = self.header(at)
        name, inside = string(self.data, self.tobject(inside), self.stop)
        title, inside = string(self.data, inside, self.stop)
        return name.decode("latin1"), title.decode("latin1"), inside

    def _described(self, kind: str, version: int, at: int) -> None:
        """Read an element of a description; derived classes have it as their base."""
        after: int | None = None
        if kind == "TStreamerSTLstring":
            _, at, _ = self.header(at)
        if kind != "TStreamerElement":
            version, at, after = self.header(at)
        name, title, at = self._name_and_title(at)
        type_, length = number(self.data, I32, at, self.stop), number(self.data, I32, at + 8, self.stop)
        at += 16
        at += 4 + 4 * number(self.data, I32, at, self.stop) if version == 1 else 20
        typename = string(self.data, at, self.stop)[0].decode("latin1")
        counter = ""
        if kind in ("TStreamerBasicPointer", "TStreamerLoop") and after is not None:
            counter = string(self.data, after + 4, self.stop)[0].decode("latin1")
        self._elements.append(
            Element(name, title, type_, typename, length, base=kind == "TStreamerBase", counter=counter)
        )


def read_infos(data: bytes, keylen: int) -> InfoWalk:
    """Walk a StreamerInfo record.

    Args:
        data: the decompressed payload.
        keylen: bytes of its key.

    Returns:
        The walk, which has the descriptions.

    Raises:
        Unwalkable: it is no list.
    """
    walk = InfoWalk(data, keylen)
    walk.object("TList", 0)
    return walk


@lru_cache(maxsize=1)
def _known_blobs() -> dict[tuple[str, int], bytes]:
    """Return streamed descriptions of the ROOT classes that uproot can write."""
    from uproot.models import TBranch, TLeaf, TObjString, TTree

    leaves = [getattr(TLeaf, f"Model_TLeaf{letter}_v1") for letter in "OBSILFD"]
    blobs: dict[tuple[str, int], bytes] = {}
    for model in (*leaves, TBranch.Model_TBranch_v13, TTree.Model_TTree_v20, TObjString.Model_TObjString):
        for _, blob, name, version in model.class_rawstreamers or ():
            blobs.setdefault((name, version), blob)
    return blobs


@lru_cache(maxsize=1)
def known_infos() -> Infos:
    """Return the descriptions that uproot brings, for classes that a file does not describe."""
    return read_infos(with_infos(NOTHING, list(_known_blobs().values())), 0).found


def with_infos(data: bytes, blobs: Sequence[bytes]) -> bytes:
    """Return a StreamerInfo record with more descriptions at its end, so that no tag in it moves.

    Args:
        data: the decompressed payload.
        blobs: streamed descriptions with their options, which introduce every class they need anew.

    Returns:
        The new payload.

    Raises:
        Unwalkable: the list is of a version that this code does not know.
    """
    walk = Walk(data, 0, {})
    version, at, end = walk.header(0)
    if version not in LIST_VERSIONS or end is None:
        raise Unwalkable(f"its list of StreamerInfo is of version {version}; {LIST_VERSIONS} are known")
    at = walk.text(walk.tobject(at))
    more = b"".join(blobs)
    head = U32.pack(BYTE_COUNT | ((number(data, U32, 0, end) & BYTE_COUNT_MASK) + len(more)))
    count = I32.pack(number(data, I32, at, end) + len(blobs))
    return head + data[4:at] + count + data[at + 4 : end] + more + data[end:]


def missing_blobs(infos: Infos, classes: Sequence[tuple[str, int]]) -> list[bytes]:
    """Return the streamed descriptions of those classes that a file does not describe."""
    return [_known_blobs()[each] for each in classes if each not in infos]
