"""Sections about the training and what was measured: numbers and plots."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

from nntrainer.report.blocks import (
    Block,
    Cell,
    Figures,
    Section,
    Table,
    Text,
    cell,
    facts,
    measured,
    number,
    percent,
    seconds,
    size,
    table,
)
from nntrainer.report.figures import Album, chosen, in_order
from nntrainer.report.findings import KS_P
from nntrainer.report.read import Run, history

FIRST = ("score", "roc", "auc_folds", "confusion", "calibration")
"""Plots of the evaluation in the order in which people look at them."""
DECISIONS = ("binned_", "discriminant_", "threshold_scan", "alpha_")
"""How names of plots begin that belong to decisions; they lie with those of the evaluation."""


def training(run: Run, album: Album) -> Section:
    """Return how each fold was trained."""
    blocks: list[Block] = [
        facts(
            {
                "Network": run.key("model", "name"),
                "Sees an event as": run.key("network_type"),
                "Optimizer": run.key("training", "optimizer", "name"),
                "Learning rate": f"{rate:g}" if (rate := run.key("training", "optimizer", "learning_rate")) else "",
                "Batch size": run.key("training", "batch_size"),
                "Epochs at most": run.key("training", "epochs"),
            }
        )
    ]
    columns, last = history(run), "epoch"
    rows = []
    for fold, one in run.training.items():
        losses = columns.get(f"fold {fold}", {})
        best = one.get("best_epoch")
        rows.append(
            (
                fold,
                one.get("state", ""),
                one.get("epochs"),
                best,
                "yes" if one.get("stopped_early") else "no",
                cell(_at(losses, "loss", best)),
                cell(_at(losses, "val_loss", best)),
                one.get("parameters"),
                one.get("workers"),
                cell(one.get("events_per_s")),
                cell(one.get("seconds"), seconds(one.get("seconds"))),
            )
        )
    if rows:
        heads = [
            *("fold", "state", "epochs", "best epoch", "stopped early", "loss", "validation loss"),
            *("parameters", "workers", "events/s", "time"),
        ]
        note = "Losses are those of the best epoch, which has the smallest validation loss."
        blocks.append(table("Folds", heads, rows, note))
    drawn = in_order(chosen(run, "Validation"), ("loss", "accuracy"))
    blocks += figures(run, album, "", list(drawn))
    if models := run.export.get("models"):
        exported = [
            (
                one["file"],
                cell(one["difference"], f"{one['difference']:.1e}"),
                cell(run.export["tolerance"], f"{run.export['tolerance']:.1e}"),
                cell(one["size_bytes"], size(one["size_bytes"])),
            )
            for one in models
        ]
        blocks.append(table("ONNX models", ("file", "largest difference to Keras", "tolerance", "size"), exported))
    return Section("training", "Training", tuple(blocks) if rows or last not in columns else ())


def _at(columns: dict[str, list[float]], name: str, epoch: int | None) -> float | None:
    values = columns.get(name, [])
    return values[epoch - 1] if epoch and epoch <= len(values) else None


def evaluation(run: Run, album: Album) -> Section:
    """Return how well classes are told apart."""
    metrics = run.metrics
    blocks: list[Block] = []
    rows: list[Sequence[Any]]
    if auc := metrics.get("auc"):
        rows = [(name, _value(auc[name], auc[f"{name}_error"])) for name in ("test", "train") if name in auc]
        note = (
            "± is statistical, from a Poisson bootstrap. Test events are scored by the model that never saw them, "
            "training events by one that did."
        )
        blocks.append(table("AUC of all folds together", ("events", "AUC"), rows, note))
        blocks.append(_by_fold(metrics["folds"]))
    if scores := metrics.get("scores"):
        rows = [
            (output, name, cell(one["ks_distance"]), _p_value(one["ks_p_value"]))
            for output, classes in scores.items()
            for name, one in classes.items()
        ]
        columns = ("output", "class", "KS distance", "p-value")
        blocks.append(table("Training events against test events", columns, rows, f"Marked below {KS_P:g}."))
    if roc := metrics.get("roc"):
        rows = [
            (name, _value(one["auc"], one["auc_error"]), "yes" if one["monotonic"] else Cell("no", mark="warning"))
            for name, one in roc.items()
        ]
        blocks.append(table("ROC curves", ("curve", "AUC", "monotonic"), rows))
    if points := metrics.get("working_points"):
        blocks.append(working_points(points))
    if confusion := metrics.get("confusion"):
        blocks.append(_confusion(metrics["labels"], confusion))
    blocks += figures(run, album, "", list(in_order(chosen(run, "Evaluation", without=DECISIONS), FIRST)))
    return Section("evaluation", "Evaluation", tuple(blocks))


def _by_fold(folds: Sequence[dict[str, Any]]) -> Table:
    """Return a table with a row a fold, then the mean and the spread where there are several."""
    wanted = [point["wanted"] for point in folds[0].get("working_points", [])]
    columns = ["fold", "events", "AUC"]
    keys: list[Any] = [lambda fold: fold["auc"]]
    if "accuracy" in folds[0]:
        columns.append("accuracy")
        keys.append(lambda fold: fold["accuracy"])
    for i, efficiency in enumerate(wanted):
        columns.append(f"1/ε_b at {percent(efficiency, 0)}")
        keys.append(lambda fold, i=i: _rejection(fold["working_points"], i))
    rows: list[list[Any]] = [
        [
            fold["fold"],
            fold["events"],
            _value(fold["auc"], fold["auc_error"]),
            *(cell(key(fold), number(key(fold))) for key in keys[1:]),
        ]
        for fold in folds
    ]
    if len(folds) > 1:
        values = [[key(fold) for fold in folds] for key in keys]
        for name, summed, digits in (("mean", statistics.fmean, 4), ("spread", statistics.stdev, 2)):
            known = [[one for one in each if one is not None and math.isfinite(one)] for each in values]
            numbers = [summed(each) if len(each) > 1 else None for each in known]
            rows.append([name, "", *(cell(each, number(each, digits)) for each in numbers)])
    note = (
        "± is statistical; spread is the standard deviation over folds; 1/ε_b is the background rejection where the "
        "named part of the signal is kept."
    )
    return table("Folds", columns, rows, note)


def _rejection(points: Sequence[dict[str, Any]], index: int) -> float | None:
    return points[index]["rejection"] if index < len(points) else None


def _value(value: float | None, error: float | None) -> Cell:
    return Cell(measured(value, error, 4), value)


def _p_value(p: float | None) -> Cell:
    return cell(p, number(p, 3), mark="warning" if p is not None and p < KS_P else "")


def working_points(points: Sequence[dict[str, Any]], title: str = "Working points") -> Table:
    """Return the cuts that keep given signal efficiencies."""
    rows = [
        (
            cell(one["wanted"], percent(one["wanted"], 0)),
            cell(one["threshold"]),
            cell(one["efficiency"], percent(one["efficiency"])),
            cell(one["background_efficiency"], percent(one["background_efficiency"], 2)),
            cell(one["rejection"]),
            cell(one["purity"], percent(one["purity"])),
        )
        for one in points
    ]
    columns = ("wanted ε_s", "score ≥", "ε_s", "ε_b", "1/ε_b", "purity")
    return table(title, columns, rows)


def _confusion(labels: Sequence[str], confusion: dict[str, Any]) -> Table:
    rows = [
        (name, *(cell(value, percent(value), bar=max(0.0, min(value, 1.0))) for value in row))
        for name, row in zip(labels, confusion["normalised_to_truth"], strict=True)
    ]
    note = f"Each row adds up to 100 %. Accuracy {percent(confusion['accuracy'])}."
    return table("Confusion, normalised to truth", ("true class", *(f"→ {name}" for name in labels)), rows, note)


def reconstruction(run: Run, album: Album) -> Section:
    """Return how often particles are found right, and how well numbers are learnt."""
    blocks: list[Block] = []
    for name, found in run.metrics.get("reconstruction", {}).items():
        methods = [key for key, one in found.items() if isinstance(one, dict) and "all" in one]
        rows = [
            (
                method,
                _fraction(found[method]["matchable"]),
                _fraction(found[method]["all"]),
                _spread(found[method].get("mass_gev")),
                _spread(found[method].get("pt_response")),
            )
            for method in methods
        ]
        columns = ("method", "right, matchable events", "right, all events", "mass in GeV", "pT response")
        share = _fraction(found["matchable"]).text
        note = f"{share} of the events are matchable. Mass and response: median ± half of the central 68 %."
        blocks.append(table(name, columns, rows, note))
    rows = [
        (name, found["unit"], cell(found["median"]), cell(found["width"]), found["events"])
        for name, found in run.metrics.get("regression", {}).items()
    ]
    if rows:
        note = "Difference to the truth: median, and half of the central 68 %."
        blocks.append(table("Numbers of the event", ("target", "unit", "median", "width", "events"), rows, note))
    blocks += figures(run, album, "", chosen(run, "Reconstruction"))
    return Section("reconstruction", "Reconstruction", tuple(blocks))


def _fraction(one: dict[str, Any]) -> Cell:
    value = one.get("value")
    if value is None:
        return cell(None)
    return Cell(f"{100 * value:.1f} ± {100 * (one.get('error') or 0):.1f} %", value)


def _spread(one: dict[str, Any] | None) -> Cell:
    if not one or one.get("median") is None:
        return cell(None)
    return Cell(f"{number(one['median'], 3)} ± {number(one['width'], 3)}", one["width"])


def decisions(run: Run, album: Album) -> Section:
    """Return significances, discriminants and the scan of CP-mixing angles."""
    metrics = run.metrics
    blocks: list[Block] = []
    rows = []
    named = {"score": metrics, **metrics.get("discriminants", {})}
    for name, one in named.items():
        binned, best = one.get("binned", {}), one.get("threshold_scan", {}).get("best") or {}
        if "total" in binned or best:
            title = name if name == "score" else f"discriminant of {name}"
            trusted = f"{sum(binned['trusted'])} of {len(binned['trusted'])}" if "trusted" in binned else "–"
            area = metrics["auc"]["test"] if name == "score" else one.get("auc")
            significances = (cell(binned.get("total")), trusted, cell(best.get("asimov")), cell(best.get("threshold")))
            rows.append((title, cell(area), *significances, cell(best.get("signal")), cell(best.get("background"))))
    if rows:
        columns = ("of", "AUC", "binned Z", "bins that count", "best Z of one cut", "at ≥", "signal", "background")
        background = run.key("evaluation", "background_uncertainty", default=0.0)
        note = (
            f"Asimov significances (arXiv:1007.1727) with a background uncertainty of {percent(background, 0)}; "
            "binned: √ΣZ² over the bins that count."
        )
        blocks.append(table("Expected significance", columns, rows, note))
    if (binned := metrics.get("binned", {})).get("edges"):
        blocks.append(_bins(binned))
    if reason := metrics.get("binned", {}).get("reason"):
        blocks.append(Text(f"No bins: {reason}."))
    for name, one in metrics.get("discriminants", {}).items():
        if one.get("working_points"):
            blocks.append(working_points(one["working_points"], f"Working points of the discriminant of {name}"))
    if templates := run.alpha_scan.get("templates"):
        blocks.append(_alpha(templates))
    paths = list(in_order(chosen(run, "Evaluation", *DECISIONS), ("binned", "threshold", "discriminant")))
    blocks += figures(run, album, "", paths)
    return Section("decisions", "Decisions", tuple(blocks))


def _bins(binned: dict[str, Any]) -> Table:
    edges = binned["edges"]
    columns = ("signal", "background", "background_error", "significance", "trusted")
    rows = [
        (
            cell(low, f"{low:.3f} to {high:.3f}"),
            cell(s),
            cell(b, measured(b, error)),
            cell(z),
            "yes" if trusted else Cell("no", mark="warning"),
        )
        for low, high, s, b, error, z, trusted in zip(
            edges, edges[1:], *(binned[name] for name in columns), strict=False
        )
    ]
    return table(f"Bins of the score ({binned['method']})", ("bin", "signal", "background", "Z", "counts"), rows)


def _alpha(templates: dict[str, Any]) -> Table:
    levels = list(next(iter(templates.values()))["excluded_from"])
    rows = [
        (name, *(cell(limit, None if limit is None else f"{limit:.1f}°") for limit in one["excluded_from"].values()))
        for name, one in templates.items()
    ]
    columns = ("template", *(f"|α| excluded from, {100 * float(level):.0f} % CL" for level in levels))
    return table("CP-mixing angles", columns, rows, "Expected, against data of α = 0.")


def inputs(run: Run, album: Album) -> Section:
    """Return the plots of all input features."""
    return Section("inputs", "Inputs", tuple(figures(run, album, "", chosen(run, "Inputs"))))


def figures(run: Run, album: Album, title: str, paths: Sequence[Any]) -> list[Block]:
    """Return plots as a block, or nothing where there are none."""
    return [Figures(title, album.take(run, paths))] if paths else []
