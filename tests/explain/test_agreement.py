"""Do methods agree, and which features are copies."""

from __future__ import annotations

import numpy as np

from nntrainer.explain.agreement import agreement, copies, rank_correlation
from nntrainer.explain.attribution import Importance
from nntrainer.explain.sample import Columns, Sample


def importance(**values: float) -> Importance:
    return Importance(tuple(values), np.array([*values.values()]), np.full(len(values), 0.1), "")


def test_ranks_are_compared_over_common_features() -> None:
    one, same = importance(a=3, b=2, c=1), importance(c=10, a=99, b=11)
    assert rank_correlation(one, same) == 1
    assert rank_correlation(one, importance(a=1, b=2, c=3)) == -1
    assert rank_correlation(one, importance(a=3, b=1, c=2)) == 0.5  # 1 − 6 Σd²/(n(n²−1)) with Σd² = 2
    assert np.isnan(rank_correlation(one, importance(a=1, b=2)))
    assert np.isnan(rank_correlation(one, importance(a=1, b=1, c=1)))
    found = agreement({"x": one, "y": importance(a=1, b=2)})
    assert found == {"methods": ["x", "y"], "spearman": [[1.0, None], [None, None]]}


def test_copies_are_found_among_events_and_objects() -> None:
    random = np.random.default_rng(2)
    a, b = random.normal(size=(2, 200))
    events = np.stack([a, b, -2 * a + 1, np.full(200, 3.0), b + 0.5 * a], axis=1).astype(np.float32)
    jets = random.normal(size=(200, 3, 2)).astype(np.float32)
    jets[..., 1] = jets[..., 0]
    valid = random.random((200, 3)) < 0.6
    jets[~valid, 1] = 7  # what lies in empty slots does not count
    columns = Columns(("a", "b", "twice", "constant", "mixed"), {"jets": ("pt", "e")}, {"jets": 3})
    inputs = {"events": events, "jets": jets, "jets_valid": valid.astype(np.float32)}
    numbers = (np.zeros(200, int), random.choice([-0.5, 1.0], 200), np.zeros(200, int), np.arange(200, dtype=np.uint64))
    found = copies(Sample(columns, inputs, *numbers, {}, 1))
    assert [each["features"] for each in found] == [["a", "twice"], ["jets.pt", "jets.e"]]
    assert all(each["correlation"] > 0.999 for each in found)
