"""weaver-core's loader: one pass over an ntuple with its default settings; nothing is written."""

import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.measure import Contender, serve

GIVEN = json.loads(sys.argv[1])


def make() -> Contender:
    """Return the contender."""
    import yaml
    from torch.utils.data import DataLoader
    from weaver.utils.dataset import SimpleIterDataset

    flat = [name for name in GIVEN["flat"] if name.startswith("x")]
    content = {
        "treename": GIVEN["tree"],
        "preprocess": {"method": "manual"},
        "new_variables": {"signal": "x00 < 4", "background": "x00 >= 4"},
        "inputs": {
            "flat": {"length": None, "vars": [[name, None] for name in flat]},
            "jets": {"length": GIVEN["slots"], "vars": [[name, None] for name in GIVEN["jagged"]]},
        },
        "labels": {"type": "simple", "value": ["signal", "background"]},
        "weights": {"use_precomputed_weights": True, "weight_branches": ["weight"]},
    }
    described = Path(GIVEN["output"]).with_suffix(".yaml")
    described.write_text(yaml.safe_dump(content))

    def work() -> float:
        started = time.perf_counter()
        data = SimpleIterDataset({"s": [GIVEN["file"]]}, str(described), for_training=True, name="train")
        data._sampler_options["reweight"] = False  # every event once, as the others
        seen = sum(len(labels["_label_"]) for _, labels, _ in DataLoader(data, batch_size=1024, num_workers=1))
        if seen != GIVEN["events"]:
            raise SystemExit(f"{seen} events came, not {GIVEN['events']}")
        return time.perf_counter() - started

    return work


serve(make)
