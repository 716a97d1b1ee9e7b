"""A ROOT file as a whole: header, directories, lists of keys, free space; and how a changed one is committed.

::

    0       header: where the file ends, where StreamerInfo and the list of free space lie
    fBEGIN  records, one behind the other: baskets, trees, histograms, lists of keys ...
    fEND    end

The header of a directory (in its record, behind the key and the name) says where its list of keys lies; the list has a
copy of each object's key, which says where the object lies. So an object is replaced by appending the new one and a new
list of keys, and pointing the directory there.

Nothing before ``fEND`` is written until everything new is on the disk. Then the file header is written, which makes the
new records part of the file, though nothing points at the new list yet; then the headers of the directories. Whatever
is interrupted, the file has its old content, or, after the last write, its new one. The old records stay where they
are: they could be given to the free space only by a further change. Before the headers are written, their bytes can be
kept aside (``undo``), from which :func:`opening.restore` makes the file what it was, byte for byte.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from nntrainer.ntuples.inplace.fields import I16, I32, Unwalkable, numbers
from nntrainer.ntuples.inplace.keys import BIG, BIG_FILE, Key, needs_big, now, record, unpack_key, unpack_keys
from nntrainer.ntuples.inplace.opening import keep, open_locked, put

BIG_VERSION = 1_000_000
UUID = 18
PAGE = 4096
_HEADER, _BIG_HEADER = struct.Struct(">iiiiiiibiii"), struct.Struct(">iiqqiiibiqi")
_DIRECTORY, _BIG_DIRECTORY = struct.Struct(">hIIiiiii"), struct.Struct(">hIIiiqqq")
_FREE, _BIG_FREE = struct.Struct(">hii"), struct.Struct(">hqq")
_LONGEST_KEY = 32767


@dataclass(frozen=True)
class Header:
    """The file header behind the word ``root``; names as in ROOT without the f."""

    version: int
    begin: int
    end: int
    seek_free: int
    nbytes_free: int
    nfree: int
    nbytes_name: int
    units: int
    compress: int
    seek_info: int
    nbytes_info: int

    @property
    def big(self) -> bool:
        """Whether positions have 64 bits."""
        return self.version >= BIG_VERSION

    def pack(self) -> bytes:
        """Return the streamed header."""
        fields = (self.version, self.begin, self.end, self.seek_free, self.nbytes_free, self.nfree, self.nbytes_name)
        more = (self.units, self.compress, self.seek_info, self.nbytes_info)
        return (_BIG_HEADER if self.big else _HEADER).pack(*fields, *more)


@dataclass(frozen=True)
class Directory:
    """The header of a directory, which lies at ``at``; ``room`` bytes are there for it."""

    at: int
    room: int
    version: int
    created: int
    modified: int
    nbytes_keys: int
    nbytes_name: int
    seek: int
    parent: int
    seek_keys: int

    @property
    def big(self) -> bool:
        """Whether positions have 64 bits."""
        return self.version > BIG

    def pack(self) -> bytes:
        """Return the streamed header, without the UUID that may follow."""
        fields = (self.version, self.created, self.modified, self.nbytes_keys, self.nbytes_name)
        return (_BIG_DIRECTORY if self.big else _DIRECTORY).pack(*fields, self.seek, self.parent, self.seek_keys)


class RootFile:
    """An open ROOT file, to whose end records are appended.

    Args:
        path: the file.

    Attributes:
        header: the file header.
        tail: where the next record will lie.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self._handle = open_locked(self.path)
        try:
            self.size = os.fstat(self._handle).st_size
            self.header = self._read_header()
        except BaseException:
            os.close(self._handle)
            raise
        self.tail = self.header.end
        self._committed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file; what was appended and not committed is cut off."""
        try:
            if not self._committed and self.tail > self.header.end:
                os.ftruncate(self._handle, self.size)
        finally:
            os.close(self._handle)

    def read(self, at: int, count: int) -> bytes:
        """Return bytes of the file.

        Args:
            at: position.
            count: how many.

        Returns:
            The bytes.

        Raises:
            Unwalkable: they do not lie in the file.
        """
        if at < 0 or count < 0 or at + count > max(self.header.end, self.tail):
            raise Unwalkable(f"bytes {at:,} to {at + count:,} are wanted, and the file ends at {self.header.end:,}")
        data = os.pread(self._handle, count, at)
        while len(data) < count and (more := os.pread(self._handle, count - len(data), at + len(data))):
            data += more
        if len(data) != count:
            raise Unwalkable(f"bytes {at:,} to {at + count:,} cannot be read")
        return data

    def _read_header(self) -> Header:
        data = os.pread(self._handle, 100, 0)
        if len(data) < 64 or data[:4] != b"root":
            raise Unwalkable("not a ROOT file; it does not begin with 'root' and a header")
        version, begin = struct.unpack_from(">ii", data, 4)
        if not 64 <= begin <= 1 << 16 or version <= 0:
            swapped = struct.unpack_from("<ii", data, 4)
            if 64 <= swapped[1] <= 1 << 16 and swapped[0] > 0:
                raise Unwalkable("its header is in the other byte order; ROOT files are big-endian")
            raise Unwalkable(f"damaged; its header says that the records begin at byte {begin}")
        form = _BIG_HEADER if version >= BIG_VERSION else _HEADER
        header = Header(*form.unpack_from(data, 4))
        if not begin < header.end <= self.size:
            raise Unwalkable(
                f"truncated; its header speaks of {header.end:,} bytes and {self.size:,} are there"
                if header.end > self.size
                else f"damaged; its header says that it ends at byte {header.end}"
            )
        return header

    def key_at(self, at: int) -> Key:
        """Return the key of the record at a position."""
        data = self.read(at, min(_LONGEST_KEY, self.header.end - at) if 0 <= at < self.header.end else -1)
        key, end = unpack_key(data, 0, len(data))
        if key.keylen < end or key.nbytes < key.keylen or at + key.nbytes > self.header.end:
            raise Unwalkable(f"the key of the record at byte {at:,} is damaged")
        return key

    def root_directory(self) -> Directory:
        """Return the directory of the file itself."""
        return self.directory(self.header.begin, self.header.nbytes_name)

    def directory(self, record_at: int, offset: int) -> Directory:
        """Return the directory whose record lies at ``record_at`` and has the header ``offset`` bytes behind."""
        whole = self.key_at(record_at).nbytes
        at = record_at + offset
        data = self.read(at, min(_BIG_DIRECTORY.size, self.header.end - at))
        version = numbers(data, I16, 0, len(data))[0]
        form = _BIG_DIRECTORY if version > BIG else _DIRECTORY
        directory = Directory(at, record_at + whole - at, *numbers(data, form, 0, len(data)))
        if directory.seek != record_at:
            raise Unwalkable(f"the header of the directory at byte {record_at:,} is damaged")
        return directory

    def keys(self, directory: Directory) -> tuple[Key, list[tuple[Key, bytes]]]:
        """Return the key of a directory's list, and the keys in it, each with its bytes."""
        data = self.read(directory.seek_keys, directory.nbytes_keys)
        own, _ = unpack_key(data, 0, len(data))
        return own, unpack_keys(data, own.keylen, len(data))

    def key_size(self, key: Key) -> int:
        """Return the size that a key would have in the next record; it hangs on where that lies."""
        return record(key, self.tail, b"", 0)[1].keylen

    def append(self, key: Key, payload: bytes, objlen: int, extra: bytes = b"") -> Key:
        """Append a record and return its key."""
        data, placed = record(key, self.tail, payload, objlen, extra)
        put(self._handle, data, self.tail)
        self.tail += len(data)
        return placed

    def replace_keys(self, directory: Directory, replaced: dict[int, Key], added: Iterable[Key] = ()) -> Directory:
        """Append a new list of keys and return the directory that points there.

        Args:
            directory: the directory.
            replaced: new keys by place in the list.
            added: further keys.

        Returns:
            The directory with its new header, which is not written yet.
        """
        own, entries = self.keys(directory)
        listed = [replaced[i].pack() if i in replaced else raw for i, (_, raw) in enumerate(entries)]
        listed += [key.pack() for key in added]
        body = I32.pack(len(listed)) + b"".join(listed)
        # Not shorter than the old list: until its place is written, too, the old list is read with the new length.
        body = body.ljust(directory.nbytes_keys - own.keylen, b"\0")
        placed = self.append(replace(own, version=own.version % BIG), body, len(body))
        version = directory.version + (BIG if needs_big(placed.seek) and not directory.big else 0)
        return replace(directory, version=version, modified=now(), nbytes_keys=placed.nbytes, seek_keys=placed.seek)

    def commit(
        self,
        directories: Iterable[tuple[Directory, Directory]],
        info: Key | None,
        undo: Path | None = None,
        *,
        durable: bool = True,
    ) -> None:
        """Make what was appended part of the file.

        Args:
            directories: old and new header of each directory that changes.
            info: the key of a new StreamerInfo record.
            undo: file to keep the overwritten bytes in until the new file was verified.
            durable: wait for the disk, so that a machine that stops at any moment leaves the old or the new file.

        Raises:
            Unwalkable: the file has no room to grow beyond 2 GB.
        """
        directories = list(directories)
        header = replace(
            self.header,
            seek_info=info.seek if info else self.header.seek_info,
            nbytes_info=info.nbytes if info else self.header.nbytes_info,
        )
        header = self._append_free(header)
        writes = [self._header_bytes(header)]
        for old, new in directories:
            writes += self._directory_bytes(old, new)

        def sync() -> None:
            if durable:
                os.fsync(self._handle)

        os.ftruncate(self._handle, self.tail)
        sync()
        if undo is not None:
            keep(undo, self.size, self.tail, [(at, self.read(at, len(data)), data) for at, data in writes])
        self._committed = True
        for at, data in writes:
            put(self._handle, data, at)
            sync()

    def _append_free(self, header: Header) -> Header:
        """Append the list of free space: the old gaps, and everything behind the new end."""
        begin, old_end = self.header.begin, self.header.end
        gaps = [gap for gap in self._free() if begin <= gap[0] <= gap[1] < old_end]  # others are damaged
        template = self.key_at(self.header.begin)
        key = replace(template, version=template.version % BIG, cycle=1)
        body, end, known = b"", self.tail, -1
        while len(body) != known:  # the list lies before the end that it tells, and 64 bits make it longer
            known = len(body)
            end = self.tail + len(record(key, self.tail, body, len(body))[0])
            last = BIG_FILE
            while last <= end:
                last += 1_000_000_000
            body = b"".join(
                _BIG_FREE.pack(1001, *each) if each[1] > BIG_FILE else _FREE.pack(1, *each)
                for each in (*gaps, (end, last))
            )
        placed = self.append(key, body, len(body))
        big = header.big or needs_big(self.tail)
        return replace(
            header,
            version=header.version + (BIG_VERSION if big and not header.big else 0),
            units=8 if big else header.units,
            end=self.tail,
            seek_free=placed.seek,
            nbytes_free=placed.nbytes,
            nfree=len(gaps) + 1,
        )

    def _free(self) -> list[tuple[int, int]]:
        """Return the free segments; none where the list cannot be read, which only leaves the gaps unused."""
        found = []
        try:
            data = self.read(self.header.seek_free, self.header.nbytes_free)
            key, at = unpack_key(data, 0, len(data))
            at = key.keylen
            for _ in range(self.header.nfree):
                form = _BIG_FREE if numbers(data, I16, at, len(data))[0] > BIG else _FREE
                _, first, last = numbers(data, form, at, len(data))
                found.append((first, last))
                at += form.size
        except Unwalkable:
            return []
        return found

    def _header_bytes(self, header: Header) -> tuple[int, bytes]:
        data = header.pack()
        if header.big and not self.header.big:  # the UUID behind it moves by 12 bytes
            data += self.read(4 + _HEADER.size, UUID)
        if 4 + len(data) > header.begin:
            raise Unwalkable(f"its header has no room to grow beyond 2 GB: the records begin at byte {header.begin}")
        return 4, data

    def _directory_bytes(self, old: Directory, new: Directory) -> list[tuple[int, bytes]]:
        """Return what to write for a directory: its header, in two steps where it lies across a page."""
        data = new.pack()
        if new.big and not old.big:
            room = min(old.room, _DIRECTORY.size + 12 + UUID)
            if room < _BIG_DIRECTORY.size:
                raise Unwalkable(f"the directory at byte {old.seek:,} has no room to grow beyond 2 GB")
            if old.room >= _BIG_DIRECTORY.size + UUID:
                data += self.read(old.at + _DIRECTORY.size, UUID)
            return [(old.at, data)]
        if old.at // PAGE == (old.at + len(data) - 1) // PAGE:
            return [(old.at, data)]
        first = struct.calcsize(">hIIii")
        return [(old.at, data[:first]), (old.at + first, data[first:])]
