"""Walk through a streamed object and find every reference in it.

A record holds an object with all that it owns. A pointer is streamed as one of

- ``0``: null; ``1``: the object of the record itself;
- an object tag: the object was streamed earlier in this record;
- a byte count, a class word, and the object. The class word is ``0xFFFFFFFF`` followed by the name of the class where
  the record meets it first, else ``0x80000000`` + a class tag.

Tags are offsets: of the byte count of the object, or of the ``0xFFFFFFFF`` of the class, from the beginning of the
record's key, plus 2. So bytes inserted into a record, or a longer key, move what tags mean, and all that point behind
the insertion must be found. This walk finds them with the StreamerInfo of the file (:mod:`streamers`), which describes
the members of each class. A few classes have streamers of their own and are known here. What cannot be walked is
skipped by its byte count and remembered in :attr:`Walk.unknown`: whoever moves something in front of it must give up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from nntrainer.ntuples.inplace.fields import (
    BYTE_COUNT,
    BYTE_COUNT_MASK,
    I32,
    U8,
    U16,
    U32,
    Unwalkable,
    number,
    string,
)
from nntrainer.ntuples.inplace.schema import (
    ARRAYS,
    BASIC,
    BITS,
    CUSTOM,
    DOUBLE32,
    FLOAT16,
    IN_PLACE,
    PLAIN,
    POINTER,
    TEXT,
    Element,
    Infos,
    closed,
    stored_size,
)

NEW_CLASS = 0xFFFFFFFF
CLASS = 0x80000000
IS_REFERENCED = 0x10
DEEPEST = 100
OLDEST_TREE = 5
# Leaves that files often do not describe, with the bytes of each of the two numbers that they add to TLeaf.
UNDESCRIBED = {"TLeafC": 4, "TLeafElement": 4, "TLeafG": 8}
# Classes whose members are recorded while they are walked.
RECORDED = ("TTree", "TBranch")


@dataclass(frozen=True)
class Array:
    """A streamed TObjArray: where it begins, its count and each item lie, and where it ends."""

    start: int
    count_at: int
    items: tuple[int, ...]
    end: int


@dataclass(frozen=True)
class Member:
    """A member of a tree or branch: its bytes, its type number, and the array that it is."""

    start: int
    end: int
    type: int
    array: Array | None = None


@dataclass
class Node:
    """An object behind a pointer: its bytes, class, name, and for trees and branches its members."""

    start: int
    end: int
    kind: str
    name: str | None = None
    members: dict[str, Member] = field(default_factory=dict)


@dataclass(frozen=True)
class Reference:
    """A tag: where it stands and what it points at, both as offsets in the payload."""

    at: int
    target: int
    is_class: bool


class Walk:
    """A walk through a payload; positions are offsets in it.

    Args:
        data: the decompressed payload.
        keylen: bytes of the record's key.
        infos: what the classes look like.

    Attributes:
        references: all tags, in order.
        classes: classes by where their name is introduced.
        objects: objects behind pointers by position.
        counts: regions with a byte count: where the count stands and where the region ends.
        unknown: regions that could not be walked: start, end, reason.
        root: the object of the record.
    """

    def __init__(self, data: bytes, keylen: int, infos: Infos) -> None:
        self.data = data
        self.origin = keylen + 2
        self.infos = infos
        self.stop = len(data)
        self.references: list[Reference] = []
        self.classes: dict[int, str] = {}
        self.objects: dict[int, Node] = {}
        self.counts: list[tuple[int, int]] = []
        self.unknown: list[tuple[int, int, str]] = []
        self.root = Node(0, len(data), "")
        self._node = self.root
        self._array: Array | None = None
        self._depth = 0

    def moved(self, keylen: int) -> bytes:
        """Return the payload for a key of another length, from which all tags count."""
        if self.unknown:
            raise Unwalkable(f"a part of a record cannot be walked: {self.unknown[0][2]}")
        data = bytearray(self.data)
        for reference in self.references:
            tag = reference.target + keylen + 2 | (CLASS if reference.is_class else 0)
            U32.pack_into(data, reference.at, tag)
        return bytes(data)

    def header(self, at: int) -> tuple[int, int, int | None]:
        """Return version, position after it, and end (None without a byte count) of what begins here."""
        word = number(self.data, U32, at, self.stop) if at + 4 <= self.stop else 0
        if word & 0xC0000000 != BYTE_COUNT:
            return number(self.data, U16, at, self.stop), at + 2, None
        end = at + 4 + (word & BYTE_COUNT_MASK)
        if end > self.stop or end < at + 6:
            raise Unwalkable(f"a byte count at {at} reaches beyond what it is part of")
        self.counts.append((at, end))
        return number(self.data, U16, at + 4, self.stop), at + 6, end

    def text(self, at: int) -> int:
        """Return the position after a TString."""
        return string(self.data, at, self.stop)[1]

    def skip(self, at: int, count: int, size: int = 1) -> int:
        """Return the position after ``count`` things of ``size`` bytes."""
        if count < 0 or at + count * size > self.stop:
            raise Unwalkable(f"{count} values at {at} reach beyond what they are part of")
        return at + count * size

    def tobject(self, at: int) -> int:
        """Return the position after a TObject, which has a process id where it is referenced."""
        _, after, _ = self.header(at)
        bits = number(self.data, U32, after + 4, self.stop)
        return self.skip(after, 10 if bits & IS_REFERENCED else 8)

    def pointer(self, at: int) -> int:
        """Walk what stands for a pointer and return the position after it."""
        word = number(self.data, U32, at, self.stop)
        if word & 0xC0000000 != BYTE_COUNT:
            return self._tag(at, word)
        end = at + 4 + (word & BYTE_COUNT_MASK)
        if end > self.stop:
            raise Unwalkable(f"an object at {at} reaches beyond what it is part of")
        tag = number(self.data, U32, at + 4, end)
        inside = at + 8
        if tag == NEW_CLASS:
            zero = self.data.find(b"\0", inside, end)
            if zero < 0:
                raise Unwalkable(f"the name of a class at {at} has no end")
            kind = self.data[inside:zero].decode("latin1")
            self.classes[at + 4] = kind
            inside = zero + 1
        elif tag & CLASS:
            target = (tag & ~CLASS) - self.origin
            if target not in self.classes:
                self.unknown.append((at, end, "an object is of a class that was not introduced"))
                return end
            kind = self.classes[target]
            self.references.append(Reference(at + 4, target, True))
        else:
            raise Unwalkable(f"an object at {at} has no class")
        self.counts.append((at, end))
        node = Node(at, end, kind)
        self.objects[at] = node
        if kind != "TBasket":  # a key and numbers, never a reference
            self._inside(node, inside)
        return end

    def _tag(self, at: int, word: int) -> int:
        """Walk a null pointer or an object tag."""
        if word > 1:
            target = word - self.origin
            if target not in self.objects and not any(begin <= target < end for begin, end, _ in self.unknown):
                self.unknown.append((at, at + 4, "a pointer points at no object"))
                return at + 4
            self.references.append(Reference(at, target, False))
        return at + 4

    def _inside(self, node: Node, at: int) -> None:
        """Walk an object up to its end, or note it as unknown."""
        outer, stop, known = self._node, self.stop, len(self.references)
        self._node, self.stop = node, node.end
        self._deeper()
        try:
            if (end := self.object(node.kind, at)) != node.end:
                raise Unwalkable(f"{node.kind} ends at byte {end} and not at {node.end}")
        except Unwalkable as error:
            del self.references[known:]
            self.unknown.append((node.start, node.end, f"{node.kind}: {error}"))
        finally:
            self._node, self.stop = outer, stop
            self._depth -= 1

    def _deeper(self) -> None:
        if self._depth >= DEEPEST:
            raise Unwalkable(f"objects lie in one another more than {DEEPEST} deep")
        self._depth += 1

    def object(self, kind: str, at: int, counters: dict[str, int] | None = None) -> int:
        """Walk an object of a known class that begins here and return the position after it.

        Args:
            kind: its class.
            at: its position.
            counters: numbers of values, by member; bases share those of the whole object.

        Returns:
            The position after it.

        Raises:
            Unwalkable: it cannot be walked, and no byte count tells where it ends.
        """
        if kind == "TObject":
            return self.tobject(at)
        if kind == "TString":
            return self.text(at)
        if kind == "TDatime":
            return self.skip(at, 4)
        if kind.startswith("TArray") and kind[6:] in ARRAYS:
            return self.skip(at + 4, number(self.data, I32, at, self.stop), ARRAYS[kind[6:]])
        self._deeper()
        known, stop = len(self.references), self.stop
        version, inside, end = self.header(at)
        try:
            self.stop = end if end is not None else stop
            after = self._members_of(kind, version, inside, end, {} if counters is None else counters)
            if end is not None and after != end:
                raise Unwalkable(f"{kind} version {version} ends at byte {after} and not at {end}")
        except Unwalkable as error:
            if end is None:
                raise
            del self.references[known:]
            self.unknown.append((at, end, f"{kind}: {error}"))
            return end
        finally:
            self.stop = stop
            self._depth -= 1
        return after

    def _members_of(self, kind: str, version: int, at: int, end: int | None, counters: dict[str, int]) -> int:
        own: dict[str, Callable[[int, int], int]] = {
            "TNamed": self._named,
            "TObjString": self._obj_string,
            "TObjArray": self._obj_array,
            "TList": self._list,
            "THashList": self._list,
            "TMap": self._map,
        }
        if kind in own:
            return own[kind](version, at)
        if kind == "TBranch" and version < 10:
            return self._old_branch(version, at)
        kind = closed(kind)
        info = self.infos.get((kind, version))
        if info is None and kind in UNDESCRIBED and version == 1:
            return self.skip(self.object("TLeaf", at), 2, UNDESCRIBED[kind])
        if version == 0 and end is not None:  # a class without a version of its own: its checksum follows
            checksum, at = number(self.data, U32, at, self.stop), at + 4
            info = next((i for (name, _), i in self.infos.items() if name == kind and i.checksum == checksum), None)
        if info is None:
            raise Unwalkable(f"no StreamerInfo describes {kind} version {version}")
        if kind == "TTree" and version < OLDEST_TREE:
            raise Unwalkable(f"TTree version {version} is too old; {OLDEST_TREE} and newer are known")
        for element in info.elements:
            start, self._array = at, None
            at = self._element(element, at, counters)
            if kind in RECORDED:
                self._node.members[element.name] = Member(start, at, element.type, self._array)
        return at

    def _named(self, version: int, at: int) -> int:
        at = self.tobject(at)
        name, at = string(self.data, at, self.stop)
        if self._node.name is None:
            self._node.name = name.decode("utf-8", "replace")
        return self.text(at)

    def _obj_string(self, version: int, at: int) -> int:
        return self.text(self.tobject(at))

    def _obj_array(self, version: int, at: int) -> int:
        start = self.counts[-1][0] if self.counts and self.counts[-1][0] == at - 6 else at - 2
        if version > 2:
            at = self.tobject(at)
        if version > 1:
            at = self.text(at)
        count_at, items = at, []
        at = self.skip(at, 8)
        for _ in range(number(self.data, I32, count_at, self.stop)):
            items.append(at)
            at = self.pointer(at)
        self._array = Array(start, count_at, tuple(items), at)
        return at

    def _list(self, version: int, at: int) -> int:
        if version > 3:
            at = self.text(self.tobject(at))
        count, at = number(self.data, I32, at, self.stop), at + 4
        for _ in range(count):
            at = self.pointer(at)
            # The option; lists before version 5 knew no long ones.
            at = self.text(at) if version > 4 else self.skip(at + 1, number(self.data, U8, at, self.stop))
        return at

    def _map(self, version: int, at: int) -> int:
        if version > 2:
            at = self.tobject(at)
        if version > 1:
            at = self.text(at)
        count, at = number(self.data, I32, at, self.stop), at + 4
        for _ in range(2 * count):
            at = self.pointer(at)
        return at

    def _old_branch(self, version: int, at: int) -> int:
        """Walk a TBranch before version 10, whose streamer was written by hand."""
        members = self._node.members
        at = self.object("TNamed", at)
        if version > 7:
            at = self.object("TAttFill", at)
        most = number(self.data, I32, at + 24, self.stop)  # fMaxBaskets, after six other numbers
        at = self.skip(at, 28 + (4 if version > 6 else 0))
        for name in ("fEntries", "fTotBytes", "fZipBytes"):
            members[name] = Member(at, at + 8, 8)
            at = self.skip(at, 8)
        for name in ("fBranches", "fLeaves", "fBaskets"):
            start, self._array = at, None
            at = self.object("TObjArray", at)
            members[name] = Member(start, at, 61, self._array)
        for size in (4, 4, 0):
            flag = number(self.data, U8, at, self.stop)
            at = self.skip(at + 1, most, size or (8 if flag == 2 else 4))
        return self.text(at)

    def _element(self, element: Element, at: int, counters: dict[str, int]) -> int:
        kind, name = element.type, element.typename.rstrip("*")
        if kind < 0:
            return at
        if element.base:
            if kind in CUSTOM or PLAIN.fullmatch(element.name):
                return self._custom(element, element.name, at)
            return self.object(element.name, at, counters)
        if kind in (3, 6):
            counters[element.name] = number(self.data, I32, at, self.stop)
        if kind in BASIC or kind in (DOUBLE32, FLOAT16):
            return self.skip(at, 1, stored_size(element, kind))
        if kind == BITS:
            return self.skip(at, 6 if number(self.data, U32, at, self.stop) & IS_REFERENCED else 4)
        if kind == TEXT:
            return self.skip(at + 4, number(self.data, I32, at, self.stop))
        if kind - 20 in BASIC or kind - 20 in (DOUBLE32, FLOAT16):
            return self.skip(at, element.length, stored_size(element, kind - 20))
        if kind - 40 in BASIC or kind - 40 in (DOUBLE32, FLOAT16):
            return self._counted_values(element, at, counters)
        several = element.length if 80 < kind < 100 else 1
        for _ in range(several):
            if kind % 20 + 60 in IN_PLACE and 60 < kind < 100:
                at = self.object(name, at)
            elif kind % 20 + 60 in POINTER and 60 < kind < 100:
                at = self.pointer(at)
            elif kind in CUSTOM:
                at = self._custom(element, name, at)
            else:
                raise Unwalkable(f"member {element.name} is of the unknown type {kind}")
        return at

    def _counted_values(self, element: Element, at: int, counters: dict[str, int]) -> int:
        """Walk values whose number is another member, behind a byte that says whether there are any."""
        if element.counter not in counters:
            raise Unwalkable(f"nothing counts the values of {element.name}")
        there = number(self.data, U8, at, self.stop)
        size = 8 if element.name == "fBasketSeek" and there == 2 else stored_size(element, element.type - 40)
        return self.skip(at + 1, counters[element.counter] * max(1, element.length) if there else 0, size)

    def _custom(self, element: Element, name: str, at: int) -> int:
        """Skip a collection or what has a streamer of its own, by its byte count."""
        _, _, end = self.header(at)
        if end is None:
            raise Unwalkable(f"{element.name} ({name}) has no byte count")
        if not PLAIN.fullmatch(name):
            self.unknown.append((at, end, f"{element.name} ({name}) has a streamer of its own"))
        return end
