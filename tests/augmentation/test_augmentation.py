"""Augmentations: what they leave, how much they change, and that a seed decides them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import vector

from nntrainer.augmentation.batch import Augmenter
from nntrainer.config import Config, load_config
from nntrainer.errors import ConfigError

SLOTS = 6
FOUR = ("pt", "eta", "phi", "e")


def config_of(*augmentation: object, energy: str = "e", events: bool = False, **change: Any) -> Config:
    units = {"pt": "MeV", "e": "MeV"}
    jets: dict[str, Any] = {
        "max": SLOTS,
        "features": [*({"name": name, "unit": units.get(name, "")} for name in FOUR), "tag"],
        "four_vector": {"pt": "pt", "eta": "eta", "phi": "phi", energy: "e"},
    }
    met = {"max": 1, "features": [{"name": "met", "unit": "MeV"}, "phi"], "four_vector": {"pt": "met", "phi": "phi"}}
    return Config.model_validate(
        {
            "name": "toy",
            "data": {"samples": [{"name": name, "files": ["a.root"], "label": name} for name in ("s", "b")]},
            "features": {"events": ["x"] if events else [], "objects": {"jets": {**jets, **change}, "met": met}},
            "network_type": "set",
            "preparation": {"augmentation": augmentation},
            "model": "deep_sets",
        }
    )


def inputs_of(n: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(2)
    valid = np.arange(SLOTS) < random.integers(2, SLOTS + 1, n)[:, None]
    pt, eta = 25e3 + random.exponential(6e4, valid.shape), random.uniform(-2.5, 2.5, valid.shape)
    phi, mass = random.uniform(-np.pi, np.pi, valid.shape), 0.1 * pt
    jets = vector.array({"pt": pt, "eta": eta, "phi": phi, "mass": mass})
    columns = np.stack([pt, eta, phi, jets.E, random.integers(1, 6, valid.shape)], axis=-1)
    met = np.stack([random.exponential(5e4, n), random.uniform(-np.pi, np.pi, n)], axis=-1)[:, None]
    return {
        "jets": np.where(valid[..., None], columns, np.nan).astype(np.float32),  # anything in empty slots
        "jets_valid": valid.astype(np.float32),
        "met": met.astype(np.float32),
        "met_valid": np.ones((n, 1), np.float32),
    }


def changed(augmenter: Augmenter, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the inputs after the augmentations, computed in a graph as training does."""
    call = tf.function(lambda given: augmenter({name: tf.identity(each) for name, each in given.items()}))
    return {name: each.numpy() for name, each in call(inputs).items()}


def jets_of(inputs: dict[str, np.ndarray], energy: str = "E") -> vector.VectorNumpy4D:
    columns = np.nan_to_num(inputs["jets"]).astype(np.float64)
    return vector.array({name: columns[..., place] for place, name in enumerate(("pt", "eta", "phi", energy))})


@pytest.mark.parametrize("name", ["rotate_phi", "reflect_eta"])
def test_rotation_and_reflection_leave_masses_and_delta_r(name: str) -> None:
    inputs = inputs_of(2000)
    after = changed(Augmenter(config_of(name), 0), inputs)
    a, b = jets_of(inputs), jets_of(after)
    both = inputs["jets_valid"][:, :1] * inputs["jets_valid"][:, 1:2] > 0
    pairs = [(each[:, 0] + each[:, 1]).mass[both[:, 0]] for each in (a, b)]
    np.testing.assert_allclose(pairs[1], pairs[0], rtol=1e-5)
    distances = [each[:, 0].deltaR(each[:, 1])[both[:, 0]] for each in (a, b)]
    np.testing.assert_allclose(distances[1], distances[0], rtol=1e-5, atol=1e-5)
    with_met = [np.cos(each.phi[:, 0] - given["met"][:, 0, 1]) for each, given in ((a, inputs), (b, after))]
    there = inputs["jets_valid"][:, 0] > 0
    np.testing.assert_allclose(with_met[1][there], with_met[0][there], atol=1e-5)
    for each in ("jets_valid", "met_valid"):
        np.testing.assert_array_equal(after[each], inputs[each])
    untouched = [0, 3, 4, 2 if name == "reflect_eta" else 1]
    np.testing.assert_array_equal(after["jets"][..., untouched], inputs["jets"][..., untouched])
    if name == "reflect_eta":
        signs = (after["jets"] / inputs["jets"])[:, 0, 1]
        assert set(signs) == {1.0, -1.0} and abs(signs.mean()) < 4 / np.sqrt(2000)
    else:
        angle = (after["met"] - inputs["met"])[:, 0, 1] % (2 * np.pi)
        assert np.abs(after["met"][..., 1]).max() <= np.pi + 1e-6
        assert abs(angle.mean() - np.pi) < 4 * np.pi / np.sqrt(3 * 2000) and angle.std() > 1.7


def test_translation_moves_all_jets_by_the_same_and_keeps_their_mass() -> None:
    inputs = inputs_of(2000)
    after = changed(Augmenter(config_of({"name": "translate", "eta": 0.4, "phi": 1.0}), 0), inputs)
    valid = inputs["jets_valid"] > 0
    a, b = jets_of(inputs), jets_of(after)
    np.testing.assert_allclose(b.mass[valid], a.mass[valid], rtol=1e-2)
    shift = np.where(valid, b.eta - a.eta, np.nan)
    assert np.nanmax(np.nanmax(shift, axis=1) - np.nanmin(shift, axis=1)) < 1e-6
    assert 0.38 < np.nanmax(np.abs(shift)) <= 0.4 + 1e-6
    assert np.abs(np.nanmean(shift)) < 0.03
    turned = (after["met"] - inputs["met"])[:, 0, 1]
    assert 0.95 < np.abs((turned + np.pi) % (2 * np.pi) - np.pi).max() <= 1.0 + 1e-6


@pytest.mark.parametrize("energy", ["e", "mass"])
def test_smearing_has_the_width_asked_for(energy: str) -> None:
    inputs = inputs_of(20_000)
    if energy == "mass":
        inputs["jets"][..., 3] = 0.1 * inputs["jets"][..., 0]
    config = config_of({"name": "smear_energy", "stochastic": 0.5, "constant": 0.04}, energy=energy)
    after = changed(Augmenter(config, 0), inputs)
    valid = inputs["jets_valid"] > 0
    factor = (after["jets"] / inputs["jets"])[valid]
    np.testing.assert_allclose(factor[:, 3], factor[:, 0], rtol=1e-5)  # so that angles and m/pT stay
    np.testing.assert_array_equal(factor[:, 2], 1)
    gev = jets_of(inputs, "E" if energy == "e" else "mass").E[valid] / 1e3
    pulls = (factor[:, 0] - 1) / np.hypot(0.5 / np.sqrt(gev), 0.04)
    assert abs(pulls.mean()) < 0.02 and abs(pulls.std() - 1) < 0.02
    np.testing.assert_array_equal(after["met"], inputs["met"])


def test_dropping_leaves_out_as_many_as_asked_for_and_keeps_enough() -> None:
    inputs = inputs_of(20_000)
    after = changed(Augmenter(config_of({"name": "drop_jets", "probability": 0.3, "keep": 4}), 0), inputs)
    before, left = inputs["jets_valid"].sum(axis=1), after["jets_valid"].sum(axis=1)
    assert (after["jets_valid"] <= inputs["jets_valid"]).all()
    np.testing.assert_array_equal(left[before <= 4], before[before <= 4])
    assert (left[before > 4] >= 4).all()
    six = left[before == 6]
    # Of six jets none goes with 0.7⁶, one with 6 · 0.3 · 0.7⁵, and two with the rest.
    for number, expected in ((6, 0.7**6), (5, 6 * 0.3 * 0.7**5), (4, 1 - 0.7**6 - 6 * 0.3 * 0.7**5)):
        assert (six == number).mean() == pytest.approx(expected, abs=4 * np.sqrt(0.25 / len(six)))
    which = after["jets_valid"][before == 6].mean(axis=0)
    assert which.max() - which.min() < 0.04  # no slot is preferred
    np.testing.assert_array_equal(after["jets"], inputs["jets"])


def test_seed_worker_and_batch_decide_the_numbers() -> None:
    inputs = inputs_of(50)

    def phi(seed: int, rank: int, batches: int) -> np.ndarray:
        augmenter = Augmenter(config_of("rotate_phi", "reflect_eta").model_copy(update={"seed": seed}), rank)
        for _ in range(batches):
            found = changed(augmenter, inputs)["met"]
        return found

    first = phi(1, 0, 1)
    np.testing.assert_array_equal(phi(1, 0, 1), first)
    for other in (phi(2, 0, 1), phi(1, 1, 1), phi(1, 0, 2)):
        assert np.abs(other - first)[:, 0, 1].min() > 0
    resumed = Augmenter(config_of("rotate_phi", "reflect_eta").model_copy(update={"seed": 1}), 0)
    resumed.variables[0].assign(1)
    np.testing.assert_array_equal(changed(resumed, inputs)["met"], phi(1, 0, 2))


@pytest.mark.parametrize(
    ("augmentation", "change", "said"),
    [
        ("rotate", {}, "there is no augmentation 'rotate'; allowed are 'drop_jets'"),
        ({"name": "drop_jets", "keeps": 3}, {}, "keeps"),
        ("rotate_phi", {"four_vector": None}, "'rotate_phi' moves all objects.*features.objects.jets.four_vector"),
        ("smear_energy", {"four_vector": None}, "'smear_energy' changes four-vectors.*objects.jets.four_vector"),
        ({"name": "drop_jets", "collection": "jet"}, {}, "'drop_jets' changes the collection 'jet'.*mean 'jets'"),
        ("drop_jets", {"events": True}, "after 'drop_jets' event features such as 'x' would be those of another"),
        ("smear_energy", {"events": True}, "set allow_event_features: true"),
        ("translate", {"events": True}, "after 'translate' event features"),
        ({"name": "translate", "eta": 0, "phi": 0}, {}, "give a shift in eta or phi above zero"),
    ],
)
def test_what_cannot_be_is_refused(augmentation: object, change: dict[str, Any], said: str) -> None:
    with pytest.raises(Exception, match=said):
        config_of(augmentation, **change)


def test_a_file_with_a_wrong_augmentation_is_refused_with_its_line(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "configs/examples/edgeconv.yaml").read_text()
    line = text.splitlines().index("    - rotate_phi") + 1
    for wrong, said in (
        ("rotate_ph", f"{line}: preparation.augmentation.0..name: there is no augmentation 'rotate_ph'.*'rotate_phi'"),
        (
            "{name: drop_jets, keeps: 3}",
            f"{line}: preparation.augmentation.0..keeps: there is no key 'keeps' here.*'keep'",
        ),
        ("drop_jets", "after 'drop_jets' event features such as 'nJets' would be those of another event"),
    ):
        file = tmp_path / "wrong.yaml"
        file.write_text(text.replace("    - rotate_phi", f"    - {wrong}"))
        with pytest.raises(ConfigError, match=said):
            load_config(file, environment={})


def test_event_features_are_allowed_where_they_stay_or_when_told() -> None:
    config_of("rotate_phi", "reflect_eta", {"name": "drop_jets", "allow_event_features": True}, events=True)
