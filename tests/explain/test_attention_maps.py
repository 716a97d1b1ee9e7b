"""Attention maps: shares of what is there, rollout by hand, ΔR, particles, plots."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from nntrainer.config import Config
from nntrainer.errors import ExplainError
from nntrainer.explain.attention import maps, pairs
from nntrainer.explain.methods.attention import AttentionMaps
from nntrainer.explain.sample import Sample, features
from nntrainer.explain.subject import Subject
from nntrainer.networks.inputs import fit_scaling
from nntrainer.networks.model import build_model
from nntrainer.progress import silent
from tests.networks.test_heads import with_targets
from tests.networks.test_objects import NETWORKS, config_of, inputs_of

pytestmark = pytest.mark.slow

ATTENTIVE = [each for each in NETWORKS if each[0]["name"] in ("transformer", "particle_transformer", "spanet", "gatv2")]


def subject_of(config: Config, inputs: dict[str, np.ndarray]) -> Subject:
    return Subject(config, build_model(config, fit_scaling("standard", inputs, np.arange(50)), 7))


def sample_of(config: Config, inputs: dict[str, np.ndarray]) -> Sample:
    events, random = len(inputs["jets"]), np.random.default_rng(4)
    truth = {"higgs": np.where(inputs["jets_valid"].sum(axis=1) > 2, 3, -1), "top": np.full(events, -1)}
    whole = (np.arange(events) % 2, random.uniform(0.5, 1.5, events), np.zeros(events, int), np.arange(events))
    truth = truth if config.assignments else {}
    return Sample(features(config), inputs, *whole, truth, 1)


@pytest.mark.parametrize(("options", "network_type"), ATTENTIVE)
def test_shares_of_the_objects_that_are_there(options: dict[str, Any], network_type: str) -> None:
    inputs = inputs_of(100)
    subject = subject_of(config_of(options, network_type), inputs)
    found = maps.weights(subject.head, inputs, subject.columns)
    assert [*found] == [each.name for each in maps.attention_layers(subject.head, subject.columns)]
    there = maps.there_of(inputs, subject.columns)
    for each in found.values():
        heads, queries, keys = each.shape[1:]
        token = keys - there.shape[1]
        assert heads == options["heads"] and token in (0, 1)
        objects = np.pad(there, ((0, 0), (token, 0)), constant_values=True)
        looks = np.broadcast_to(objects[:, :queries][:, None], each.shape[:3])
        np.testing.assert_allclose(each.sum(axis=3)[looks], 1, rtol=1e-5)
        assert not each[~looks].any() and not np.moveaxis(each, 3, 1)[~objects].any()
        assert each.std() > 0
    share = maps.rollout(found, there)
    np.testing.assert_allclose(share.sum(axis=1), there.any(axis=1), rtol=1e-6)
    assert not share[~there].any() and (share[there] > 0).all()


def test_rollout_by_hand() -> None:
    first = np.array([[[[0.5, 0.5], [1.0, 0.0]]]])
    second = np.array([[[[0.0, 1.0], [0.5, 0.5]]]])
    both = np.ones((1, 2), bool)
    # (A + 1)/2: ((3/4, 1/4), (1/2, 1/2)), then ((1/2, 1/2), (1/4, 3/4)); their product and the mean of its rows
    np.testing.assert_allclose(maps.rollout({"a": first, "b": second}, both), [[0.59375, 0.40625]])
    # a token that looks at itself and both objects: the row (0.6, 0.3, 0.1) on what the first layer made
    token = np.array([[[[0.2, 0.6, 0.2]]]])
    np.testing.assert_allclose(maps.rollout({"a": first, "c": token}, both), [[0.6875, 0.3125]])
    # heads are averaged, and an empty slot neither gives nor takes
    heads = np.array([[[[1.0, 0.0], [0.0, 0.0]], [[1.0, 0.0], [0.0, 0.0]]]])
    np.testing.assert_allclose(maps.rollout({"a": heads}, np.array([[True, False]])), [[1.0, 0.0]])


def test_distances_and_particles_of_pairs() -> None:
    config = with_targets(partons=1.0)
    inputs = inputs_of(50)
    sample = sample_of(config, inputs)
    apart = pairs.delta_r(config, sample)
    assert apart.shape == (50, 7, 7) and np.isnan(apart[:, 6]).all()  # missing momentum has no η
    two = np.flatnonzero(inputs["jets_valid"].sum(axis=1) > 1)[0]
    (eta, phi), (eta2, phi2) = inputs["jets"][two, 0, 1:3], inputs["jets"][two, 1, 1:3]
    around = (phi - phi2 + np.pi) % (2 * np.pi) - np.pi
    np.testing.assert_allclose(apart[two, 0, 1], np.hypot(eta - eta2, around), rtol=1e-5)
    names, same = pairs.particles(config, sample)
    assert names == ["higgs", "top"]
    assert set(np.unique(same)) == {pairs.OTHER, 0}
    known = sample.truth["higgs"] >= 0
    assert (same[known] == 0).any(axis=(1, 2)).all() and not (same[~known] == 0).any()


def test_a_curve_by_hand() -> None:
    value = np.full((2, 2, 2), np.nan)
    value[:, 0, 1], value[:, 1, 0] = (1.0, 3.0), (2.0, 4.0)
    apart = np.full((2, 2, 2), np.nan)
    apart[:, 0, 1] = apart[:, 1, 0] = 0.5
    found = pairs.curve(value, apart, np.ones(value.shape, bool), np.array([1.0, 3.0]))
    # (1·(1 + 2) + 3·(3 + 4)) / (2·(1 + 3)) = 3; the error has the events (3 - 6)·1 and (7 - 6)·3
    np.testing.assert_allclose(found.value[1], 3.0)
    np.testing.assert_allclose(found.error[1], np.sqrt(9 + 9) / 8)
    assert np.isnan(found.value[[0, *range(2, 13)]]).all()


@pytest.mark.parametrize("which", ["particle_transformer", "assignment"])
def test_what_is_found_and_drawn(which: str) -> None:
    given = next(each for each in ATTENTIVE if each[0]["name"] == "particle_transformer")
    config = with_targets(partons=1.0) if which == "assignment" else config_of(*given)
    inputs = inputs_of(80)
    subject, method = subject_of(config, inputs), AttentionMaps()
    method.check(config)
    sample = sample_of(config, inputs)
    found = method.explain(subject, sample, silent(), time.monotonic() + 60)
    assert found.events == 80
    assert found.levels["slots"].names == (*(f"jets[{slot}]" for slot in range(6)), "met[0]")
    filled = inputs["jets_valid"].any(axis=1) | (inputs["met_valid"] > 0).any(axis=1)
    total = sample.weight @ filled / sample.weight.sum()
    assert found.levels["collections"].value.sum() == pytest.approx(total)
    assert (found.levels["slots"].error > 0).all()
    drawn = method.figures(found, sample)
    layers = [each.removeprefix("map_") for each in found.arrays if each.startswith("map_")]
    assert {f"map_{layer}" for layer in layers} <= set(drawn)
    if which == "assignment":
        assert "particles_attention_0" in drawn
        assert [*found.facts["attention_over_uniform"]["attention_0"]] == ["higgs", "top", "other pairs"]
    else:
        assert "delta_r_block_0_attention" in drawn
        assert "delta_r_class_block_0_attention" not in drawn


def test_networks_without_attention_are_refused() -> None:
    with pytest.raises(
        ExplainError, match=r"^attention: the network 'deep_sets' has no attention layers; networks with"
    ):
        AttentionMaps().check(config_of({"name": "deep_sets"}, "set"))
