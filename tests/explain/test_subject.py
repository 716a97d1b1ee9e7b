"""The number that is explained, and its derivatives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nntrainer.config import Config
from nntrainer.errors import ExplainError, RunError
from nntrainer.explain.explain import open_run
from nntrainer.explain.sample import Sample
from nntrainer.explain.subject import Subject, explained, load_subject
from nntrainer.networks.inputs import Range, Scaling
from nntrainer.networks.model import build_model

pytestmark = pytest.mark.slow

Look = Callable[..., tuple[Subject, Sample]]


def test_the_logit_of_either_class(make_run: Callable[..., Path], look_at: Look) -> None:
    subject, sample = look_at(make_run("deep_sets"))
    p = subject.model.predict_on_batch(sample.inputs)[:, 0].astype(np.float64)
    np.testing.assert_allclose(subject.target(sample.inputs), np.log(p / (1 - p)), rtol=1e-3, atol=1e-5)
    other, _ = look_at(make_run("deep_sets"), label="ttbb")
    np.testing.assert_allclose(other.target(sample.inputs), -subject.target(sample.inputs))
    assert (subject.title, other.title) == ("logit of P(ttH)", "logit of P(ttbb)")


def test_the_logit_of_one_class_of_several() -> None:
    given = {
        "name": "three",
        "data": {"samples": [{"name": name, "files": [f"{name}.root"], "label": name} for name in "abc"]},
        "features": {"events": ["x", "y"]},
        "model": {"name": "dense", "layers": [4]},
    }
    config = Config.model_validate(given)
    model = build_model(config, Scaling({"events": Range(np.zeros(2, np.float32), np.ones(2, np.float32))}), 3)
    inputs = {"events": np.random.default_rng(1).normal(size=(50, 2)).astype(np.float32)}
    p = model.predict_on_batch(inputs).astype(np.float64)
    for place, name in enumerate("abc"):
        found = Subject(config, model, name).target(inputs)
        np.testing.assert_allclose(found, np.log(p[:, place] / (1 - p[:, place])), rtol=1e-4, atol=1e-5)


def test_the_probability_of_a_choice(make_run: Callable[..., Path], look_at: Look) -> None:
    subject, sample = look_at(make_run("spanet"))
    given = subject.model.predict_on_batch({key: array for key, array in sample.inputs.items() if key != "chosen"})
    there = sample.inputs["chosen"] >= 0
    assert there.any() and subject.kind == "assignment"
    expected = np.where(there, np.log(given["higgs_probability"].astype(np.float64)), 0)
    np.testing.assert_allclose(subject.target(sample.inputs), expected, rtol=1e-4, atol=1e-5)
    # The choice stays when the inputs change: then it is the probability of what would not be chosen now.
    changed = sample.inputs | {"jets": sample.inputs["jets"][:, ::-1]}
    assert (subject.choice(changed) != sample.inputs["chosen"]).any()
    assert (subject.target(changed) <= 0).all()


@pytest.mark.parametrize("network", ["dense", "gatv2", "spanet"])
def test_gradients_are_those_of_the_raw_inputs(network: str, make_run: Callable[..., Path], look_at: Look) -> None:
    subject, sample = look_at(make_run(network), events=30)
    output, gradients = subject.gradients(sample.inputs)
    np.testing.assert_allclose(output, subject.target(sample.inputs), rtol=1e-5, atol=1e-6)
    assert set(gradients) == {"events", "jets", "met"}
    for name, each in gradients.items():
        assert each.shape == sample.inputs[name].shape and np.isfinite(each).all()
    assert (gradients["jets"][sample.inputs["jets_valid"] == 0] == 0).all()
    for name, place in (("events", 1), ("jets", 1)):  # HT in MeV, η of the first jet
        where = (slice(None), *((0,) if name == "jets" else ()), place)

        def slope(step: float, name: str = name, where: tuple[Any, ...] = where) -> np.ndarray:
            size = np.float32(sample.inputs[name][..., where[-1]].std() * step)
            moved = {}
            for sign in (-1, 1):
                array = sample.inputs[name].copy()
                array[where] += sign * size
                moved[sign] = subject.target(sample.inputs | {name: array})
            return np.asarray((moved[1] - moved[-1]) / (2 * size))

        wide, narrow = slope(0.004), slope(0.002)
        scale = np.abs(narrow).max()
        # Where jets come near one another or a unit switches, a difference is no derivative: it depends on its width.
        smooth = np.abs(wide - narrow) <= 0.01 * scale
        assert smooth.sum() >= 20
        np.testing.assert_allclose(gradients[name][where][smooth], narrow[smooth], rtol=0.1, atol=0.03 * scale)


def test_what_cannot_be_explained_is_said(make_run: Callable[..., Path], tmp_path: Path) -> None:
    _, config = open_run(make_run("dense"))
    with pytest.raises(ExplainError, match=r"no class 'tth'; classes are 'ttH', 'ttbb'\. Did you mean 'ttH'"):
        explained(config, "tth")
    _, assigning = open_run(make_run("spanet"))
    with pytest.raises(ExplainError, match="learns no class"):
        explained(assigning, "ttH")
    run, _ = open_run(make_run("dense"))
    with pytest.raises(RunError, match=r"fold 7 is not trained.*nntrainer train"):
        load_subject(config, run, 7)
