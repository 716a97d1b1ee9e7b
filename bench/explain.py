"""How long each method of `nntrainer explain` takes on each kind of network: the table in docs/explain.md.

``python bench/explain.py [--train 40000] [--events 2000] [--epochs 3] [NETWORK ...]`` trains each network briefly on
the toy and explains it with every method that works on it; what has been measured is kept in bench/explain.json, and
runs are kept in the user's cache. A network is a process of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.measure import ROOT, write_measured
from bench.networks import CLASSES, objects, toy
from bench.run import commit, machine

RESULTS = ROOT / "bench" / "explain.json"
PAGE = ROOT / "docs" / "explain.md"
NETWORKS = {"dense": "flat", "deep_sets": "set", "particle_transformer": "set", "gatv2": "graph", "spanet": "set"}


def config(network: str, events: int, epochs: int) -> Any:
    """Return the configuration that trains a network; ``spanet`` finds the Higgs boson's jets and learns no class."""
    from nntrainer.config import Config

    folder, assigns = toy(events), network == "spanet"
    data: dict[str, Any] = {
        "samples": [
            {"name": name, "files": [str(folder / f"{name}.root")], "label": name}
            for name in (CLASSES[:1] if assigns else CLASSES)
        ],
        "weight": "float64(weight_mc)",
        "directory": str(folder / "datasets"),
    }
    tasks = {}
    if assigns:
        particles = {"higgs": {"ids": [1, 2], "symmetric": True}}
        data["targets"] = {
            "partons": {"kind": "assignment", "collection": "jets", "match": "jet_truthmatch", "particles": particles}
        }
        tasks = {"tasks": {"partons": 1.0}}
    return Config.model_validate(
        {
            "name": f"explain-{network}",
            "data": data,
            "features": {"events": ["nJets", "nBTags_DL1r_70", "HT_all", "dRbb_avg_70"], "objects": objects()},
            "network_type": NETWORKS[network],
            "preparation": {"folds": 2},
            "model": {"name": network},
            "training": {"epochs": epochs, "batch_size": 512, "tensorboard": False, **tasks},
            "evaluation": {"label": "nntrainer toy"},
        }
    )


def measure(network: str, train: int, epochs: int, events: int) -> dict[str, Any]:
    """Train a network where that is missing, and explain it with every method."""
    from nntrainer.config.registry import EXPLAINERS
    from nntrainer.dataset.conversion import convert
    from nntrainer.explain.explain import explain
    from nntrainer.rundir import RunDir
    from nntrainer.training.train import train as train_folds

    settings = config(network, train, epochs)
    run = RunDir(toy(train) / "runs" / f"{network}-{settings.digest()[:8]}")
    run.claim(settings)
    convert(settings)
    train_folds(settings, run)
    found: dict[str, Any] = {}
    for name in EXPLAINERS.names():
        try:
            (one,) = explain(run.path, [name], events=events, force=True).methods
        except Exception as error:
            found[name] = {"error": str(error)}
            continue
        told = json.loads((run.path / "explain" / f"{name}.json").read_text())
        found[name] = {"seconds": one.seconds, "events": one.events, "missing": told.get("missing")}
        print(network, name, json.dumps(found[name]), flush=True)
    return found


def table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the table: a row a method, a column a network."""
    networks = [name for name in NETWORKS if name in results]
    methods = sorted({method for found in results.values() for method in found["methods"]})
    lines = [f"| method | {' | '.join(f'`{name}`' for name in networks)} |", f"|---|{'---|' * len(networks)}"]
    for method in methods:
        cells = []
        for name in networks:
            one = results[name]["methods"].get(method, {})
            if "seconds" not in one:
                cells.append("–")
            else:
                fewer = "" if one["events"] == results[name]["events"] else f" ({one['events']:,} events)"
                cells.append(f"{one['seconds']:.0f} s{fewer}")
        lines.append(f"| `{method}` | {' | '.join(cells)} |")
    about = list(results.values())[-1]
    where = about["machine"]
    return "\n".join(lines) + (
        f"\n\n{about['events']:,} events; each network with its default options, two folds, {about['epochs']} epochs "
        f"on {about['train']:,} events a class. Measured on {where['cores']} cores of {where['cpu']}, commit "
        f"{about['commit']}, by `python bench/explain.py`. – does not fit the network.\n"
    )


def main() -> int:
    """Measure what is missing, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=f"of {', '.join(NETWORKS)}; all if absent")
    parser.add_argument("--train", type=int, default=40_000, help="events a class")
    parser.add_argument("--epochs", type=int, default=3, help="epochs of each training")
    parser.add_argument("--events", type=int, default=2000, help="events to explain")
    parser.add_argument("--one", metavar="FILE", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        found = measure(given.networks[0], given.train, given.epochs, given.events)
        Path(given.one).write_text(json.dumps(found))
        return 0
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    failed = []
    about = {"train": given.train, "epochs": given.epochs, "events": given.events}
    for name in given.networks or NETWORKS:
        file = toy(given.train) / f"{name}.json"
        size = [part for key, value in about.items() for part in (f"--{key}", str(value))]
        if subprocess.run([sys.executable, __file__, name, *size, "--one", str(file)]).returncode:
            failed.append(name)
            continue
        found = json.loads(file.read_text())
        results[name] = {**about, "machine": machine(), "commit": commit(), "methods": found}
        RESULTS.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    write_measured(PAGE, table(results))
    for each in failed:
        print(f"{each} failed", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
