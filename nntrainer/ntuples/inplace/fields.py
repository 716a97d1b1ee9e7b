"""Fields of ROOT records: big-endian numbers and strings, read inside bounds.

A streamed object begins, as a rule, with a byte count (32 bits, of which bit 30 says that it is one) and a version (16
bits); the count is the number of bytes after the count itself.
"""

from __future__ import annotations

from struct import Struct

from nntrainer.errors import InPlaceError

BYTE_COUNT = 0x40000000
BYTE_COUNT_MASK = 0x3FFFFFFF
I8, U8 = Struct(">b"), Struct(">B")
I16, U16 = Struct(">h"), Struct(">H")
I32, U32 = Struct(">i"), Struct(">I")
I64, U64 = Struct(">q"), Struct(">Q")
F32, F64 = Struct(">f"), Struct(">d")

# TObject: version 1, no unique id, bits kIsOnHeap and kNotDeleted.
TOBJECT = Struct(">HII").pack(1, 0, 0x03000000)


class Unwalkable(InPlaceError):
    """Bytes that do not follow the record format, or follow it in a way that this code does not know."""


def number(data: bytes, form: Struct, at: int, stop: int) -> int:
    """Return the number at a position; what reaches beyond ``stop`` is refused."""
    if at < 0 or at + form.size > stop:
        raise Unwalkable(f"a record ends at byte {stop} within a number at {at}")
    return int(form.unpack_from(data, at)[0])


def numbers(data: bytes, form: Struct, at: int, stop: int) -> tuple[int, ...]:
    """Return several numbers at a position; what reaches beyond ``stop`` is refused."""
    if at < 0 or at + form.size > stop:
        raise Unwalkable(f"a record ends at byte {stop} within numbers at {at}")
    return form.unpack_from(data, at)


def string(data: bytes, at: int, stop: int) -> tuple[bytes, int]:
    """Return a TString and the position after it: a byte of length, or 255 and 32 bits of length, then the text."""
    length, at = number(data, U8, at, stop), at + 1
    if length == 255:
        length, at = number(data, U32, at, stop), at + 4
    if at + length > stop:
        raise Unwalkable(f"a string at byte {at} of a record reaches beyond its end")
    return bytes(data[at : at + length]), at + length


def packed_string(text: bytes) -> bytes:
    """Return a TString."""
    return (U8.pack(len(text)) if len(text) < 255 else b"\xff" + U32.pack(len(text))) + text


def counted(*parts: bytes) -> bytes:
    """Return bytes behind their byte count."""
    body = b"".join(parts)
    return U32.pack(BYTE_COUNT | len(body)) + body
