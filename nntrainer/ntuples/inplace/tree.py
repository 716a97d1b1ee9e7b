"""A TTree's record: what it says, and the same record with branches added or unhooked.

Only the lists of branches and leaves, the byte counts around them, ``fTotBytes`` and ``fZipBytes`` change. Everything
else is copied byte for byte, except for the tags that point behind a change (:mod:`walk`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from math import isfinite
from struct import Struct

from nntrainer.ntuples.inplace.clusters import Clusters, clusters_of
from nntrainer.ntuples.inplace.fields import BYTE_COUNT, BYTE_COUNT_MASK, F64, I32, I64, U32, Unwalkable, number
from nntrainer.ntuples.inplace.schema import Infos
from nntrainer.ntuples.inplace.walk import CLASS, NEW_CLASS, Array, Member, Node, Reference, Walk

LARGEST_COUNT = 2**62
_COUNTERS = {4: I64, 8: F64, 16: I64}


@dataclass(frozen=True)
class Edit:
    """A change of a payload: ``removed`` bytes at ``at`` give way to ``added``; its region begins at ``owner``."""

    at: int
    removed: int
    added: bytes
    owner: int

    @property
    def end(self) -> int:
        """Where the bytes that stay go on."""
        return self.at + self.removed

    @property
    def growth(self) -> int:
        """By how much the payload grows."""
        return len(self.added) - self.removed


@dataclass(frozen=True)
class NewItem:
    """A streamed branch: its bytes, where its leaf lies in them, and its bytes before and after compression."""

    data: bytes
    leaf_at: int
    total: int
    stored: int


class TreeRecord:
    """A TTree, walked.

    Args:
        data: the decompressed payload.
        keylen: bytes of the record's key.
        kind: its class.
        infos: what the classes look like.

    Attributes:
        walk: the walk.
        entries: number of entries.
        clusters: runs of entries flushed together.
        names: branches at all depths by name.
        io_features: ``fIOFeatures`` as streamed, if it has them.

    Raises:
        Unwalkable: it is no tree, or not walkable so far.
    """

    def __init__(self, data: bytes, keylen: int, kind: str, infos: Infos) -> None:
        self.data = data
        self.keylen = keylen
        self.kind = kind
        self.infos = infos
        self.walk = walk = Walk(data, keylen, infos)
        walk.root.kind = kind
        walk.object(kind, 0)  # bytes behind its end, which nothing reads, are copied as they are
        self.branches, self.leaves = self._array("fBranches"), self._array("fLeaves")
        entries = self._count("fEntries")
        if entries != int(entries) or entries < 0:
            raise Unwalkable(f"it claims {entries} entries")
        self.entries = int(entries)
        self.clusters = self._clusters()
        features = self._members.get("fIOFeatures")
        self.io_features = data[features.start : features.end] if features else None
        # Branches within branches come after them and give way to them.
        nodes = [node for node in walk.objects.values() if node.kind.startswith("TBranch") and self._within(node)]
        self.names = {node.name: node for node in reversed(nodes) if node.name is not None}

    @property
    def _members(self) -> dict[str, Member]:
        return self.walk.root.members

    def _within(self, node: Node) -> bool:
        return self.branches.start < node.start < self.branches.end

    def _array(self, name: str) -> Array:
        member = self._members.get(name)
        if member is None or member.array is None:
            if not self.walk.unknown:
                raise Unwalkable(f"it is a {self.kind} and no tree")
            raise Unwalkable(f"its {name} cannot be found ({self.walk.unknown[0][2]})")
        return member.array

    def _number(self, member: Member) -> tuple[Struct, float | int]:
        form = _COUNTERS.get(member.type)
        if form is None or member.end - member.start != 8:
            raise Unwalkable(f"a counter is of the unknown type {member.type}")
        (value,) = form.unpack_from(self.data, member.start)
        return form, value

    def _count(self, name: str) -> float | int:
        member = self._members.get(name)
        if member is None:
            raise Unwalkable(f"it has no {name}")
        value = self._number(member)[1]
        if value != value or abs(value) > LARGEST_COUNT:
            raise Unwalkable(f"its {name} is {value}")
        return value

    def _clusters(self) -> Clusters:
        members = self._members
        arrays = []
        for name in ("fClusterRangeEnd", "fClusterSize"):
            member = members.get(name)
            body = self.data[member.start + 1 : member.end] if member else b""
            arrays.append([value for (value,) in I64.iter_unpack(body)] if len(body) % 8 == 0 else [])
        flush = self._count("fAutoFlush") if "fAutoFlush" in members else 0
        ends, sizes = arrays
        return clusters_of(ends, sizes if len(sizes) == len(ends) else [0] * len(ends), int(flush), self.entries)

    def is_top(self, name: str) -> bool:
        """Return whether a branch is one of the tree itself and not within another branch."""
        return name in self.names and self.names[name].start in self.branches.items

    def rewritten(self, items: Sequence[NewItem], dropped: Collection[str], keylen: int) -> bytes:
        """Return the payload with branches added and others unhooked.

        Args:
            items: new branches.
            dropped: branches to unhook.
            keylen: bytes of the new key, from which tags count.

        Returns:
            The new payload.

        Raises:
            Unwalkable: something behind a change could not be walked, or needs a branch that is unhooked.
        """
        edits = self._drops([self.names[name] for name in dropped])
        added = b"".join(item.data for item in items)
        start = self.branches.end + sum(edit.growth for edit in edits if edit.end <= self.branches.end)
        tags, at = [], start + keylen + 2
        for item in items:
            tags.append(U32.pack(at + item.leaf_at))
            at += len(item.data)
        # Behind what is removed at the same place.
        edits.append(Edit(self.branches.end, 0, added, self.branches.start))
        edits.append(Edit(self.leaves.end, 0, b"".join(tags), self.leaves.start))
        edits.sort(key=lambda edit: (edit.end, edit.removed == 0, edit.owner))
        first = min(edit.at for edit in edits) if keylen == self.keylen else 0
        for begin, end, reason in self.walk.unknown:
            if end > first:
                raise Unwalkable(f"bytes {begin} to {end} of the tree's record cannot be walked: {reason}")
        new = _apply(self._patched(items, dropped), self.walk, edits, keylen)
        self._compare(new, keylen, len(items), dropped)
        return new

    def _compare(self, new: bytes, keylen: int, added: int, dropped: Collection[str]) -> None:
        """Walk the new payload, too: it must hold the same objects, and every tag must point at what it pointed at."""
        other = TreeRecord(new, keylen, self.kind, self.infos)
        gone = [self.names[name] for name in dropped]
        old_tags = [_meaning(self.walk, each) for each in self._kept(gone)]
        new_leaves = set(other.leaves.items[len(other.leaves.items) - added :])
        new_tags = [_meaning(other.walk, each) for each in other.walk.references if each.at not in new_leaves]
        if (
            old_tags != new_tags
            or len(other.walk.references) != len(new_tags) + added
            or len(other.walk.unknown) != len(self.walk.unknown)
            or len(other.branches.items) != len(self.branches.items) + added - len(gone)
            or other.entries != self.entries
        ):
            raise Unwalkable("the changed record does not hold what it should; nothing was changed")

    def _kept(self, gone: Sequence[Node]) -> list[Reference]:
        """Return the references that are still tags without the branches that go."""
        kept, anew = [], set()
        for each in self.walk.references:
            if _inside(each.at, gone):
                continue
            if _inside(each.target, gone) and (not each.is_class or each.target not in anew):
                anew.add(each.target)  # a class is introduced here instead; a leaf is unhooked
                continue
            kept.append(each)
        return kept

    def _drops(self, nodes: Sequence[Node]) -> list[Edit]:
        """Return the edits that unhook branches with their leaves, and introduce anew the classes they introduced."""
        edits = [Edit(node.start, node.end - node.start, b"", self.branches.start) for node in nodes]
        moved: set[int] = set()
        for reference in self.walk.references:
            if not _inside(reference.target, nodes) or _inside(reference.at, nodes):
                continue
            if reference.is_class:
                if reference.target not in moved:
                    moved.add(reference.target)
                    name = self.walk.classes[reference.target].encode("latin1")
                    introduced = U32.pack(NEW_CLASS) + name + b"\0"
                    edits.append(Edit(reference.at, 4, introduced, reference.at - 4))
            elif reference.at in self.leaves.items:
                edits.append(Edit(reference.at, 4, b"", self.leaves.start))
            else:
                node = next(node for node in nodes if _inside(reference.target, [node]))
                raise Unwalkable(f"something else in the tree needs branch '{node.name}', such as an array it counts")
        return edits

    def _patched(self, items: Sequence[NewItem], dropped: Collection[str]) -> bytes:
        """Return the payload with the new counts of branches, leaves and bytes."""
        data = bytearray(self.data)
        gone = [self.names[name] for name in dropped]
        for array, taken in ((self.branches, gone), (self.leaves, self._leaves_of(gone))):
            I32.pack_into(data, array.count_at, len(array.items) - len(taken) + len(items))
        for name, more in (("fTotBytes", "total"), ("fZipBytes", "stored")):
            if name not in self._members:
                continue
            form, value = self._number(self._members[name])
            value += sum(getattr(item, more) for item in items)
            value -= sum(self._number(node.members[name])[1] for node in gone if name in node.members)
            value = min(max(0, value), LARGEST_COUNT) if isfinite(value) else 0
            form.pack_into(data, self._members[name].start, value if form is F64 else int(value))
        return bytes(data)

    def _leaves_of(self, nodes: Sequence[Node]) -> list[int]:
        return [
            reference.at
            for reference in self.walk.references
            if _inside(reference.target, nodes) and reference.at in self.leaves.items
        ]


def _meaning(walk: Walk, reference: Reference) -> str:
    """Return what a tag means: a class, or an object by class and name."""
    if reference.is_class:
        return walk.classes[reference.target]
    node = walk.objects.get(reference.target)
    return f"{node.kind} {node.name}" if node else ""


def _inside(at: int, nodes: Sequence[Node]) -> bool:
    return any(node.start <= at < node.end for node in nodes)


def _apply(data: bytes, walk: Walk, edits: Sequence[Edit], keylen: int) -> bytes:
    """Return a payload after edits, with byte counts and tags put right."""

    def moved(at: int) -> int:
        return at + sum(edit.growth for edit in edits if edit.end <= at)

    def removed(at: int) -> bool:
        return any(edit.at <= at < edit.end and not edit.added for edit in edits)

    parts, at = [], 0
    for edit in edits:
        parts += [data[at : edit.at], edit.added]
        at = edit.end
    new = bytearray(b"".join([*parts, data[at:]]))

    for start, end in walk.counts:
        growth = sum(edit.growth for edit in edits if start <= edit.owner and edit.end <= end)
        if growth and not removed(start):
            length = (number(data, U32, start, len(data)) & BYTE_COUNT_MASK) + growth
            if length > BYTE_COUNT_MASK:
                raise Unwalkable("its record would grow beyond 1 GB")
            U32.pack_into(new, moved(start), BYTE_COUNT | length)

    anew: dict[int, int] = {}
    replaced = {edit.at for edit in edits if edit.removed and edit.added}
    for reference in walk.references:
        if removed(reference.at):
            continue
        if reference.at in replaced:
            anew[reference.target] = reference.at
            continue
        target = moved(anew.get(reference.target, reference.target))
        tag = target + keylen + 2 | (CLASS if reference.is_class else 0)
        U32.pack_into(new, moved(reference.at), tag)
    return bytes(new)
