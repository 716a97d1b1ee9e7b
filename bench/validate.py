"""What the two-sample test finds, and what it does not: the table in docs/validate.md.

``python bench/validate.py [--seeds 20] [CASE ...]`` compares toy tt+bb events (weights of both signs) or independent
Gaussians. What has been measured is kept in bench/validate.json and not measured again unless ``--again``.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.measure import ROOT, write_measured
from bench.run import commit, machine
from nntrainer.validation.columns import Columns
from nntrainer.validation.two_sample import Table, two_sample

RESULTS = ROOT / "bench" / "validate.json"
PAGE = ROOT / "docs" / "validate.md"
EVENTS = 100_000
FEATURES = (
    "nJets",
    "HT_all",
    "HT_jets",
    "H0_all",
    "H1_all",
    "Aplanarity_jets",
    "Centrality_all",
    "dRbb_avg_70",
    "dRbb_HiggsMass_70",
    "Mbb_HiggsMass_70",
    "dRlj_MindR",
    "dEtajj_MaxdEta",
    "met_met",
)
Pair = tuple[Table, Table]


def toy(seed: int, events: int) -> Table:
    """Return toy tt+bb events with their event features and signed weights."""
    from nntrainer.ntuples.toy import generate_arrays

    there = generate_arrays("ttbb", events, seed)
    values = np.stack([np.asarray(there[name], np.float32) for name in FEATURES], axis=1)
    weight = np.asarray(there["weight_mc"], np.float64) * np.asarray(there["weight_pileup"], np.float64)
    return Table(values, weight, np.asarray(there["eventNumber"], np.uint64))


def halved(whole: Table, seed: int) -> Pair:
    """Return two halves of a sample, drawn at random."""
    second = np.random.default_rng(seed).permutation(len(whole.weight)) % 2 == 1
    first, second_half = (Table(whole.values[m], whole.weight[m], whole.event[m]) for m in (~second, second))
    return first, second_half


def shifted(name: str, *, factor: float = 1.0, widths: float = 0.0, signed: bool = True) -> Callable[[int], Pair]:
    """Return what makes a pair: in the second half of twice as many events one feature is changed."""

    def make(seed: int) -> Pair:
        events = toy(seed, 2 * EVENTS)
        reference, other = halved(events if signed else replace(events, weight=np.abs(events.weight)), seed)
        column = FEATURES.index(name)
        other.values[:, column] = other.values[:, column] * factor + widths * other.values[:, column].std()
        return reference, other

    return make


def gaussians(events: int) -> Callable[[int], Pair]:
    """Return what makes a pair of ten independent Gaussians, the first moved by 0.02 standard deviations."""

    def make(seed: int) -> Pair:
        rng = np.random.default_rng([9, seed])
        tables = [
            Table(rng.normal(size=(events, 10)).astype(np.float32), np.ones(events), np.arange(events, dtype=np.uint64))
            for _ in range(2)
        ]
        tables[1].values[:, 0] += 0.02
        tables[1] = Table(tables[1].values, tables[1].weight, tables[1].event + np.uint64(events))
        return tables[0], tables[1]

    return make


CASES: dict[str, tuple[str, Callable[[int], Pair]]] = {
    "halves": ("two halves of 100,000 events", lambda seed: halved(toy(seed, EVENTS), seed)),
    "HT": ("HT_all × 1.02", shifted("HT_all", factor=1.02)),
    "met": ("met_met × 1.02", shifted("met_met", factor=1.02)),
    "met-positive": ("the same, without the signs of the weights", shifted("met_met", factor=1.02, signed=False)),
    "dR-width": ("dRlj_MindR + 0.02 σ", shifted("dRlj_MindR", widths=0.02)),
    "HT-width": ("HT_all + 0.02 σ", shifted("HT_all", widths=0.02)),
    "gauss": ("ten independent Gaussians, one + 0.02 σ", gaussians(EVENTS)),
    "gauss-half": ("the same, 50,000 events each", gaussians(EVENTS // 2)),
}


def measure(make: Callable[[int], Pair], seed: int) -> dict[str, float]:
    """Return what the test says of one pair."""
    reference, other = make(seed)
    names = FEATURES if reference.values.shape[1] == len(FEATURES) else tuple(f"x{i}" for i in range(10))
    started = time.process_time()
    found = two_sample(reference, other, Columns(names, names, dict.fromkeys(names, "")), seed=seed, importances=False)
    return {
        "auc": found.classifier.auc,
        "auc_error": found.classifier.auc_error,
        "classifier": found.classifier.p_value,
        "means": found.means.p_value,
        "features": found.features_p_value,
        "together": found.p_value,
        "cpu_s": time.process_time() - started,
    }


def table(results: Mapping[str, Any]) -> str:
    """Return the table."""
    lines = [
        "| the other sample | seeds | AUC, mean ± spread | its error | classifier | means | features | together |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, (text, _) in CASES.items():
        runs: Sequence[Mapping[str, float]] = list(results["cases"].get(name, {}).values())
        if not runs:
            continue
        auc, errors = np.array([each["auc"] for each in runs]), [each["auc_error"] for each in runs]
        seen = [f"{sum(each[key] < 0.01 for each in runs)}" for key in ("classifier", "means", "features", "together")]
        lines.append(
            f"| {text} | {len(runs)} | {auc.mean():.4f} ± {auc.std(ddof=1) if len(runs) > 1 else 0:.4f} | "
            f"{np.mean(errors):.4f} | {' | '.join(seen)} |"
        )
    where = results["machine"]
    return "\n".join(lines) + (
        f"\n\nThe last four columns count the seeds with p < 0.01. Samples of {EVENTS:,} events each where nothing "
        f"else is said: toy tt+bb with {len(FEATURES)} features and 20 % negative weights, so that of {EVENTS:,} "
        f"36 % count, and Gaussians without weights. Measured on {where['cores']} cores of {where['cpu']}, commit "
        f"{results['commit']}, by `python bench/validate.py`.\n"
    )


def main() -> int:
    """Measure what is missing, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}; all if absent")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--again", action="store_true", help="measure what has been measured, too")
    given = parser.parse_args()
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"cases": {}}
    for name in given.cases or CASES:
        runs = results["cases"].setdefault(name, {})
        for seed in range(given.seeds):
            if str(seed) in runs and not given.again:
                continue
            runs[str(seed)] = measure(CASES[name][1], seed)
            print(name, seed, json.dumps(runs[str(seed)]), flush=True)
            results |= {"machine": machine(), "commit": commit()}
            RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    write_measured(PAGE, table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
