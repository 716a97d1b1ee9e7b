"""ROOT to HDF5: 60 flat branches and 5 jagged ones of up to 12 objects."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.measure import Contender, Rival, RivalMissing, Row, interleaved, timed
from bench.ntuples import FLAT, JAGGED, SLOTS, TREE, config, ntuple, told

FLAT_BRANCHES = ["eventNumber", "weight", *FLAT]
PANDAS, UNCOMPRESSED, WEAVER = "pandas script, compressed alike", "pandas script, uncompressed", "weaver-core's loader"
RIVALS: dict[str, tuple[str, dict[str, Any]]] = {
    PANDAS: ("rival_pandas.py", {"complevel": 1, "complib": "zlib"}),
    UNCOMPRESSED: ("rival_pandas.py", {}),
    WEAVER: ("rival_weaver.py", {}),
}
NOTE = (
    "the floor is uproot reading the same branches and h5py writing the same bytes with the same chunks and filters, "
    "one after the other in one thread; weaver-core's loader writes nothing, it does its work in each epoch"
)


def floor(file: Path, converted: Path, output: Path) -> Contender:
    """Return the floor: read the branches, and write the bytes that a conversion made."""
    import h5py
    import uproot

    with h5py.File(converted) as made:
        tables = {name: made[name][:] for name in made}
        options = {
            name: {"chunks": data.chunks, "compression": "gzip", "compression_opts": 1, "shuffle": True}
            for name, data in made.items()
        }

    def work() -> float:
        started = time.perf_counter()
        with uproot.open(file) as opened:
            opened[TREE].arrays([*FLAT_BRANCHES, *JAGGED])
        read = time.perf_counter()
        with h5py.File(output, "w") as written:
            for name, table in tables.items():
                written.create_dataset(name, data=table, **options[name])
        wrote = time.perf_counter()
        print(f"    of the floor, reading {read - started:.3f}, writing {wrote - read:.3f}", file=sys.stderr)
        return wrote - started

    return work


def row(compression: str, events: int, repeats: int, folder: Path, rivals: Sequence[str]) -> Row:
    """Measure one compression beside some rivals."""
    from nntrainer.dataset.conversion import convert

    file = ntuple(events, compression)
    settings = config(file, folder / "datasets")

    def ours() -> Path:
        (done,) = convert(settings, samples=["signal"], force=True).samples
        if done.events != events:
            raise SystemExit(f"{done.events} events were converted, not {events}")
        return done.path

    contenders: dict[str, Contender] = {
        "ours": timed(ours),
        "floor": floor(file, ours(), folder / "floor.h5"),
    }
    missing: dict[str, str] = {}
    running: list[Rival] = []
    given = {"file": file, "tree": TREE, "flat": FLAT_BRANCHES, "jagged": JAGGED, "slots": SLOTS, "events": events}
    for name in rivals:
        script, options = RIVALS[name]
        try:
            rival = Rival(script, told(**given, options=options, output=folder / f"{len(running)}.h5"))
        except RivalMissing as why:
            missing[name] = str(why)
        else:
            running.append(rival)
            contenders[name] = rival
    try:
        samples = interleaved(contenders, repeats, warmup=0)
    finally:
        for rival in running:
            rival.close()
    ours_, floor_ = samples.pop("ours"), samples.pop("floor")
    return Row(
        f"convert {events:,} events, 60 flat + 5 jagged × {SLOTS}, {compression}",
        ours_,
        floor_,
        samples,
        missing=missing,
        at_most=1.0,
        at_least={PANDAS: 5.0},
        note=NOTE if compression == "zlib" and PANDAS in rivals else "",
    )


def rows(quick: bool) -> list[Row]:
    """Measure both compressions; weaver-core's loader hands out single events and is given fewer of them."""
    events, few, repeats = (100_000, 20_000, 2) if quick else (1_000_000, 100_000, 3)
    pandas = (PANDAS, UNCOMPRESSED)
    with tempfile.TemporaryDirectory(prefix="nntrainer-bench-") as folder:
        made = [row(compression, events, repeats, Path(folder), pandas) for compression in ("zlib", "zstd")]
        return [*made, row("zlib", few, repeats, Path(folder), (WEAVER,))]
