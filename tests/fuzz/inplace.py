"""A fuzzer of what reads ROOT records to add branches in place: changed bytes may only give its own named error.

Nothing else may come out, no case may take long or much memory, and a file that was refused must be what it was; one
that was changed must have all its old bytes but those of headers.

    python tests/fuzz/inplace.py [--minutes 20] [--seed 1] [--keep FOLDER] FILE.root...

What is found lands in FOLDER, one file a case, with the error as text beside it; it belongs into the tests then.
"""

from __future__ import annotations

import argparse
import random
import resource
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from nntrainer.errors import InPlaceError
from nntrainer.ntuples import add_branches
from nntrainer.ntuples.inplace import BranchType, InPlace
from nntrainer.ntuples.inplace.baskets import Baskets
from nntrainer.ntuples.inplace.branch import branch_item, versions_for
from nntrainer.ntuples.inplace.clusters import Clusters
from nntrainer.ntuples.inplace.layout import RootFile
from nntrainer.ntuples.inplace.schema import Infos
from nntrainer.ntuples.inplace.streamers import known_infos, read_infos
from nntrainer.ntuples.inplace.tree import NewItem, TreeRecord

CASE_S = 20
MEMORY_BYTES = 1 << 30
LARGEST_RECORD = 300_000
WORDS = [0, 1, 2, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFFE, 0x40000000, 0x3FFFFFFF, 0x40000002, 0x7FFF, 0xFFFF]


@dataclass(frozen=True)
class Seed:
    """A tree of a real file: the file's bytes, its payload and what describes it."""

    file: bytes
    tree: str
    entries: int
    record: bytes
    keylen: int
    kind: str
    infos: Infos
    info_record: bytes
    info_keylen: int
    spots: tuple[tuple[int, int], ...]


def seeds(paths: list[Path]) -> list[Seed]:
    """Return the trees of files that are not too large to be tried often."""
    import uproot

    found = []
    for path in paths:
        with uproot.open(path) as file:
            names = [name for name, kind in file.classnames().items() if kind.startswith(("TTree", "TNtuple"))]
        for name in names:
            copy = path.read_bytes()
            with TemporaryDirectory() as folder:
                target = Path(folder) / "f.root"
                target.write_bytes(copy)
                with InPlace(target) as opened:
                    tree = opened.tree(name)
                    if len(tree.record.data) > LARGEST_RECORD:
                        continue
                    key, info_record = opened._info_record or (tree.key, b"")
                    header, root = opened._file.header, opened._file.root_directory()
                    spots = (
                        (0, 100),
                        (root.at, 60),
                        (tree.directory.at, 60),
                        (tree.directory.seek_keys, tree.directory.nbytes_keys),
                        (tree.key.seek, tree.key.nbytes),
                        (tree.key.seek, tree.key.keylen),
                        (header.seek_info, header.nbytes_info),
                        (header.seek_free, max(1, header.nbytes_free)),
                    )
                    infos = dict(opened._infos or {})
                    found.append(
                        Seed(
                            copy,
                            name,
                            tree.entries,
                            tree.record.data,
                            tree.key.keylen,
                            tree.key.kind_name,
                            infos,
                            info_record,
                            key.keylen,
                            spots,
                        )
                    )
    return found


def mutated(data: bytes, spots: tuple[tuple[int, int], ...], dice: random.Random, resize: bool) -> bytes:
    """Return bytes with a few changes in some of the ranges."""
    out = bytearray(data)
    for _ in range(dice.choice((1, 1, 1, 2, 3, 8))):
        start, length = dice.choice(spots)
        at = min(max(0, start + dice.randrange(max(1, length))), len(out) - 1)
        kind = dice.randrange(8 if resize else 5)
        if kind == 0:
            out[at] ^= 1 << dice.randrange(8)
        elif kind == 1:
            out[at] = dice.randrange(256)
        elif kind in (2, 3):
            size = dice.choice((2, 4, 4, 8))
            word = dice.choice((*WORDS, dice.randrange(len(data)), 0x80000000 | dice.randrange(len(data))))
            chunk = (word & ((1 << 8 * size) - 1)).to_bytes(size, "big")
            out[at : at + size] = chunk[: len(out) - at]
        elif kind == 4:
            source, size = dice.randrange(len(out)), dice.randrange(1, 64)
            chunk = bytes(out[source : source + size])
            out[at : at + len(chunk)] = chunk[: len(out) - at]
        elif kind == 5:
            del out[at : at + dice.randrange(1, 40)]
        elif kind == 6:
            out[at:at] = bytes(dice.randrange(256) for _ in range(dice.randrange(1, 20)))
        else:
            size = dice.randrange(1, 2000)
            out[at:at] = out[at : at + size]
        if not out:
            out = bytearray(b"\0")
    return bytes(out)


def try_record(seed: Seed, data: bytes) -> None:
    """Walk a tree's record and add a branch to it, unhooking another."""
    record = TreeRecord(data, seed.keylen, seed.kind, {**known_infos(), **seed.infos})
    baskets = Baskets(None, b"t", b"nn", BranchType(np.dtype("f4")), 100, Clusters(()))  # type: ignore[arg-type]
    item, leaf = branch_item(baskets, versions_for(seed.infos, record.io_features), 101)
    record.clusters.boundary(0, 1000)
    items = [NewItem(item, leaf, 0, 0)]
    record.rewritten(items, [], seed.keylen)
    record.rewritten(items, [], seed.keylen + 8)
    for name in [name for name in record.names if record.is_top(name)][:2]:
        record.rewritten(items, [name], seed.keylen)


def try_infos(seed: Seed, data: bytes) -> None:
    """Walk a StreamerInfo record, and a tree with what it says."""
    walk = read_infos(data, seed.info_keylen)
    walk.moved(seed.info_keylen + 8)
    TreeRecord(seed.record, seed.keylen, seed.kind, walk.found)


def try_file(seed: Seed, data: bytes, path: Path) -> None:
    """Add a branch to a file, and look what became of its bytes."""
    path.write_bytes(data)
    try:
        add_branches(path, seed.tree, {"nn": np.arange(seed.entries, dtype="f4")})
    except InPlaceError:
        if path.read_bytes() != data:
            raise AssertionError("refused, and the file is another") from None
        raise
    with RootFile(path) as file:  # the new file can be opened again
        file.root_directory()


def cases(found: list[Seed], dice: random.Random, path: Path) -> Iterator[tuple[str, bytes, Callable[[], None]]]:
    """Yield names, bytes and what to do with them, for ever."""
    while True:
        seed = dice.choice(found)
        kind = dice.choice(("record", "record", "infos", "file"))
        if kind == "record":
            data = mutated(seed.record, ((0, len(seed.record)), (0, 300), (len(seed.record) - 60, 60)), dice, True)
            yield "record", data, lambda seed=seed, data=data: try_record(seed, data)
        elif kind == "infos" and seed.info_record:
            data = mutated(seed.info_record, ((0, len(seed.info_record)),), dice, True)
            yield "infos", data, lambda seed=seed, data=data: try_infos(seed, data)
        elif kind == "file" and len(seed.file) < 1_000_000:
            data = mutated(seed.file, seed.spots, dice, False)
            yield "file", data, lambda seed=seed, data=data: try_file(seed, data, path)


def _too_long(number: int, frame: object) -> None:
    raise TimeoutError(f"more than {CASE_S} s")


def run(
    paths: list[Path], seed: int, seconds: float, most: int, keep: Path | None, verbose: bool = False
) -> Counter[str]:
    """Try cases for a time.

    Args:
        paths: real files to begin with.
        seed: of the random numbers.
        seconds: how long.
        most: largest number of cases.
        keep: folder for what is found.
        verbose: print how it goes.

    Returns:
        How often each outcome was seen; those with ``FOUND`` are faults.
    """
    found = seeds(paths)
    outcomes: Counter[str] = Counter()
    handler = signal.signal(signal.SIGALRM, _too_long)
    in_use = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (in_use + MEMORY_BYTES, before[1]))
    stop, told, slowest = time.monotonic() + seconds, time.monotonic(), 0.0
    try:
        with TemporaryDirectory() as folder:
            for number, (kind, data, work) in enumerate(cases(found, random.Random(seed), Path(folder) / "f.root")):
                started = time.monotonic()
                if number >= most or started > stop:
                    break
                signal.alarm(CASE_S)
                try:
                    work()
                    outcome = "accepted"
                except InPlaceError as error:
                    outcome = "refused"
                    if kind == "file" and not str(error).isprintable():
                        outcome = "FOUND a message of several lines"
                except Exception as error:
                    outcome = f"FOUND {type(error).__name__} {str(error)[:80]}"
                    if keep is not None:
                        keep.mkdir(parents=True, exist_ok=True)
                        (keep / f"{seed}-{number}.{kind}").write_bytes(data)
                        (keep / f"{seed}-{number}.txt").write_text(traceback.format_exc())
                finally:
                    signal.alarm(0)
                outcomes[f"{kind} {outcome}"] += 1
                slowest = max(slowest, time.monotonic() - started)
                if verbose and time.monotonic() - told > 60:
                    told = time.monotonic()
                    print(number, dict(outcomes), f"slowest {slowest:.1f} s", flush=True)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
        signal.signal(signal.SIGALRM, handler)
    if verbose:
        print(f"slowest case {slowest:.1f} s")
    return outcomes


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--keep", type=Path, default=Path("fuzz-found"))
    options = parser.parse_args()
    outcomes = run(options.files, options.seed, 60 * options.minutes, sys.maxsize, options.keep, verbose=True)
    for outcome, count in outcomes.most_common():
        print(f"{count:8} {outcome}")
    bad = [outcome for outcome in outcomes if "FOUND" in outcome]
    print(f"seed {options.seed}, {sum(outcomes.values())} cases, {len(bad)} kinds of faults")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
