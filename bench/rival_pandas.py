"""The obvious script: uproot, pandas, ``to_hdf``; objects become a column a slot."""

import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.measure import Contender, serve

GIVEN = json.loads(sys.argv[1])


def make() -> Contender:
    """Return the contender."""
    import awkward as ak
    import numpy as np
    import pandas as pd
    import tables  # noqa: F401
    import uproot

    def work() -> float:
        started = time.perf_counter()
        with uproot.open(GIVEN["file"]) as file:
            arrays = file[GIVEN["tree"]].arrays([*GIVEN["flat"], *GIVEN["jagged"]])
        columns = {name: ak.to_numpy(arrays[name]) for name in GIVEN["flat"]}
        for name in GIVEN["jagged"]:
            padded = ak.to_numpy(ak.fill_none(ak.pad_none(arrays[name], GIVEN["slots"], clip=True), np.float32(0)))
            columns.update({f"{name}_{slot}": padded[:, slot] for slot in range(GIVEN["slots"])})
        frame = pd.DataFrame(columns)
        frame.to_hdf(GIVEN["output"], key="events", mode="w", **GIVEN["options"])
        return time.perf_counter() - started

    return work


serve(make)
