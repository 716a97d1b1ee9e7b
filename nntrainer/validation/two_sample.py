"""Do two samples follow the same distribution: a classifier between them, their means, and each feature by itself.

Three tests, since each sees what the others do not. Boosted trees see any difference, in any combination of features,
if it is large enough to be learnt (classifier two-sample test, arXiv 1610.06545). Hotelling's T² sees shifts of the
means, correlations included, below what trees can learn from as many events. Means and Kolmogorov–Smirnov distances
of single columns see what is only in one of them. The p-value of all is three times the smallest (Bonferroni).

Weights are signed in every test. Only the loss of the trees takes |w|, because with negative weights it has no
minimum: they may then look for the wrong difference, and find less, but between equal distributions any function of
an event has an AUC of ½ with signed weights, so that they never find what is not there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from nntrainer.dataset.split import fold_of
from nntrainer.errors import InputError
from nntrainer.evaluation.metrics import weighted_ks
from nntrainer.evaluation.weighted import Record, plain
from nntrainer.progress import Progress, silent
from nntrainer.threads import pool
from nntrainer.validation.columns import Columns
from nntrainer.validation.estimates import Estimate, area, effective, hotelling, mean

FOLDS = 5
SHUFFLES = 3
"""How often each feature is shuffled in each fold for its importance."""
SHUFFLED_EVENTS = 10_000
"""Events of a fold, at most, for the importances."""
BINS = 100
CERTAIN = 0.01
"""The classifier sees a difference where its p-value is smaller."""
TREES = {"max_iter": 50, "learning_rate": 0.1, "max_leaf_nodes": 8, "min_samples_leaf": 100, "early_stopping": False}
TESTS = 3


@dataclass(frozen=True)
class Table:
    """A sample as a table.

    Attributes:
        values: float32 (n, C), NaN where there is no object.
        weight: float64 (n,), signed.
        event: uint64 (n,), event numbers.
    """

    values: np.ndarray
    weight: np.ndarray
    event: np.ndarray


@dataclass(frozen=True)
class Separation(Record):
    """How well a classifier tells the samples apart, on events that it never saw.

    Attributes:
        auc: the mean of the folds' areas; ½ if it cannot.
        auc_error: its statistical error for these classifiers.
        p_value: of an area of ½ and less.
        folds: the area of each fold.
    """

    auc: float
    auc_error: float
    p_value: float
    folds: np.ndarray


@dataclass(frozen=True)
class Means(Record):
    """Hotelling's test of all means together: T², its degrees of freedom, p-value."""

    t_squared: float
    free: int
    p_value: float


@dataclass(frozen=True)
class FeatureDifference(Record):
    """How a feature differs; of a feature of objects, in the slot that differs most.

    Attributes:
        feature: its name.
        column: the column with the smallest p-value.
        shift: by how much the other sample's mean is larger than the reference's, in standard deviations of both.
        shift_error: its statistical error.
        ks_distance: the weighted Kolmogorov–Smirnov distance.
        p_value: the smaller one of the mean's and of the distance's, times the number of both and of the slots.
        importance: how much the classifier's AUC falls when the feature is shuffled, all slots together.
        importance_error: its error, from the spread over the folds.
    """

    feature: str
    column: str
    shift: float
    shift_error: float
    ks_distance: float
    p_value: float
    importance: float
    importance_error: float


@dataclass(frozen=True)
class TwoSample:
    """What the test finds.

    Attributes:
        p_value: that the samples follow the same distribution, of all tests together.
        classifier: boosted trees.
        means: Hotelling's test.
        features: first those that a classifier which sees a difference certainly uses, by importance; then by p-value.
        features_p_value: the smallest p-value of a feature, times their number.
        scores: of each event, by a classifier that never saw it, of the reference (n,) and of the other sample (m,).
        negative: the fractions of events with a negative weight, of both.
        effective: the effective numbers of events (Σw)²/Σw², of both.
    """

    p_value: float
    classifier: Separation
    means: Means
    features: tuple[FeatureDifference, ...]
    features_p_value: float
    scores: tuple[np.ndarray, np.ndarray]
    negative: tuple[float, float]
    effective: tuple[float, float]

    def as_dict(self) -> dict[str, Any]:
        """Return plain data, without the scores."""
        return {
            "p_value": plain(self.p_value),
            "classifier": self.classifier.as_dict(),
            "means": self.means.as_dict(),
            "features_p_value": plain(self.features_p_value),
            "features": [each.as_dict() for each in self.features],
            "negative_fraction": list(self.negative),
            "effective_events": list(self.effective),
        }


def two_sample(
    reference: Table,
    other: Table,
    columns: Columns,
    *,
    folds: int = FOLDS,
    seed: int = 42,
    importances: bool = True,
    progress: Progress | None = None,
) -> TwoSample:
    """Compare two samples.

    Args:
        reference: the one sample.
        other: the other.
        columns: names of the columns of both.
        folds: an event is scored by the classifier that never saw events with its ``eventNumber % folds``.
        seed: seed of the classifiers and the shuffling.
        importances: measure the importances of the features for the classifier.
        progress: told how far the work has come.

    Returns:
        What is found.

    Raises:
        InputError: a fold has no event of one sample, or a sum of weights is not positive.
    """
    progress = progress or silent()
    both = Table(*(np.concatenate(pair) for pair in zip(_parts(reference), _parts(other), strict=True)))
    target = np.repeat([False, True], [len(reference.weight), len(other.weight)])
    fold = fold_of(both.event, folds)
    _check(both.weight, target, fold, folds)
    progress.start("two-sample test", folds + 1, unit="folds")
    trained = _classify(both, target, fold, columns, seed, importances, progress)
    classifier = _separation([each.area for each in trained])
    scores = np.empty(len(target))
    for each in trained:
        scores[each.rows] = each.scores
    falls = {name: [each.falls[name] for each in trained if importances] for name in trained[0].falls}
    differences = _differences(reference, other)
    means = Means(*hotelling(_filled(differences.shift)))
    features = _features(columns, differences, falls, classifier.p_value)
    least = min(1.0, min(each.p_value for each in features) * len(features))
    progress.advance(1)
    progress.finish()
    p_values = [p for p in (classifier.p_value, means.p_value, least) if np.isfinite(p)]
    return TwoSample(
        min(1.0, TESTS * min(p_values)),
        classifier,
        means,
        features,
        least,
        (scores[~target], scores[target]),
        (float(np.mean(reference.weight < 0)), float(np.mean(other.weight < 0))),
        (effective(reference.weight), effective(other.weight)),
    )


def _parts(table: Table) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return table.values, table.weight, table.event


def _check(weight: np.ndarray, target: np.ndarray, fold: np.ndarray, folds: int) -> None:
    for name, mine in (("reference", ~target), ("other sample", target)):
        sums = np.bincount(fold[mine], weight[mine], folds)
        if not (sums > 0).all():
            number = int(np.argmin(sums))
            count = int(np.sum(mine & (fold == number)))
            raise InputError(
                f"the {name} has {count:,} events with eventNumber % {folds} == {number}, "
                f"with a sum of weights of {sums[number]:g}; the two-sample test needs a positive one in every fold"
            )


@dataclass(frozen=True)
class _Fold:
    """What the classifier of one fold says of the events of the fold."""

    rows: np.ndarray
    scores: np.ndarray
    area: Estimate
    falls: dict[str, float]


def _classify(
    both: Table,
    target: np.ndarray,
    fold: np.ndarray,
    columns: Columns,
    seed: int,
    importances: bool,
    progress: Progress,
) -> list[_Fold]:
    """Train a classifier a fold, several at a time."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits

    codes = _binned(both.values)
    loss_weight = np.abs(both.weight)
    loss_weight /= np.where(target, loss_weight[target].mean(), loss_weight[~target].mean())

    def one(number: int) -> _Fold:
        test = np.flatnonzero(fold == number)
        train = fold != number
        # One thread each: OpenMP's own wait for one another busily, which on a machine with other work takes minutes.
        with threadpool_limits(1, "openmp"):
            model = HistGradientBoostingClassifier(random_state=seed, **TREES)
            model.fit(codes[train], target[train], sample_weight=loss_weight[train])
            scores = model.predict_proba(codes[test])[:, 1]
            falls: dict[str, float] = dict.fromkeys(columns.features, np.nan)
            if importances:
                rng = np.random.default_rng([seed, number])
                some = rng.choice(test, min(len(test), SHUFFLED_EVENTS), replace=False)
                known = (target[some], both.weight[some], both.event[some])
                falls = _shuffle(model, codes[some], known, columns, rng)
        return _Fold(test, scores, area(scores, target[test], both.weight[test], both.event[test]), falls)

    found = []
    for each in pool().map(one, range(int(fold.max()) + 1)):
        found.append(each)
        progress.advance(1)
    return found


def _separation(areas: list[Estimate]) -> Separation:
    from scipy.special import ndtr

    folds = np.array([float(each.value) for each in areas])
    error = float(np.sqrt(sum(float(each.error) ** 2 for each in areas))) / len(areas)
    # Each fold's classifier has trained on the events that test the others: between equal samples the areas of two
    # folds vary together, and the variance of their mean is up to twice that of independent ones.
    pull = (folds.mean() - 0.5) / (np.sqrt(2) * error) if error > 0 else np.nan
    return Separation(float(folds.mean()), error, float(ndtr(-pull)), folds)


def _binned(values: np.ndarray) -> np.ndarray:
    """Return for each value the number of its bin, bins filled alike, float32; NaN stays.

    The trees would do the same, but with weights in a way that takes ten times as long as the training.
    """
    codes = np.empty_like(values)
    for column in range(values.shape[1]):
        there = np.isfinite(values[:, column])
        known = values[there, column]
        some = known[:: max(1, len(known) // 100_000)]
        edges = np.unique(np.quantile(some, np.linspace(0, 1, BINS + 1)[1:-1])) if len(some) else np.zeros(0)
        codes[there, column] = np.searchsorted(edges, known, "right")
        codes[~there, column] = np.nan
    return codes


def _shuffle(
    model: Any,
    values: np.ndarray,
    known: tuple[np.ndarray, np.ndarray, np.ndarray],
    columns: Columns,
    rng: np.random.Generator,
) -> dict[str, float]:
    """Return for each feature how much the AUC falls when its columns are shuffled among the events."""

    def auc() -> float:
        return float(area(model.predict_proba(values)[:, 1], *known).value)

    whole, falls = auc(), {}
    for name in dict.fromkeys(columns.features):
        mine = columns.of(name)
        kept, after = values[:, mine], []
        for _ in range(SHUFFLES):
            values[:, mine] = kept[rng.permutation(len(values))]
            after.append(auc())
        values[:, mine] = kept
        falls[name] = whole - float(np.mean(after))
    return falls


@dataclass(frozen=True)
class _Differences:
    """For each column the shift in standard deviations, KS distance and p-value, and the p-value of the shift."""

    shift: Estimate
    distance: np.ndarray
    distance_p: np.ndarray
    shift_p: np.ndarray


def _differences(reference: Table, other: Table) -> _Differences:
    from scipy.special import ndtr

    together = np.concatenate([reference.values, other.values])
    centre, scale = _centre(together)
    parts = [mean((each.values - centre) / scale, each.weight, each.event) for each in (other, reference)]
    shift = parts[0] - parts[1]
    error = shift.error
    pull = np.divide(shift.value, error, out=np.zeros_like(error), where=error > 0)
    found = np.array([_ks(reference, other, column) for column in range(together.shape[1])]).reshape(-1, 2)
    return _Differences(shift, found[:, 0], found[:, 1], 2 * ndtr(-np.abs(pull)))


def _centre(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation, unweighted, of each column, float64; 1 where a column does not vary."""
    there = np.isfinite(values)
    count = np.maximum(there.sum(axis=0), 1)
    centre = np.where(there, values, 0).sum(axis=0, dtype=np.float64) / count
    scale = np.sqrt(np.where(there, values - centre, 0).__pow__(2).sum(axis=0, dtype=np.float64) / count)
    return centre, np.where(scale > 1e-6 * np.abs(centre), scale, 1.0)


def _ks(reference: Table, other: Table, column: int) -> tuple[float, float]:
    """Return distance and p-value of a column; nothing to see where a sample has no value."""
    pairs: list[np.ndarray] = []
    for each in (reference, other):
        there = np.isfinite(each.values[:, column])
        pairs += [each.values[there, column], each.weight[there]]
    distance, p = weighted_ks(*pairs)
    return (distance, p) if np.isfinite(p) else (0.0, 1.0)


def _filled(shift: Estimate) -> Estimate:
    """Return the shift without columns that one sample has no value of."""
    there = np.isfinite(shift.value)
    return Estimate(shift.value[there], shift.influence[:, there], shift.event)


def _features(
    columns: Columns, found: _Differences, falls: dict[str, list[float]], classifier_p: float
) -> tuple[FeatureDifference, ...]:
    p_values = np.minimum(np.nan_to_num(found.shift_p, nan=1.0), found.distance_p)
    error = found.shift.error
    features = []
    for name, drops in falls.items():
        mine = columns.of(name)
        column = min(mine, key=lambda each: p_values[each])
        fall = (float(np.mean(drops)), float(np.std(drops, ddof=1) / np.sqrt(len(drops)))) if drops else (np.nan,) * 2
        features.append(
            FeatureDifference(
                name,
                columns.names[column],
                float(found.shift.value[column]),
                float(error[column]),
                float(found.distance[column]),
                float(min(1.0, p_values[column] * 2 * len(mine))),
                *fall,
            )
        )

    def rank(feature: FeatureDifference) -> tuple[bool, float, float]:
        used = classifier_p < CERTAIN and feature.importance > 3 * feature.importance_error
        return (not used, -feature.importance if used else feature.p_value, feature.p_value)

    return tuple(sorted(features, key=rank))
