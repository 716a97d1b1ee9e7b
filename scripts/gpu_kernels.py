"""Which GPU architectures an environment's libraries hold kernels for: what nntrainer/config/gpus.py says, measured.

``python scripts/gpu_kernels.py .venv/lib/python3.11/site-packages`` reads the CUDA "fat binaries" in the libraries
(compiled kernels and PTX), those in read-only data too, where `cuobjdump` does not look and TensorFlow keeps the
kernels that its compiler generates.
"""

from __future__ import annotations

import mmap
import re
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

LIBRARIES = ("tensorflow/libtensorflow_cc.so.*", "nvidia/*/lib/*.so.*", "horovod/tensorflow/*.so")
MAGIC = b"\x50\xed\x55\xba"
KINDS = {1: "PTX", 2: "compiled"}


def sections(library: Path) -> list[tuple[str, int, int]]:
    """Return name, offset and size of the sections of an ELF file."""
    text = subprocess.run(["readelf", "-SW", library], capture_output=True, text=True, check=True).stdout
    found = re.findall(r"^\s*\[\s*\d+\]\s+(\S+)\s+\S+\s+\S+\s+([0-9a-f]+)\s+([0-9a-f]+)", text, re.MULTILINE)
    return [(name, int(offset, 16), int(size, 16)) for name, offset, size in found]


def kernels(data: mmap.mmap) -> Iterator[tuple[int, str, str]]:
    """Yield offset, kind and architecture of every entry of every fat binary."""
    at = data.find(MAGIC)
    while at >= 0:
        version, header, size = struct.unpack_from("<HHQ", data, at + 4)
        entry, end = at + header, at + header + size
        while (version, header) == (1, 16) and entry < end:
            kind, _, header_size, payload = struct.unpack_from("<HHIQ", data, entry)
            if kind not in KINDS or not 32 <= header_size <= 200:
                break
            architecture = str(struct.unpack_from("<I", data, entry + 28)[0])
            text = data[entry + header_size : entry + header_size + 200]
            if target := re.search(rb"\.target sm_(\w+)", text):  # says more: 90a runs on 9.0 only
                architecture = target[1].decode()
            yield at, KINDS[kind], architecture
            entry += header_size + payload
        at = data.find(MAGIC, at + 4)


def main(packages: Path) -> None:
    """Print one line for each library, section and kind."""
    for library in sorted(path for pattern in LIBRARIES for path in packages.glob(pattern)):
        counts: Counter[tuple[str, str, str]] = Counter()
        with library.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data:
            places = sections(library)
            for at, kind, architecture in kernels(data):
                section = next((name for name, offset, size in places if offset <= at < offset + size), "?")
                counts[section, kind, architecture] += 1
        for section, kind in sorted({key[:2] for key in counts}):
            each = {key[2]: number for key, number in sorted(counts.items()) if key[:2] == (section, kind)}
            print(library.relative_to(packages), section, kind, " ".join(f"{name}:{n}" for name, n in each.items()))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
