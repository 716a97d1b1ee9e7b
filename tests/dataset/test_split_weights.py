"""Who trains on which event, and with which weight."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import ArrayLike
from pydantic import ValidationError

from nntrainer.config import Config
from nntrainer.dataset.split import fold_of, masks, rule, seen
from nntrainer.dataset.weights import WeightSums, apply_policy
from nntrainer.errors import ConfigError, TrainingError

IDS = np.array([0, 1, 2, 99, 100, 2**53 + 1, 2**64 - 1, *range(1000, 5000)], np.uint64)


def configured(**preparation: Any) -> Config:
    samples = [{"name": name, "files": f"{name}.root", "label": label} for name, label in ("as", "bb", "cb")]
    return Config.model_validate(
        {
            "name": "t",
            "data": {"samples": samples},
            "features": {"events": ["x"]},
            "model": "dense",
            "preparation": preparation,
        }
    )


FRACTIONS = {"fractions": {"train": 0.7, "validation": 0.1, "test": 0.2}}
SPLITS = [{"folds": 2}, {"folds": 5, "validation_every": 3}, FRACTIONS, {}]


def training_weights(config: Config, weight: ArrayLike, label: ArrayLike, sample: ArrayLike) -> np.ndarray:
    """The weights of events that are all there at once."""
    weight, label, sample = np.asarray(weight), np.asarray(label, np.int64), np.asarray(sample, np.int64)
    sums = WeightSums(config, int(sample.max(initial=0)) + 1)
    sums.add(weight, label, sample)
    return sums.weights(weight, label, sample)


def test_fold_is_exact_beyond_doubles() -> None:
    assert fold_of([2**53 + 1, 2**64 - 1, 7], 4).tolist() == [1, 3, 3]


@pytest.mark.parametrize("preparation", SPLITS)
def test_every_event_has_one_role_and_seen_is_the_complement_of_test(preparation: dict[str, Any]) -> None:
    config = configured(**preparation)
    for fold in range(config.preparation.k):
        split = masks(config, IDS, fold)
        roles = np.stack([split.train, split.validation, split.test]).astype(int)
        assert (roles.sum(axis=0) == 1).all()
        assert roles.any(axis=1).all()
        plain = json.loads(json.dumps(rule(config, fold)))
        assert np.array_equal(seen(plain, IDS), ~split.test)


def test_folds_test_every_event_once() -> None:
    config = configured(folds=3, validation_every=4)
    assert np.array_equal(sum(masks(config, IDS, fold).test.astype(int) for fold in range(3)), np.ones(len(IDS)))
    split = masks(config, IDS, 1)
    assert np.array_equal(split.test, fold_of(IDS, 3) == 1)
    others = [int(i) for i in IDS if int(i) % 3 != 1]
    assert IDS[split.validation].tolist() == [i for i in others if (i // 3) % 4 == 0]
    assert rule(config, 1) == {"kind": "folds", "k": 3, "fold": 1, "validation_every": 4}
    assert "fold" not in rule(config)


def test_fractions_are_hundredths_of_the_event_number() -> None:
    split = masks(configured(**FRACTIONS), np.arange(500, dtype=np.uint64), 0)
    assert [int(mask.sum()) for mask in (split.train, split.validation, split.test)] == [350, 50, 100]
    assert np.flatnonzero(split.validation)[:10].tolist() == list(range(70, 80))
    assert rule(configured(**FRACTIONS), 0) == {
        "kind": "fractions", "k": 1, "fold": 0, "train": 70, "validation": 10, "test": 20
    }  # fmt: skip


@pytest.mark.parametrize("fold", [-1, 2, 7])
def test_a_fold_that_is_not(fold: int) -> None:
    with pytest.raises(ConfigError, match=f"no fold {fold}.*0 to 1"):
        masks(configured(folds=2), IDS, fold)


WEIGHT = np.array([1.0, -0.5, 2.0, -1.0, 4.0])
GROUP = np.array([0, 0, 7, 7, 7])


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("keep", [1, -0.5, 2, -1, 4]),
        ("drop", [1, 0, 2, 0, 4]),
        ("absolute", [1, 0.5, 2, 1, 4]),
        ("rescale", [0.5, 0, 2 * 5 / 6, 0, 4 * 5 / 6]),
    ],
)
def test_policies_by_hand(policy: Any, expected: list[float]) -> None:
    before = WEIGHT.copy()
    assert apply_policy(WEIGHT, policy, GROUP) == pytest.approx(expected)
    assert np.array_equal(before, WEIGHT)
    assert apply_policy(np.array([]), policy, np.array([], int)).shape == (0,)


@given(st.lists(st.floats(-0.1, 1), min_size=1, max_size=50))
def test_rescale_keeps_sums(values: list[float]) -> None:
    weight = np.array([*values, 10.0, 10.0])
    group = np.arange(len(weight)) % 2
    made = apply_policy(weight, "rescale", group)
    assert (made >= 0).all()
    for number in (0, 1):
        assert made[group == number].sum() == pytest.approx(weight[group == number].sum())


def test_rescale_refuses_a_negative_sum() -> None:
    with pytest.raises(TrainingError, match=r"sample number 7 add up to -2.*'rescale'"):
        apply_policy([1, 1, -3], "rescale", [0, 7, 7])
    assert apply_policy([0, 0], "rescale", [0, 0]).tolist() == [0, 0]


@pytest.mark.parametrize("policy", ["keep", "drop", "absolute", "rescale"])
def test_training_weights_balance_and_normalise(policy: str) -> None:
    config = configured(negative_weights={"training": policy})
    rng = np.random.default_rng(1)
    label = rng.integers(0, 2, 2000)
    weight = rng.normal(1, 0.7, 2000) * np.where(label == 0, 1e-3, 50)
    made = training_weights(config, weight, label, label)
    assert made.mean() == pytest.approx(1)
    assert made[label == 0].sum() == pytest.approx(made[label == 1].sum())
    assert (made < 0).any() == (policy == "keep")


def test_training_weights_without_balance_are_proportional() -> None:
    config = configured(class_balance="none", negative_weights={"training": "absolute"})
    made = training_weights(config, [1, -2, 3], [0, 1, 1], [0, 1, 1])
    assert made == pytest.approx([0.5, 1, 1.5])


def test_classes_with_shares() -> None:
    made = training_weights(configured(class_balance={"b": 3}), [1, 2, 5, 2], [0, 1, 0, 1], [0, 1, 0, 1])
    assert made[[1, 3]].sum() == pytest.approx(3 * made[[0, 2]].sum()) and made.mean() == pytest.approx(1)
    assert made[2] == pytest.approx(5 * made[0])
    with pytest.raises(ValidationError, match="class_balance: 'bb' is the label of no sample; allowed are"):
        configured(class_balance={"bb": 3})


def test_classes_without_weight_are_refused_by_name() -> None:
    with pytest.raises(TrainingError, match="class 'b' add up to 0"):
        training_weights(configured(negative_weights={"training": "drop"}), [1, -1], [0, 1], [0, 1])
    with pytest.raises(TrainingError, match="mean of -1"):
        training_weights(
            configured(class_balance="none", negative_weights={"training": "keep"}), [-1, -1], [0, 1], [0, 1]
        )
