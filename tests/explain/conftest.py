"""Runs to explain: a trained network of which the truth is known, and one small network of each kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nntrainer.config import Config
from nntrainer.config.parts import dataset_path
from nntrainer.dataset.conversion import convert
from nntrainer.dataset.dataset import open_dataset
from nntrainer.dataset.inputs import dataset_inputs
from nntrainer.dataset.schema import schema_of
from nntrainer.dataset.store import StoreWriter
from nntrainer.explain.sample import Sample, draw
from nntrainer.explain.subject import Subject, load_subject
from nntrainer.networks.inputs import fit_scaling
from nntrainer.networks.model import build_model
from nntrainer.rundir import RunDir
from nntrainer.training.train import train

TRUE = ("strong", "middle", "weak")
NOISE = tuple(f"noise{i}" for i in range(10))


def _known(folder: Path, features: tuple[str, ...], events: int = 4000) -> Config:
    """Write events in which ``TRUE`` decide the class, and everything else is noise; ``copy`` is that of ``strong``."""
    config = Config.model_validate(
        {
            "name": "known",
            "data": {
                "samples": [{"name": name, "files": [f"{name}.root"], "label": name} for name in ("s", "b")],
                "directory": str(folder / "datasets"),
            },
            "features": {"events": list(features)},
            "preparation": {"fractions": {"train": 0.6, "validation": 0.1, "test": 0.3}},
            "model": {"name": "dense", "layers": [16], "activation": "relu"},
            "training": {
                "epochs": 10,
                "batch_size": 64,
                "threads": 1,
                "tensorboard": False,
                "optimizer": {"name": "adam", "learning_rate": 0.01},
            },
        }
    )
    schema = schema_of(config)
    for index, sample in enumerate(config.data.samples):
        random = np.random.default_rng(index)
        rows = np.zeros(events, schema.dtype())
        rows["eventNumber"], rows["label"] = random.integers(0, 2**40, events), index
        rows["weight"] = random.choice([-0.3, 1.0, 1.5], events, p=[0.1, 0.5, 0.4])
        for name in features:
            rows[name] = random.normal(50.0, 10.0, events)
        for name, shift in zip(TRUE, (13.0, 10.0, 7.0), strict=True):
            rows[name] += shift * index
        if "copy" in features:
            rows["copy"] = rows["strong"]
        path = dataset_path(config, sample.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        attrs = {"sample": sample.name, "labels": list(config.data.labels), "signal": config.data.signal_label}
        with StoreWriter(path, schema, attrs) as writer:
            writer.append(rows, {})
    return config


def _trained(folder: Path, features: tuple[str, ...]) -> Path:
    config, run = _known(folder, features), RunDir(folder / "run")
    run.claim(config)
    train(config, run)
    return run.path


@pytest.fixture(scope="session")
def known(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of a trained network: three features decide, ten are noise."""
    return _trained(tmp_path_factory.mktemp("known"), (*NOISE[:5], *TRUE, *NOISE[5:]))


@pytest.fixture(scope="session")
def twice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of a trained network that sees one feature twice."""
    return _trained(tmp_path_factory.mktemp("twice"), (*TRUE, "copy", *NOISE[:2]))


def _vectors(prefix: str) -> dict[str, Any]:
    names = {key: f"{prefix}_{key}" for key in ("pt", "eta", "phi", "e")}
    features = [{"name": name, "unit": "MeV" if key in ("pt", "e") else ""} for key, name in names.items()]
    return {"features": features, "four_vector": names}


JETS = _vectors("jet")
JETS["features"].append({"name": "tag", "expression": "jet_tagWeightBin_DL1r_Continuous"})
MET = {
    "max": 1,
    "features": [{"name": "met_met", "unit": "MeV"}, "met_phi"],
    "four_vector": {"pt": "met_met", "phi": "met_phi"},
}
SMALL: dict[str, dict[str, Any]] = {
    "dense": {"network_type": "flat", "model": {"name": "dense", "layers": [8]}},
    "deep_sets": {"network_type": "set", "model": {"name": "deep_sets", "width": 8, "layers": [8]}},
    "particle_transformer": {
        "network_type": "set",
        "model": {"name": "particle_transformer", "width": 8, "heads": 2, "blocks": 1, "class_blocks": 1},
    },
    "gatv2": {"network_type": "graph", "model": {"name": "gatv2", "width": 8, "heads": 2, "blocks": 1}},
    "spanet": {"network_type": "set", "model": {"name": "spanet", "width": 8, "heads": 2, "layers": 1, "head": [8]}},
}
"""Of each kind of network a small one."""


@pytest.fixture(scope="session")
def make_run(tmp_path_factory: pytest.TempPathFactory, toy_files: list[Path]) -> Callable[..., Path]:
    """Return a function that makes the run of a network by its name; weights are as they are before training."""
    folder, made = tmp_path_factory.mktemp("networks"), {}

    def make(network: str) -> Path:
        if network not in made:
            made[network] = _run(_config(network, toy_files, folder / "datasets"), folder / network)
        return made[network]

    return make


def _config(network: str, files: list[Path], directory: Path) -> Config:
    assigns = network == "spanet"
    names = ("ttH",) if assigns else ("ttH", "ttbb")
    by_name = {name: str(next(file for file in files if file.name.startswith(name))) for name in names}
    given: dict[str, Any] = {
        "name": network,
        "data": {
            "samples": [{"name": name, "files": [by_name[name]], "label": name} for name in names],
            "weight": "float64(weight_mc)",
            "directory": str(directory),
        },
        "features": {
            "events": ["nJets", {"name": "HT_all", "unit": "MeV"}],
            "objects": {"jets": {"max": 7, **JETS}, "met": MET},
        },
        # One with two models, the others with one, for speed.
        "preparation": {"folds": 2}
        if network == "dense"
        else {"fractions": {"train": 0.3, "validation": 0.1, "test": 0.6}},
        **SMALL[network],
    }
    if assigns:
        particles = {"higgs": {"ids": [1, 2], "symmetric": True}}
        given["data"]["targets"] = {
            "parton": {"kind": "assignment", "collection": "jets", "match": "jet_truthmatch", "particles": particles}
        }
        given["training"] = {"tasks": {"parton": 1.0}}
    return Config.model_validate(given)


def _run(config: Config, folder: Path) -> Path:
    run = RunDir(folder)
    run.claim(config)
    convert(config)
    with open_dataset(config) as dataset:
        inputs = dataset_inputs(config, dataset)
    scaling = fit_scaling("standard", inputs, np.arange(len(next(iter(inputs.values())))))
    for fold in range(config.preparation.k):
        build_model(config, scaling, fold + 1).save(run.fold(fold) / "model.keras")
    return folder


@pytest.fixture(scope="session")
def look_at() -> Callable[..., tuple[Subject, Sample]]:
    """Return a function that gives subject and prepared sample of fold 0 of a run."""
    from nntrainer.explain.explain import open_run

    subjects: dict[Any, Any] = {}

    def look(path: Path, events: int = 60, label: str | None = None) -> tuple[Subject, Sample]:
        run, config = open_run(path)
        with open_dataset(config) as dataset:
            sample = draw(config, dataset, 3 * events, 1)
        sample = sample.take(np.flatnonzero(sample.fold == 0)[:events])
        subject = subjects.get((path, label)) or load_subject(config, run, 0, label)
        subjects[path, label] = subject
        return subject, replace(sample, inputs=subject.prepared(sample.inputs))

    return look
