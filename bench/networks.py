"""How well each network tells ttH from tt+bb on the toy, on the same objects: the table in docs/networks.md.

``python bench/networks.py [--events 200000] [--seeds 3] [--epochs 4] [NETWORK ...]`` trains each network with its
default options; what has been measured is kept in bench/networks.json and not measured again unless ``--again``, so
that the table can be made in pieces, and by several at a time that are given different networks. A training is a
process of its own, on one core.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.measure import ROOT, cached, median, write_measured
from bench.run import commit, machine
from nntrainer.files import read_json

RESULTS = ROOT / "bench" / "networks.json"
PAGE = ROOT / "docs" / "networks.md"
NOT_BY_NAME = ("file", "layers")
"""Networks that a user describes; they have no default."""
OPTIONS: dict[str, dict[str, Any]] = {"lorentz": {"scalars": ["tag"]}}
"""What is not left at its default: this network sees no feature that it is not told to be a scalar."""
ONNX_BATCH = 1024


def objects() -> dict[str, Any]:
    """Return the collections that every network sees."""

    def kinematics(prefix: str, *more: Any) -> dict[str, Any]:
        names = {key: f"{prefix}_{key}" for key in ("pt", "eta", "phi", "e")}
        features = [{"name": name, "unit": "MeV" if key in ("pt", "e") else ""} for key, name in names.items()]
        logarithms = [{"name": f"log_{key}", "expression": f"log({names[key]})"} for key in ("pt", "e")]
        return {"features": [*features, *logarithms, *more], "four_vector": names}

    tag = {"name": "tag", "expression": "jet_tagWeightBin_DL1r_Continuous"}
    met = [{"name": "met_met", "unit": "MeV"}, "met_phi", {"name": "log_met", "expression": "log(met_met)"}]
    return {
        "jets": {"max": 10, **kinematics("jet", tag)},
        "electrons": {"max": 1, **kinematics("el")},
        "muons": {"max": 1, **kinematics("mu")},
        "met": {"max": 1, "features": met, "four_vector": {"pt": "met_met", "phi": "met_phi"}},
    }


def toy(events: int) -> Path:
    """Return a folder of the user's cache with toy ntuples of so many events a class."""

    def build(folder: Path) -> None:
        from nntrainer.ntuples.toy import generate

        generate(folder, samples=("ttH", "ttbb"), events=events)

    maker = [path.read_text() for path in sorted((ROOT / "nntrainer" / "ntuples").glob("toy*.py"))]
    return cached("networks-toy", build, events, *maker)


def config(network: str, events: int, seed: int, epochs: int) -> Any:
    """Return the configuration that trains a network."""
    from nntrainer.config import Config
    from nntrainer.config.registry import NETWORKS

    folder = toy(events)
    return Config.model_validate(
        {
            "name": f"networks-{network}",
            "seed": seed,
            "data": {
                "samples": [{"name": name, "files": [str(folder / f"{name}.root")], "label": name} for name in CLASSES],
                "weight": "float64(weight_mc)",
                "directory": str(folder / "datasets"),
            },
            "features": {"objects": objects()},
            "network_type": NETWORKS.get(network).network_types[0],
            "preparation": {"fractions": {"train": 0.6, "validation": 0.1, "test": 0.3}},
            "model": {"name": network, **OPTIONS.get(network, {})},
            "training": {
                "epochs": epochs,
                "batch_size": 512,
                "schedule": {"name": "cosine", "warmup_epochs": 1, "final": 0.01},
                "early_stopping": {"patience": epochs},
                "gradient_clipping": {"norm": 1.0},
                "tensorboard": False,
                "threads": 1,
            },
        }
    )


CLASSES = ("ttH", "ttbb")


def measure(network: str, events: int, seed: int, epochs: int) -> dict[str, float]:
    """Train a network once and return what came of it."""
    import numpy as np
    import onnxruntime

    from nntrainer.dataset.conversion import convert
    from nntrainer.dataset.dataset import open_dataset
    from nntrainer.dataset.inputs import dataset_inputs
    from nntrainer.dataset.split import masks
    from nntrainer.evaluation.metrics import auc_bootstrap
    from nntrainer.evaluation.predict import predictions, probabilities
    from nntrainer.export.onnx_export import export, parity_events
    from nntrainer.networks.model import load_model
    from nntrainer.rundir import RunDir
    from nntrainer.training.record import read_training
    from nntrainer.training.train import train

    settings = config(network, events, seed, epochs)
    convert(settings)
    with tempfile.TemporaryDirectory(prefix="nntrainer-networks-") as name:
        run = RunDir(name)
        before = cpu_seconds()
        (trained,) = train(settings, run)
        spent = cpu_seconds() - before
        with open_dataset(settings) as dataset:
            tested = np.flatnonzero(masks(settings, dataset.column("eventNumber"), 0).test)
            label, weight = dataset.column("label")[tested], dataset.column("weight")[tested]
            model = load_model(run.fold(0) / "model.keras", settings.model)
            given = predictions(model, dataset_inputs(settings, dataset), tested)
            auc, error = auc_bootstrap(label == 0, probabilities(given, 0, 2)[:, 0], weight, replicas=50, seed=1)
            inputs = parity_events(settings, 0, dataset)
        (exported,) = export(settings, run)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(exported.path), options, providers=["CPUExecutionProvider"])
        taken = []
        for _ in range(10):
            start = time.process_time()
            session.run(["scores"], {key: array[:ONNX_BATCH] for key, array in inputs.items()})
            taken.append(time.process_time() - start)
        return {
            "auc": auc,
            "auc_error": error,
            "parameters": read_training(run.fold(0))["parameters"],
            "best_epoch": trained.best_epoch,
            "cpu_seconds": spent,
            "onnx_events_per_s": ONNX_BATCH / median(taken),
        }


def cpu_seconds() -> float:
    """Return the processor time of this process and its children: other work on the machine does not count."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the table, the best network first."""
    lines = [
        "| network | AUC | parameters | training [min] | ONNX [events/s] |",
        "|---|---|---|---|---|",
    ]
    rows = []
    for name, found in results.items():
        runs: Sequence[Mapping[str, float]] = list(found["runs"].values())
        values = [each["auc"] for each in runs]
        mean = fmean(values)
        spread = f"&nbsp;±&nbsp;{stdev(values):.4f}" if len(values) > 1 else ""
        minutes = median([each["cpu_seconds"] for each in runs]) / 60
        rate = median([each["onnx_events_per_s"] for each in runs])
        text = f"{mean:.4f}{spread} | {int(runs[0]['parameters']):,} | {minutes:,.1f}"
        rows.append((mean, f"| `{name}` | {text} | {rate:,.0f} |"))
    lines += [text for _, text in sorted(rows, reverse=True)]
    error = max(each["auc_error"] for found in results.values() for each in found["runs"].values())
    seeds = sorted({len(found["runs"]) for found in results.values()})
    about = list(results.values())[-1]
    where = about["machine"]
    return "\n".join(lines) + (
        f"\n\nAUC: mean ± spread over {' or '.join(map(str, seeds))} seeds; training and ONNX on one core of "
        f"{where['cpu']}. "
        f"{about['events']:,} events a class, 60 % of them to train on, {about['epochs']} epochs; every network "
        f"with its default options, on the same jets, leptons and missing momentum; `lorentz` sees of them the "
        f"four-vectors of jets and leptons, and the b-tag as a scalar. Each AUC has a statistical uncertainty of "
        f"{error:.4f}, which networks share: they score the same events. Measured at commit "
        f"{about['commit']} by `python bench/networks.py`.\n"
    )


def main() -> int:
    """Measure what is missing, and write the table."""
    from nntrainer.config.registry import NETWORKS

    known = [name for name in NETWORKS.names() if name not in NOT_BY_NAME]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=f"of {', '.join(known)}; all if absent")
    parser.add_argument("--events", type=int, default=200_000, help="events a class")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each network")
    parser.add_argument("--epochs", type=int, default=4, help="epochs of each training")
    parser.add_argument("--again", action="store_true", help="measure what has been measured, too")
    parser.add_argument("--one", nargs=2, metavar=("SEED", "FILE"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        seed, file = given.one
        found = measure(given.networks[0], given.events, int(seed), given.epochs)
        Path(file).write_text(json.dumps(found))
        return 0
    about = {"events": given.events, "epochs": given.epochs}

    def runs_of(results: Mapping[str, Any], name: str) -> dict[str, Any]:
        there = results.get(name, {})
        return there["runs"] if {key: there.get(key) for key in about} == about else {}

    failed = []
    for seed in range(1, given.seeds + 1):
        for name in given.networks or known:
            if str(seed) in runs_of(read_json(RESULTS), name) and not given.again:
                continue
            with tempfile.NamedTemporaryFile(suffix=".json") as file:
                size = ["--events", str(given.events), "--epochs", str(given.epochs)]
                command = [sys.executable, __file__, name, *size, "--one", str(seed), file.name]
                if subprocess.run(command).returncode:
                    failed.append(f"{name}, seed {seed}")
                    continue
                found = json.loads(Path(file.name).read_text())
            print(name, seed, json.dumps(found), flush=True)
            results = read_json(RESULTS)  # others may have written
            runs = {**runs_of(results, name), str(seed): found}
            results[name] = {**about, "machine": machine(), "commit": commit(), "runs": runs}
            RESULTS.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    write_measured(PAGE, table(read_json(RESULTS)))
    for each in failed:
        print(f"{each} failed", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
