"""Measure a trained network on events it never saw, and draw it."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from nntrainer.config import Config
from nntrainer.dataset import summary
from nntrainer.dataset.dataset import Dataset
from nntrainer.evaluation import metrics
from nntrainer.evaluation.decide import Draw, binned, discriminants
from nntrainer.evaluation.dependence import measure_dependence, nuisances
from nntrainer.evaluation.figures import NUMBERS, configured_dataset, reporting_weights, style_of
from nntrainer.evaluation.predict import Scores, scores
from nntrainer.evaluation.reconstruction import measure_reconstruction
from nntrainer.evaluation.robustness import measure_robustness
from nntrainer.files import write_json, write_text
from nntrainer.plots import evaluation as plots
from nntrainer.plots import folds as fold_plots
from nntrainer.plots import validation as validation_plots
from nntrainer.plots.press import Press
from nntrainer.progress import Progress
from nntrainer.provenance import provenance
from nntrainer.rundir import RunDir


def evaluate(config: Config, run: RunDir, *, progress: Progress | None = None) -> dict[str, Any]:
    """Evaluate the models of all folds together: every event is scored by the model that never saw it.

    Args:
        config: the configuration.
        run: the run directory with the trained models.
        progress: told how far the work has come.

    Returns:
        What is written to ``metrics.json``.
    """
    count = 9 + (config.preparation.k > 1) + 3 * len(config.evaluation.discriminants) + 2 * len(nuisances(config))
    count += config.evaluation.robustness is not None
    count += 4 * sum(len(target.particles) for target in config.assignments.values())
    style_of(config)
    history = _merge_history(config, run)
    with Press(progress) as press, configured_dataset(config) as dataset:
        press.expect("evaluation", count)
        press.draw(run.plots("Validation"), validation_plots.history, history)
        found = scores(config, run, dataset)
        result = _measure(config, run, dataset, found, press) if config.classifies else {}
        result |= measure_reconstruction(config, run, dataset, found, press)
        result |= {"samples": summary.samples(dataset), "splits": summary.splits(config, dataset)}
    result["history"] = history
    if (inputs := run.plots("Inputs") / NUMBERS).exists():
        result["inputs"] = json.loads(inputs.read_text(encoding="utf-8"))
    result["config_digest"] = config.digest()
    result["provenance"] = provenance()
    write_json(run.metrics, result)
    return result


def _merge_history(config: Config, run: RunDir) -> dict[str, dict[str, list[float]]]:
    """Write the epochs of all folds as one table, and return its columns by fold."""
    columns: dict[str, dict[str, list[float]]] = {}
    lines: list[str] = []
    for fold in range(config.preparation.k):
        with (run.fold(fold) / "history.csv").open(newline="", encoding="utf-8") as handle:
            rows = list(csv.DictReader(handle))
        if not lines:
            lines.append(",".join(["fold", *rows[0]]))
        lines += [",".join([str(fold), *row.values()]) for row in rows]
        columns[f"fold {fold}"] = {key: [float(row[key]) for row in rows] for key in rows[0]}
    write_text(run.history, "\n".join(lines) + "\n")
    return columns


def _measure(config: Config, run: RunDir, dataset: Dataset, found: Scores, press: Press) -> dict[str, Any]:
    label, weight = dataset.column("label").astype(int), reporting_weights(config, dataset)
    labels, signal = list(dataset.labels), dataset.labels.index(config.data.signal_label)
    folder = run.plots("Evaluation")
    test, train = found.fold >= 0, np.isfinite(found.train[:, 0])
    result: dict[str, Any] = {
        "labels": labels,
        "signal": config.data.signal_label,
        "events": {name: int(np.sum(label == index)) for index, name in enumerate(labels)},
        "sum_of_weights": {name: float(weight[label == index].sum()) for index, name in enumerate(labels)},
        "negative_weights": config.preparation.negative_weights.reporting,
    }
    # The yields of the whole sample, where only a part of it is tested on.
    scale = np.array([_ratio(weight[label == c].sum(), weight[test & (label == c)].sum()) for c in range(len(labels))])

    def draw(name: str, plot: Callable[..., Any], *args: Any, **options: Any) -> None:
        press.draw(folder / name, plot, *args, **options)

    result["auc"] = _auc(config, label, weight, found, test, train, signal)
    result["folds"] = _folds(config, label, signal, found, weight)
    result["auc"] |= spread([each["auc"] for each in result["folds"]])
    if config.preparation.k > 1:
        both = (result["auc"]["folds_mean"], result["auc"]["folds_spread"])
        draw("auc_folds", fold_plots.auc, result["folds"], *both)
    result["roc"] = _roc(config, labels, signal, label[test], weight[test], found.test[test], result["auc"], draw)
    result["confusion"] = _confusion(labels, label[test], weight[test], found.test[test], draw)
    result["scores"] = _score_plots(labels, signal, label, weight, found, test, train, draw)
    # A network trained on balanced classes gives probabilities for balanced classes.
    balance = np.array([1 / weight[test & (label == c)].sum() for c in range(len(labels))])
    shares = config.class_shares()
    prior = np.ones(len(labels)) if shares is None else balance * shares
    curves = {
        labels[c]: metrics.calibration(label[test] == c, found.test[test, c], weight[test] * prior[label[test]])
        for c in ([signal] if len(labels) == 2 else range(len(labels)))
    }
    draw("calibration", plots.calibration, curves)
    result["calibration"] = {name: curve.as_dict() for name, curve in curves.items()}
    scan = metrics.threshold_scan(
        label[test] == signal,
        found.test[test, signal],
        weight[test] * scale[label[test]],
        sigma_rel=config.evaluation.background_uncertainty,
    )
    draw("threshold_scan", plots.threshold_scan, scan)
    result["threshold_scan"] = scan.as_dict()
    points = metrics.working_points(
        label[test] == signal, found.test[test, signal], weight[test], config.evaluation.working_points
    )
    result["working_points"] = [_plain(point) for point in points]
    decided = (label[test], found.test[test], weight[test] * scale[label[test]])
    of_signal = (decided[0], decided[1][:, signal], decided[2])
    result["binned"] = binned(config, labels, signal, *of_signal, draw, title="Network score", file="score")
    result["discriminants"] = discriminants(config, labels, *decided, draw)
    if nuisances(config):
        events = (label == signal, found.test[:, signal], weight)
        result["dependence"] = measure_dependence(config, dataset, *events, draw)
    if config.evaluation.robustness is not None:
        result["robustness"] = measure_robustness(config, run, dataset, label, weight, draw)
    return result


def _folds(config: Config, label: np.ndarray, signal: int, found: Scores, weight: np.ndarray) -> list[dict[str, Any]]:
    """Measure each model on the events that it alone never saw."""
    result = []
    for number in range(config.preparation.k):
        mine = found.fold == number
        events = (label[mine] == signal, found.test[mine, signal], weight[mine])
        auc, error = metrics.auc_bootstrap(*events, replicas=config.evaluation.bootstrap, seed=config.seed)
        points = metrics.working_points(*events, config.evaluation.working_points)
        result.append(
            {
                "fold": number,
                "events": int(mine.sum()),
                "auc": auc,
                "auc_error": error,
                "accuracy": metrics.accuracy(label[mine], found.test[mine].argmax(axis=1), weight[mine]),
                "working_points": [_plain(point) for point in points],
            }
        )
    return result


def spread(areas: Sequence[float]) -> dict[str, float | None]:
    """Return the mean of the folds' AUC and its standard deviation over them, which one model does not have."""
    deviation = float(np.std(areas, ddof=1)) if len(areas) > 1 else None
    return {"folds_mean": float(np.mean(areas)), "folds_spread": deviation}


def _ratio(a: float, b: float) -> float:
    return a / b if b else 1.0


def _plain(value: Any) -> Any:
    return value.as_dict() if hasattr(value, "as_dict") else value


def _auc(
    config: Config,
    label: np.ndarray,
    weight: np.ndarray,
    found: Scores,
    test: np.ndarray,
    train: np.ndarray,
    signal: int,
) -> dict[str, float]:
    def measured(values: np.ndarray, mask: np.ndarray) -> tuple[float, float]:
        return metrics.auc_bootstrap(
            label[mask] == signal,
            values[mask, signal],
            weight[mask],
            replicas=config.evaluation.bootstrap,
            seed=config.seed,
        )

    test_auc, test_error = measured(found.test, test)
    train_auc, train_error = measured(found.train, train)
    return {"test": test_auc, "test_error": test_error, "train": train_auc, "train_error": train_error}


def _roc(
    config: Config,
    labels: list[str],
    signal: int,
    label: np.ndarray,
    weight: np.ndarray,
    score: np.ndarray,
    known: dict[str, float],
    draw: Draw,
) -> dict[str, Any]:
    """Draw the ROC of the signal, or one against the rest for each class, and one for each background."""
    curves, numbers = {}, {}
    chosen: dict[str, tuple[int, np.ndarray]] = {}
    if len(labels) > 2:
        for c, name in enumerate(labels):
            chosen[f"{name} vs rest"] = (c, np.ones(len(label), bool))
    for c, name in enumerate(labels):
        if c != signal:
            chosen[f"{labels[signal]} vs {name}"] = (signal, (label == signal) | (label == c))
    for title, (target, mask) in chosen.items():
        events = (label[mask] == target, score[mask, target], weight[mask])
        curve = metrics.roc(*events).thinned()
        if len(labels) == 2:
            error = known["test_error"]  # the same events
        else:
            _, error = metrics.auc_bootstrap(*events, replicas=config.evaluation.bootstrap, seed=config.seed)
        curves[title] = (curve, error)
        numbers[title] = {"auc_error": error, **curve.as_dict()}
    draw("roc", plots.roc, curves)
    return numbers


def _confusion(
    labels: list[str], label: np.ndarray, weight: np.ndarray, score: np.ndarray, draw: Draw
) -> dict[str, Any]:
    predicted = score.argmax(axis=1)
    counts, rows, columns = metrics.confusion(label, predicted, weight, len(labels))
    draw("confusion_truth", plots.confusion, rows, labels, normalised="truth")
    draw("confusion_prediction", plots.confusion, columns, labels, normalised="prediction")
    return {
        "accuracy": metrics.accuracy(label, predicted, weight),
        "sum_of_weights": counts.tolist(),
        "normalised_to_truth": rows.tolist(),
        "normalised_to_prediction": columns.tolist(),
    }


def _score_plots(
    labels: list[str],
    signal: int,
    label: np.ndarray,
    weight: np.ndarray,
    found: Scores,
    test: np.ndarray,
    train: np.ndarray,
    draw: Draw,
) -> dict[str, Any]:
    """Draw each class's score distribution, train against test, for each output of the network."""
    result: dict[str, Any] = {}
    for output in [signal] if len(labels) == 2 else range(len(labels)):
        samples, agreement = {}, {}
        for c, name in enumerate(labels):
            in_train, in_test = train & (label == c), test & (label == c)
            samples[name] = (
                found.train[in_train, output],
                weight[in_train],
                found.test[in_test, output],
                weight[in_test],
            )
            agreement[name] = metrics.weighted_ks(*samples[name])
        suffix = "" if len(labels) == 2 else f"_{labels[output]}"
        drawn = plots.score_histograms(samples)
        draw(f"score{suffix}", plots.score, drawn, agreement)
        result[labels[output]] = {
            name: {
                "ks_distance": float(d),
                "ks_p_value": float(p),
                **{role: one and one.as_dict() for role, one in zip(("train", "test"), drawn[name], strict=True)},
            }
            for name, (d, p) in agreement.items()
        }
    return result
