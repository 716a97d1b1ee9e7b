"""The main job on files that real experiments' software wrote, compared with a direct uproot read."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot

from nntrainer.config import load_config
from nntrainer.dataset.dataset import open_dataset
from nntrainer.dataset.inspect import inspect
from nntrainer.pipeline import run

pytestmark = pytest.mark.slow

CONFIGS = Path(__file__).parents[1] / "configs"


@dataclass(frozen=True)
class Real:
    """A file and what to compare: branches that are features unchanged, and how many events carry an id."""

    config: str
    file: str
    tree: str
    flat: dict[str, str]
    jagged: dict[str, tuple[str, str]] = field(default_factory=dict)
    cut: str = ""


FILES = [
    Real(
        "hzz",
        "uproot-HZZ.root",
        "events",
        {"NJet": "NJet", "MET_py": "MET_py"},
        {"Jet_E": ("jets", "Jet_E"), "Jet_ID": ("jets", "Jet_ID")},
        "NJet",
    ),
    Real(
        "nanoaod",
        "nanoAOD_2015_CMS_Open_Data_ttbar.root",
        "Events",
        {"MET_pt": "MET_pt"},
    ),
    Real("zmumu", "uproot-Zmumu.root", "events", {"pt1": "pt1", "pt2": "pt2"}),
    Real(
        "physlite",
        "uproot-physlite-rntuple_v1-0-0-0.root",
        "EventData",
        {"mu": "EventInfoAuxDyn:averageInteractionsPerCrossing"},
        {"pt": ("jets", "AnalysisJetsAuxDyn:pt")},
    ),
]


@pytest.mark.parametrize("real", FILES, ids=lambda real: real.config)
def test_whole_job(real: Real, real_files: Path, tmp_path: Path) -> None:
    source = str(real_files / real.file)
    overrides = [f"data.samples.{i}.files={source}" for i in (0, 1)] + [f"data.directory={tmp_path / 'datasets'}"]
    config = load_config(CONFIGS / f"{real.config}.yaml", overrides, {})
    result = run(config, root=tmp_path / "runs")
    assert [stage.name for stage in result.stages if stage.skipped] == []

    paths = [Path(path) for path in result.stages[0].outputs]
    with uproot.open(source) as file:
        tree = file[real.tree]
        assert inspect(Path(source), tree=real.tree).as_dict()
        with open_dataset(paths) as dataset:
            entry = dataset.column("entry")
            assert len(np.unique(entry)) == len(entry)
            if not real.cut:
                assert len(entry) == tree.num_entries
            for name, branch in real.flat.items():
                raw = ak.to_numpy(tree[branch].array())[entry].astype(np.float32)
                assert np.array_equal(dataset.column(name), raw), name
            for name, (collection, branch) in real.jagged.items():
                table, raw_jagged = dataset.objects(collection), tree[branch].array()[entry]
                length = table.shape[1]
                padded = ak.to_numpy(ak.fill_none(ak.pad_none(raw_jagged, length, clip=True), 0))
                assert np.array_equal(table[name], padded.astype(np.float32)), name
                assert np.array_equal(table["valid"].sum(axis=1), np.minimum(ak.num(raw_jagged), length))
            ids = dict(zip(entry.tolist(), dataset.column("eventNumber").tolist(), strict=True))

        friends = sorted((result.run.path / "scored").glob("*.root"))
        assert len(friends) == 1
        with uproot.open(friends[0]) as scored:
            friend = scored[f"{real.tree}_nn"].arrays(library="np")
        assert len(friend["nn_score"]) == tree.num_entries
    for entry_, number in ids.items():
        assert friend["eventNumber"][entry_] == number
    inside = np.array([e in ids for e in range(len(friend["nn_score"]))])
    # The selection of a sample is no selection of the ntuple: only data.selection decides what is scored.
    assert np.all((friend["nn_score"][inside] >= 0) & (friend["nn_score"][inside] <= 1))
