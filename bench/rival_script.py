"""The obvious script: uproot, ONNX Runtime, and everything written again with the scores."""

import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.measure import Contender, serve

GIVEN = json.loads(sys.argv[1])


def make() -> Contender:
    """Return the contender."""
    import numpy as np
    import onnxruntime
    import uproot

    def work() -> float:
        started = time.perf_counter()
        with uproot.open(GIVEN["file"]) as file:
            arrays = file[GIVEN["tree"]].arrays(how=dict)
        arrays = {name: np.asarray(each) if each.ndim == 1 else each for name, each in arrays.items()}
        features = np.stack([np.asarray(arrays[name], np.float32) for name in GIVEN["features"]], axis=1)
        session = onnxruntime.InferenceSession(GIVEN["model"], providers=["CPUExecutionProvider"])
        scores = session.run(["scores"], {"events": features})[0]
        columns = {name: values for name, values in arrays.items() if name not in GIVEN["counters"]}
        columns["nn_score"] = scores[:, 0]
        with uproot.recreate(GIVEN["output"]) as file:
            types = {name: each.dtype if isinstance(each, np.ndarray) else each.type for name, each in columns.items()}
            file.mktree(GIVEN["tree"], types).extend(columns)
        took = time.perf_counter() - started
        Path(GIVEN["output"]).unlink()
        return took

    return work


serve(make)
