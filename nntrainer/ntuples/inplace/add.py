"""Add branches to trees of a file: open, append values, commit."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from nntrainer.errors import InPlaceError, nearest, one_of
from nntrainer.ntuples.inplace.baskets import Baskets, BranchType, branch_type
from nntrainer.ntuples.inplace.branch import Versions, branch_item, classes_for, versions_for
from nntrainer.ntuples.inplace.compression import compress, decompress
from nntrainer.ntuples.inplace.fields import TOBJECT, U16, Unwalkable, counted, packed_string
from nntrainer.ntuples.inplace.keys import Key, new_key, unpack_key
from nntrainer.ntuples.inplace.layout import Directory, RootFile
from nntrainer.ntuples.inplace.schema import Info
from nntrainer.ntuples.inplace.streamers import NOTHING, known_infos, missing_blobs, read_infos, with_infos
from nntrainer.ntuples.inplace.tree import NewItem, TreeRecord

ADVICE = "use --mode friend, which leaves the ntuple as it is"
LONGEST_MESSAGE = 1000
_FORBIDDEN = set("/[]:;{}\\\"'")


class TreeBranches:
    """New branches of one tree; made by :meth:`InPlace.tree`.

    Args:
        file: the open file.
        directory: where the tree lies.
        place: its place in the directory's list of keys.
        key: its key.
        record: the walked tree.
        versions: of the classes to write.

    Attributes:
        name: the tree's name, without directories.
        entries: its number of entries.
    """

    def __init__(
        self, file: RootFile, directory: Directory, place: int, key: Key, record: TreeRecord, versions: Versions
    ) -> None:
        self.directory = directory
        self.place = place
        self.key = key
        self.record = record
        self.name = key.name.decode("utf-8", "replace")
        self.entries = record.entries
        self._file = file
        self._versions = versions
        self._baskets: dict[str, Baskets] = {}
        self._dropped: list[str] = []

    @property
    def leaves(self) -> list[str]:
        """The classes of the new leaves."""
        return [baskets.type.leaf for baskets in self._baskets.values()]

    def begin(self, branches: Mapping[str, BranchType], overwrite: bool = False) -> None:
        """Name the new branches.

        Args:
            branches: what each holds.
            overwrite: unhook branches of these names.

        Raises:
            InPlaceError: a name cannot be one, is taken, or is that of a branch that cannot be unhooked.
        """
        if not branches:
            raise InPlaceError(f"{self._where}: no branch is given")
        for name, kind in branches.items():
            if not name or not name.isprintable() or _FORBIDDEN & set(name):
                raise InPlaceError(f"{self._where}: '{name}' cannot be the name of a branch")
            if name in self._baskets:
                raise InPlaceError(f"{self._where}: branch '{name}' would be added twice")
            if name in self.record.names:
                if not overwrite:
                    raise InPlaceError(
                        f"{self._where} already has a branch '{name}'; give another name, or say to overwrite it "
                        "(--overwrite-branch)"
                    )
                if not self.record.is_top(name):
                    raise InPlaceError(f"{self._where}: branch '{name}' is part of another and cannot be overwritten")
                self._dropped.append(name)
            self._baskets[name] = Baskets(
                self._file, self.key.name, name.encode(), kind, self.directory.seek, self.record.clusters
            )

    @property
    def _where(self) -> str:
        return f"{self._file.path}: tree '{self.name}'"

    def extend(self, values: Mapping[str, np.ndarray]) -> None:
        """Take the values of further entries; whole baskets are written at once.

        Args:
            values: one array a branch, all of one length.

        Raises:
            InPlaceError: a branch is missing or was not named, the arrays differ in length, or there are more values
                than entries.
        """
        if set(values) != set(self._baskets):
            raise InPlaceError(f"{self._where}: got {one_of(values)}, and the new branches are {one_of(self._baskets)}")
        lengths = {name: len(array) for name, array in values.items()}
        if len(set(lengths.values())) > 1:
            raise InPlaceError(f"{self._where}: the arrays differ in length: {lengths}")
        for name, array in values.items():
            baskets = self._baskets[name]
            if baskets.entries + len(array) > self.entries:
                raise self._wrong_count(name, baskets.entries + len(array))
            baskets.extend(array)

    def _wrong_count(self, name: str, count: int) -> InPlaceError:
        return InPlaceError(
            f"{self._where} has {self.entries:,} entries and branch '{name}' was given {count:,} values; give one "
            "an entry"
        )

    def _finish(self) -> None:
        for name, baskets in self._baskets.items():
            if baskets.entries != self.entries:
                raise self._wrong_count(name, baskets.entries)
            baskets.finish()

    def _write(self) -> Key:
        """Append the new record of the tree and return its key."""
        items = []
        for baskets in self._baskets.values():
            data, leaf_at = branch_item(baskets, self._versions, self._file.header.compress)
            items.append(NewItem(data, leaf_at, baskets.total, baskets.stored))
        keylen = self._file.key_size(self.key)
        payload = self.record.rewritten(items, self._dropped, keylen)
        return self._file.append(self.key, compress(payload, self._file.header.compress), len(payload))


class InPlace:
    """A ROOT file whose trees are given new branches; everything is appended, and counts when it is committed.

    Leave the ``with`` block without :meth:`commit` and the file is what it was.

    Args:
        path: the file.

    Raises:
        InPlaceError: it cannot be opened for changes or is no ROOT file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        with _told(self.path):
            self._file = RootFile(self.path)
        self._trees: list[TreeBranches] = []
        self._notes: dict[str, str] = {}
        self._infos: dict[tuple[str, int], Info] | None = None
        self._info_record: tuple[Key, bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file; what was not committed is cut off."""
        self._file.__exit__(kind, error, trace)

    def tree(self, path: str) -> TreeBranches:
        """Open a tree.

        Args:
            path: its name, with directories; ``;2`` at the end means that cycle, else the newest is taken.

        Returns:
            The tree, to name new branches.

        Raises:
            InPlaceError: there is none, it is an RNTuple, or its record is damaged or unknown.
        """
        with _told(self.path, f"tree '{path}': "):
            name, _, cycle = path.rpartition(";")
            known = bool(name) and cycle.isdecimal() and cycle.isascii()
            directory, place, key = self._find(name, int(cycle)) if known else self._find(path, None)
            if any(each.key == key for each in self._trees):
                raise InPlaceError(f"{self.path}: tree '{path}' is opened twice")
            kind = key.kind_name
            if "RNTuple" in kind:
                raise InPlaceError(
                    f"{self.path}: '{path}' is an RNTuple, which cannot take branches in place; {ADVICE}"
                )
            data = self._payload(key)
            infos = self._read_infos()
            record = TreeRecord(data, key.keylen, kind, {**known_infos(), **infos})
            tree = TreeBranches(self._file, directory, place, key, record, versions_for(infos, record.io_features))
            self._trees.append(tree)
            return tree

    def note(self, name: str, text: str) -> None:
        """Store a text in the top directory, as a ``TObjString``; one of that name gives way to it."""
        self._notes[name] = text

    def commit(self, undo: Path | None = None, *, durable: bool = True) -> None:
        """Write what is left and make the new branches part of the file.

        Args:
            undo: file to keep the overwritten bytes in; see :func:`opening.restore`.
            durable: wait for the disk. A copy that has not got its name yet needs no such care, and what was copied
                may take the disk long.

        Raises:
            InPlaceError: a branch has too few values, or the file has a structure that cannot be changed.
        """
        file = self._file
        for tree in self._trees:
            with _told(self.path, f"tree '{tree.name}': "):
                tree._finish()
        with _told(self.path):
            info = self._write_infos()
        replaced: dict[Directory, dict[int, Key]] = {}
        for tree in self._trees:
            with _told(self.path, f"tree '{tree.name}': "):
                replaced.setdefault(tree.directory, {})[tree.place] = tree._write()
        with _told(self.path):
            root = file.root_directory()
            notes = self._write_notes(root, replaced)
            changed = [
                (directory, file.replace_keys(directory, keys, notes if directory == root else ()))
                for directory, keys in replaced.items()
            ]
            file.commit(changed, info, undo, durable=durable)

    def _write_notes(self, root: Directory, replaced: dict[Directory, dict[int, Key]]) -> list[Key]:
        """Append the texts; return the keys of those that are new."""
        added = []
        for name, text in self._notes.items():
            raw = name.encode()
            there = [(place, key) for place, (key, _) in enumerate(self._file.keys(root)[1]) if key.name == raw]
            cycle = max((key.cycle for _, key in there), default=0) + 1
            payload = counted(U16.pack(1), TOBJECT, packed_string(text.encode()))
            template = new_key(b"TObjString", raw, b"Collectable string class", root.seek, cycle)
            placed = self._file.append(template, compress(payload, self._file.header.compress), len(payload))
            old = [place for place, key in there if key.kind == b"TObjString"]
            replaced.setdefault(root, {})
            if old:
                replaced[root][old[0]] = placed
            else:
                added.append(placed)
        return added

    def _find(self, path: str, cycle: int | None) -> tuple[Directory, int, Key]:
        """Return the directory of an object, its place in the list and its key."""
        root = self._file.root_directory()
        found = self._search(root, path.split("/"), cycle) or self._search(root, path.strip("/").split("/"), cycle)
        if found is None:
            there = [key.name.decode("utf-8", "replace") for key, _ in self._file.keys(root)[1]]
            wanted = path if cycle is None else f"{path};{cycle}"
            has = one_of(dict.fromkeys(there)) if there else "nothing"
            raise InPlaceError(f"{self.path}: there is no tree '{wanted}'; it has {has}.{nearest(path, there)}")
        return found

    def _search(
        self, directory: Directory, parts: Sequence[str], cycle: int | None
    ) -> tuple[Directory, int, Key] | None:
        """Look for an object in a directory and those below; a name may have slashes of its own."""
        _, entries = self._file.keys(directory)
        name = "/".join(parts).encode("utf-8", "surrogateescape")
        hits = [
            (key.cycle, place, key)
            for place, (key, _) in enumerate(entries)
            if key.name == name and cycle in (None, key.cycle) and not key.kind.startswith(b"TDirectory")
        ]
        if hits:
            _, place, key = max(hits, key=lambda hit: hit[0])
            return directory, place, key
        for split in range(len(parts) - 1, 0, -1):
            name = "/".join(parts[:split]).encode("utf-8", "surrogateescape")
            for key, _ in entries:
                if key.name == name and key.kind.startswith(b"TDirectory"):
                    below = self._file.directory(key.seek, key.keylen)
                    if (found := self._search(below, parts[split:], cycle)) is not None:
                        return found
        return None

    def _payload(self, key: Key) -> bytes:
        """Return the decompressed payload of a record."""
        data = self._file.read(key.seek, key.nbytes)
        own, end = unpack_key(data, 0, len(data))
        if (own.objlen, own.keylen) != (key.objlen, key.keylen) or end != key.keylen:
            raise Unwalkable("its key in the directory and that of its record differ")
        return decompress(data[key.keylen :], key.objlen)

    def _read_infos(self) -> dict[tuple[str, int], Info]:
        """Return the descriptions of classes in the file."""
        if self._infos is None:
            self._infos = {}
            if self._file.header.seek_info and self._file.header.nbytes_info > 0:
                key = self._file.key_at(self._file.header.seek_info)
                if key.keylen != key.size:
                    raise Unwalkable("the key of its StreamerInfo is damaged")
                data = decompress(self._file.read(key.seek, key.nbytes)[key.keylen :], key.objlen)
                self._info_record = (key, data)
                self._infos = dict(read_infos(data, key.keylen).found)
        return self._infos

    def _write_infos(self) -> Key | None:
        """Append a StreamerInfo record with the classes of the new branches; return its key if one was needed."""
        classes = [each for tree in self._trees for each in classes_for(tree._versions, tree.leaves)]
        if self._notes:
            classes.append(("TObjString", 1))
        blobs = missing_blobs(self._read_infos(), list(dict.fromkeys(classes)))
        if not blobs:
            return None
        key, data = self._info_record or (
            new_key(b"TList", b"StreamerInfo", b"Doubly linked list", self._file.header.begin),
            NOTHING,
        )
        keylen = self._file.key_size(key)
        if self._info_record and keylen != key.keylen:
            data = read_infos(data, key.keylen).moved(keylen)
        payload = with_infos(data, blobs)
        return self._file.append(key, compress(payload, self._file.header.compress), len(payload))


@contextmanager
def _told(path: str, what: str = "") -> Iterator[None]:
    """Name the file and the tree in what goes wrong."""
    try:
        yield
    except Unwalkable as error:
        raise InPlaceError(f"{path}: {what}{_plain(error)}; {ADVICE}") from None
    except InPlaceError as error:
        raise InPlaceError(_plain(error)) from None
    except OSError as error:
        raise InPlaceError(f"{path}: {what}cannot be read or written: {error.strerror or error}") from None


def _plain(error: InPlaceError) -> str:
    """Return a message in one line, not too long: damaged files have all kinds of names in them."""
    text = "".join(sign if sign.isprintable() else "?" for sign in str(error))
    return text if len(text) <= LONGEST_MESSAGE else f"{text[:LONGEST_MESSAGE]}..."


def add_branches(
    path: str | os.PathLike[str],
    tree: str,
    branches: Mapping[str, Any],
    overwrite: bool = False,
) -> None:
    """Add branches to a TTree of a ROOT file in place, whoever wrote it; no byte of an existing basket changes.

    The file has its old content until the last write, and is cut back to its size if anything goes wrong.

    Args:
        path: the file.
        tree: the tree's name, with directories; ``name;2`` for an older cycle than the newest.
        branches: one array a branch with one value an entry (1-d), or the same number for each (2-d).
        overwrite: unhook branches of these names that exist.

    Raises:
        InPlaceError: the file, the tree or the arrays do not allow it; the file is what it was.
    """
    arrays = {name: _array(name, values) for name, values in branches.items()}
    types = {name: branch_type(name, array.dtype, array.shape[1:]) for name, array in arrays.items()}
    with InPlace(path) as file:
        opened = file.tree(tree)
        opened.begin(types, overwrite)
        with _told(file.path):
            opened.extend(arrays)
        file.commit()


def _array(name: str, values: Any) -> np.ndarray:
    try:
        array = np.asarray(values)
    except (ValueError, TypeError) as error:
        reason = str(error).splitlines()[0][:160]
        raise InPlaceError(f"branch '{name}' was not given numbers: {reason}") from None
    if array.ndim == 0:
        raise InPlaceError(f"branch '{name}' was given a single value; give one an entry")
    return array
