"""The two-sample test finds a shift of 2 % among 100 000 events, names it, and nothing between halves of a sample."""

from __future__ import annotations

import numpy as np
import pytest

from nntrainer.errors import InputError
from nntrainer.validation.columns import Columns
from nntrainer.validation.two_sample import Table, TwoSample, two_sample

pytestmark = pytest.mark.slow

EVENTS = 100_000
COLUMNS = Columns(
    ("mass", "angle", "sum", "n(jets)", "jets[0].pt", "jets[1].pt", "jets[2].pt"),
    ("mass", "angle", "sum", "n(jets)", "jets.pt", "jets.pt", "jets.pt"),
    dict.fromkeys(("mass", "angle", "sum", "n(jets)", "jets.pt"), ""),
)


def sample(seed: int, n: int = EVENTS, first: int = 0) -> Table:
    """Features that depend on one another, jets in falling order with empty slots, 20 % negative weights."""
    rng = np.random.default_rng([7, seed])
    pt = -np.sort(-rng.exponential(40, (n, 3)) - 25, axis=1)
    count = rng.integers(1, 4, n)
    pt[np.arange(3) >= count[:, np.newaxis]] = np.nan
    total = np.nansum(pt, axis=1)
    values = [rng.normal(0.3 * total, 30), rng.uniform(-3, 3, n), total + rng.exponential(30, n), count, *pt.T]
    weight = np.where(rng.random(n) < 0.2, -1.0, 1.0) * rng.normal(1, 0.1, n)
    return Table(np.stack(values, axis=1).astype(np.float32), weight, np.arange(first, first + n, dtype=np.uint64))


def halves(seed: int) -> TwoSample:
    whole = sample(seed)
    second = np.random.default_rng(seed).random(EVENTS) < 0.5
    parts = [Table(whole.values[each], whole.weight[each], whole.event[each]) for each in (~second, second)]
    return two_sample(*parts, COLUMNS, seed=seed, importances=False)


def changed(table: Table, column: str, change: float, factor: float = 1.0) -> Table:
    values = table.values.copy()
    place = COLUMNS.names.index(column)
    values[:, place] = factor * values[:, place] + change
    return Table(values, table.weight, table.event)


@pytest.mark.parametrize("seed", range(3))
def test_halves_of_a_sample_are_alike(seed: int) -> None:
    found = halves(seed)
    assert abs(found.classifier.auc - 0.5) < 4 * found.classifier.auc_error
    assert found.p_value > 0.01


def test_a_shift_of_two_percent_is_found() -> None:
    reference = sample(0)
    other = changed(sample(2, first=EVENTS), "sum", 0.0, 1.02)
    found = two_sample(reference, other, COLUMNS)
    assert found.p_value < 1e-6
    assert found.classifier.p_value < 1e-3
    assert found.features[0].feature == "sum"
    assert found.features[0].importance > 5 * found.features[0].importance_error
    assert found.features[0].shift > 5 * found.features[0].shift_error


def test_a_shift_of_two_percent_of_a_standard_deviation_is_found() -> None:
    """Without weights, which leave 36 % of the events: there it is seen in about half of all pairs."""
    reference, other = (Table(one.values, np.ones(EVENTS), one.event) for one in (sample(0), sample(2, first=EVENTS)))
    width = float(np.std(other.values[:, 1]))
    found = two_sample(reference, changed(other, "angle", 0.02 * width), COLUMNS, importances=False)
    assert found.p_value < 0.01
    assert found.features[0].feature == "angle"


def test_the_slot_that_differs_is_named() -> None:
    other = changed(sample(2, first=EVENTS), "jets[1].pt", 0.0, 1.05)
    found = two_sample(sample(0), other, COLUMNS, importances=False)
    first = found.features[0]
    assert (first.feature, first.column) == ("jets.pt", "jets[1].pt")


def test_pairs_of_opposite_weight_are_no_difference() -> None:
    reference, other = sample(0, 40_000), sample(2, 40_000, first=40_000)
    place = np.flatnonzero(other.values[:, 1] > 1)
    # Every second of them once more with weight +1 and with weight −1: the signed distribution stays.
    more = np.repeat(place[::2], 2)
    weight = np.concatenate([other.weight, np.tile([1.0, -1.0], len(place[::2]))])
    numbers = np.concatenate([other.event, np.arange(80_000, 80_000 + len(more), dtype=np.uint64)])
    found = two_sample(reference, Table(other.values[[*range(40_000), *more]], weight, numbers), COLUMNS)
    assert found.p_value > 0.01
    assert abs(found.classifier.auc - 0.5) < 4 * found.classifier.auc_error
    assert found.negative[1] > found.negative[0]


def test_the_same_events_a_little_changed() -> None:
    """Events of a systematic tree have the numbers of the nominal ones: what is common must not hide the change."""
    reference = sample(0, 30_000)
    rng = np.random.default_rng(5)
    kept = rng.random(30_000) < 0.95
    same = Table(reference.values[kept], reference.weight[kept], reference.event[kept])
    alike = two_sample(reference, same, COLUMNS, importances=False)
    assert alike.p_value > 0.01
    moved = two_sample(reference, changed(same, "angle", 0.02), COLUMNS, importances=False)
    assert moved.means.p_value < 1e-6


def test_a_fold_without_events_is_refused() -> None:
    table = sample(0, 1000)
    few = Table(table.values[:2], np.ones(2), table.event[:2])
    with pytest.raises(InputError, match=r"the other sample has 0 events with eventNumber % 5 == 2"):
        two_sample(table, few, COLUMNS)


def test_the_same_seed_gives_the_same() -> None:
    pair = sample(0, 3000), sample(2, 3000, first=3000)
    first, second = (two_sample(*pair, COLUMNS, seed=3).as_dict() for _ in range(2))
    assert first == second
