"""Compressed payloads: blocks of at most 16 MB, each behind 9 bytes that name method and sizes.

The methods are uproot's; the loop over the blocks is our own, because here no byte of the file is trusted: memory is
taken only for what was really decompressed.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from nntrainer.ntuples.inplace.fields import Unwalkable

# ROOT's own limit of a record in memory (TBuffer, 1 GB).
LARGEST = 0x3FFFFFFE
HIGHEST_LEVEL = {1: 9, 2: 9, 4: 12, 5: 22}


@lru_cache(maxsize=1)
def _methods() -> dict[bytes, Any]:
    from uproot.compression import LZ4, LZMA, ZLIB, ZSTD

    return {b"ZL": ZLIB(1), b"XZ": LZMA(1), b"L4": LZ4(1), b"ZS": ZSTD(1)}


def compress(data: bytes, code: int) -> bytes:
    """Compress a payload, or return it as it is where that does not make it smaller.

    Args:
        data: the payload.
        code: ``fCompress`` of the file: 100 × method + level; without a method (old files) it is zlib.

    Returns:
        The bytes to store.
    """
    from uproot.compression import Compression
    from uproot.compression import compress as blocks

    method, level = divmod(code, 100) if code > 0 else (0, 0)
    if level == 0:
        return data
    method = method if method in HIGHEST_LEVEL else 1
    return bytes(blocks(data, Compression.from_code_pair(method, min(level, HIGHEST_LEVEL[method]))))


def decompress(data: bytes, size: int) -> bytes:
    """Return a payload.

    Args:
        data: the stored bytes.
        size: bytes of the payload (``fObjlen``).

    Returns:
        The payload.

    Raises:
        Unwalkable: the blocks are damaged, of an unknown method, or do not give ``size`` bytes.
    """
    if len(data) == size:
        return data
    if not 0 <= size <= LARGEST:
        raise Unwalkable(f"a record claims {size:,} bytes; ROOT's limit is {LARGEST:,}")
    out = bytearray()
    at = 0
    while at < len(data):
        head = data[at : at + 9]
        stored, whole = int.from_bytes(head[3:6], "little"), int.from_bytes(head[6:9], "little")
        if len(head) < 9 or at + 9 + stored > len(data) or len(out) + whole > size or not whole:
            raise Unwalkable("a compressed record is damaged")
        method = _methods().get(head[:2])
        if method is None:
            raise Unwalkable(f"a record is compressed with the unknown method {head[:2]!r}")
        out += _block(method, head[:2], data[at + 9 : at + 9 + stored], whole)
        at += 9 + stored
    if len(out) != size:
        raise Unwalkable(f"a compressed record gives {len(out):,} bytes instead of {size:,}")
    return bytes(out)


def _block(method: Any, name: bytes, block: bytes, whole: int) -> bytes:
    """Return a decompressed block."""
    if name == b"L4":  # behind a checksum of the compressed bytes
        import xxhash

        block, checksum = block[8:], block[:8]
        if xxhash.xxh64(block).digest() != checksum:
            raise Unwalkable("a compressed record is damaged: its checksum is another")
    try:
        plain = bytes(method.decompress(block, whole))
    except MemoryError:
        raise
    except Exception as error:  # zlib and cramjam raise what they like on damaged bytes
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
        raise Unwalkable(f"a compressed record is damaged ({reason})") from None
    if len(plain) != whole:
        raise Unwalkable("a compressed record is damaged: a block has another size than it says")
    return plain
