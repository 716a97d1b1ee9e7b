"""TKeys: the head of every record of a ROOT file, and the entries of a directory's list.

``fNbytes fVersion fObjlen fDatime fKeylen fCycle fSeekKey fSeekPdir class name title``: ``fNbytes`` is the size of the
record with its key, ``fKeylen`` that of the key, ``fObjlen`` that of the payload before compression. Versions above
1000 have 64-bit seek pointers.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from struct import Struct

from nntrainer.ntuples.inplace.fields import I32, Unwalkable, number, numbers, packed_string, string

# Positions above need 64 bits in ROOT's eyes (kStartBigFile), though 32 would hold a little more.
BIG_FILE = 2_000_000_000
_HEAD = Struct(">ihiIhh")
_SEEKS, _BIG_SEEKS = Struct(">ii"), Struct(">qq")
BIG = 1000


def now() -> int:
    """Return the time as a TDatime."""
    t = time.gmtime()
    return (t.tm_year - 1995) << 26 | t.tm_mon << 22 | t.tm_mday << 17 | t.tm_hour << 12 | t.tm_min << 6 | t.tm_sec


def needs_big(*positions: int) -> bool:
    """Return whether a position needs 64 bits."""
    return any(position > BIG_FILE for position in positions)


@dataclass(frozen=True)
class Key:
    """A TKey; names as in ROOT without the f, sizes in bytes."""

    nbytes: int
    version: int
    objlen: int
    datime: int
    keylen: int
    cycle: int
    seek: int
    directory: int
    kind: bytes
    name: bytes
    title: bytes

    @property
    def big(self) -> bool:
        """Whether the seek pointers have 64 bits."""
        return self.version > BIG

    @property
    def size(self) -> int:
        """The size of the key as it is streamed."""
        return len(self.pack())

    def pack(self) -> bytes:
        """Return the streamed key."""
        head = _HEAD.pack(self.nbytes, self.version, self.objlen, self.datime, self.keylen, self.cycle)
        seeks = (_BIG_SEEKS if self.big else _SEEKS).pack(self.seek, self.directory)
        return head + seeks + b"".join(packed_string(text) for text in (self.kind, self.name, self.title))

    @property
    def kind_name(self) -> str:
        """The class."""
        return self.kind.decode("utf-8", "replace")


def unpack_key(data: bytes, at: int, stop: int) -> tuple[Key, int]:
    """Return a key and the position after it."""
    nbytes, version, objlen, datime, keylen, cycle = numbers(data, _HEAD, at, stop)
    form = _BIG_SEEKS if version > BIG else _SEEKS
    seek, directory = numbers(data, form, at + _HEAD.size, stop)
    at += _HEAD.size + form.size
    kind, at = string(data, at, stop)
    name, at = string(data, at, stop)
    title, at = string(data, at, stop)
    return Key(nbytes, version, objlen, datime, keylen, cycle, seek, directory, kind, name, title), at


def record(key: Key, seek: int, payload: bytes, objlen: int, extra: bytes = b"") -> tuple[bytes, Key]:
    """Return a record to be stored at ``seek``, and its key.

    Args:
        key: class, names, cycle, directory and version; a position beyond 2 GB makes it a 64-bit one.
        seek: where it will lie.
        payload: the stored bytes.
        objlen: bytes of the payload before compression.
        extra: what belongs to the key beyond a TKey (of a TBasket).

    Returns:
        The bytes and the key.

    Raises:
        Unwalkable: the names do not fit into a key.
    """
    version = key.version + (BIG if not key.big and needs_big(seek, key.directory) else 0)
    key = replace(key, version=version, seek=seek, objlen=objlen, datime=now())
    keylen = key.size + len(extra)
    if keylen > 32767:
        raise Unwalkable(f"the names of a record are too long for a key: {keylen} bytes")
    key = replace(key, keylen=keylen, nbytes=keylen + len(payload))
    return key.pack() + extra + payload, key


def new_key(kind: bytes, name: bytes, title: bytes, directory: int, cycle: int = 1) -> Key:
    """Return the key of a record that :func:`record` will place."""
    return Key(0, 4, 0, 0, 0, cycle, 0, directory, kind, name, title)


def unpack_keys(data: bytes, at: int, stop: int) -> list[tuple[Key, bytes]]:
    """Return the keys of a directory's list, each with its bytes."""
    count = number(data, I32, at, stop)
    at += 4
    keys = []
    for _ in range(count):
        key, end = unpack_key(data, at, stop)
        keys.append((key, data[at:end]))
        at = end
    return keys
