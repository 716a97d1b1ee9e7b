"""What somebody should look at before believing a run: all rules, each with its threshold and a sentence."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from nntrainer.report.blocks import measured, percent
from nntrainer.report.read import Run, history

KS_P = 0.01
AUC_SIGMA = 3.0
FEW_EVENTS = 1000
NEGATIVE = 0.25
PARITY = 0.5
SPREAD = 2.0
CALIBRATION, CALIBRATION_SIGMA = 0.1, 3.0
TRUNCATED = 0.05


@dataclass(frozen=True)
class Rule:
    """A rule.

    Attributes:
        name: what it looks at.
        threshold: when it speaks.
        level: ``warning``: results may be wrong; ``note``: something to know.
        needs: what it looks at in a run; the run does not tell where that is empty.
        check: yields a sentence for each thing found in what ``needs`` gave.
    """

    name: str
    threshold: str
    level: str
    needs: Callable[[Run], Any]
    check: Callable[[Any], Iterator[str]]


@dataclass(frozen=True)
class Finding:
    """What a rule said."""

    rule: Rule
    sentence: str


@dataclass(frozen=True)
class Checked:
    """A rule and what it found; ``known`` is False where the run does not tell what the rule needs."""

    rule: Rule
    known: bool
    findings: tuple[Finding, ...]


def check(run: Run) -> list[Checked]:
    """Apply all rules to a run.

    Args:
        run: the run.

    Returns:
        What each rule found, in the order of RULES.
    """
    done = []
    for rule in RULES:
        told = rule.needs(run)
        done.append(
            Checked(rule, bool(told), tuple(Finding(rule, each) for each in (rule.check(told) if told else ())))
        )
    return done


def findings(run: Run) -> list[Finding]:
    """Return all that was found, warnings first."""
    found = [each for one in check(run) for each in one.findings]
    return sorted(found, key=lambda each: each.rule.level != "warning")


def _metric(name: str) -> Callable[[Run], Any]:
    return lambda run: run.metrics.get(name)


def _auc(run: Run) -> dict[str, float] | None:
    """Return the areas, if they are numbers."""
    auc = run.metrics.get("auc", {})
    return auc if all(_finite(auc.get(key)) for key in ("test", "train", "test_error", "train_error")) else None


def _folds(run: Run) -> tuple[float, float] | None:
    """Return the spread of the folds' areas and the mean of their uncertainties."""
    errors = [fold["auc_error"] for fold in run.metrics.get("folds", []) if _finite(fold.get("auc_error"))]
    spread = run.metrics.get("auc", {}).get("folds_spread")
    return (spread, sum(errors) / len(errors)) if errors and _finite(spread) else None


def _parities(run: Run) -> list[tuple[str, float, float]]:
    """Return file, difference and tolerance of each exported model."""
    return [(one["file"], one["difference"], run.export["tolerance"]) for one in run.export.get("models", [])]


def _trainings(run: Run) -> list[tuple[int, dict[str, Any], int | None]]:
    """Return number and record of each trained fold, and the epochs it might have trained."""
    most = run.key("training", "epochs")
    return [(fold, one, most) for fold, one in run.training.items() if one.get("state") == "done"]


def _unfinished(stages: list[tuple[dict[str, Any], str, dict[str, Any]]]) -> Iterator[str]:
    for record, name, stage in stages:
        if name != "report" and stage.get("state") != "done":  # while the page is made, its own stage is running
            part = f" of {record['part']}" if record.get("part") else ""
            yield f"The stage {name}{part} is {stage.get('state')}: the page shows what there was by then."


def _scores(scores: dict[str, Any]) -> Iterator[str]:
    for output, classes in scores.items():
        for name, one in classes.items():
            p = one.get("ks_p_value")
            if _finite(p) and p < KS_P:
                yield (
                    f"The output {output} of {name} differs between training and test events (KS distance "
                    f"{one['ks_distance']:.4f}, p = {p:.2g}): the network knows its training events, or the two are "
                    "not alike."
                )


def _gap(auc: dict[str, float]) -> Iterator[str]:
    gap, error = auc["train"] - auc["test"], math.hypot(auc["test_error"], auc["train_error"])
    if error > 0 and gap > AUC_SIGMA * error:
        yield (
            f"The AUC of training events is larger than that of test events by {measured(gap, error, 4)}, "
            f"{gap / error:.1f} standard deviations: overtraining."
        )


def _no_separation(auc: dict[str, float]) -> Iterator[str]:
    if auc["test"] < 0.5 + AUC_SIGMA * auc["test_error"]:
        yield f"The test AUC is {measured(auc['test'], auc['test_error'], 4)}: hardly better than chance."


def _folds_differ(folds: tuple[float, float]) -> Iterator[str]:
    spread, error = folds
    if spread > SPREAD * error:
        yield (
            f"The AUC of the folds spreads by {spread:.4f}, {spread / error:.1f} times their mean statistical "
            f"uncertainty of {error:.4f}: the trainings themselves differ."
        )


def _duplicates(samples: list[dict[str, Any]]) -> Iterator[str]:
    for one in samples:
        if one["duplicates"]:
            yield (
                f"{one['duplicates']:,} events of {one['sample']} share their event id with another one: "
                "data.event_id does not tell events apart."
            )


def _not_finite(columns: dict[str, dict[str, list[float]]]) -> Iterator[str]:
    for fold, rows in columns.items():
        for name in ("loss", "val_loss"):
            bad = [i for i, value in enumerate(rows.get(name, [])) if not _finite(value)]
            if bad:
                yield f"The {name} of {fold} is not finite in epoch {int(rows['epoch'][bad[0]])}."


def _differs_from_keras(parities: list[tuple[str, float, float]]) -> Iterator[str]:
    for file, difference, tolerance in parities:
        if not difference <= PARITY * tolerance:
            yield f"{file} and Keras differ by {difference:.1e}, and export.tolerance is {tolerance:.1e}."


def _told(more: dict[str, Any]) -> Iterator[str]:
    """Yield the warnings that other measurements wrote into their own files."""
    for name, found in more.items():
        told = found.get("warnings") if isinstance(found, dict) else None
        for each in told if isinstance(told, list) else ():
            yield f"{name}: {each}"


def _few(events: dict[str, int]) -> Iterator[str]:
    for name, count in events.items():
        if count < FEW_EVENTS:
            yield f"The class {name} has {count:,} events only: its numbers fluctuate."


def _negative(samples: list[dict[str, Any]]) -> Iterator[str]:
    for one in samples:
        if one["negative_fraction"] > NEGATIVE:
            yield (
                f"{percent(one['negative_fraction'])} of the events of {one['sample']} have negative weights: "
                f"{one['events']:,} events are worth {one['effective_events']:,.0f}."
            )


def _turns_back(roc: dict[str, Any]) -> Iterator[str]:
    for name, one in roc.items():
        if one.get("monotonic") is False:
            yield f"The ROC curve {name} turns back where negative weights prevail: efficiencies there are not unique."


def _cut_off(samples: list[dict[str, Any]]) -> Iterator[str]:
    for one in samples:
        for name, count in one["overflow"].items():
            if count > TRUNCATED * one["events"]:
                yield (
                    f"{percent(count / one['events'])} of the events of {one['sample']} have more {name} than are "
                    f"kept: raise features.objects.{name}.max, or know that the last ones are cut off."
                )


def _last_epoch(trainings: list[tuple[int, dict[str, Any], int | None]]) -> Iterator[str]:
    for fold, one, most in trainings:
        if one.get("best_epoch") == most:
            yield (
                f"Fold {fold} had its smallest validation loss in epoch {most}, the last of training.epochs: it may "
                "not have learnt all yet."
            )


def _first_epoch(trainings: list[tuple[int, dict[str, Any], int | None]]) -> Iterator[str]:
    for fold, one, _ in trainings:
        if one.get("best_epoch") == 1 and one.get("epochs", 0) > 1:
            yield f"Fold {fold} never got better than in its first epoch: the learning rate may be too large."


def _calibration(curves: dict[str, dict[str, list[float]]]) -> Iterator[str]:
    for name, curve in curves.items():
        bins = zip(curve["mean"], curve["fraction"], curve["error"], strict=True)
        known = [one for one in bins if all(map(_finite, one))]
        off = [one for one in known if abs(one[1] - one[0]) > max(CALIBRATION, CALIBRATION_SIGMA * one[2])]
        if off:
            mean, fraction, error = max(off, key=lambda one: abs(one[1] - one[0]))
            yield (
                f"Of the events with P({name}) near {mean:.2f}, {100 * fraction:.0f} ± {100 * error:.0f} % are {name}: "
                "the output is no probability there."
            )


def _bins(binned: dict[str, Any]) -> Iterator[str]:
    trusted = binned.get("trusted", [])
    if bad := len(trusted) - sum(trusted):
        yield f"{bad} of {len(trusted)} bins have too few background events and do not count in the significance."


def _commit(commit: str) -> Iterator[str]:
    if "unknown" in commit or commit.endswith("-dirty"):
        yield f"The code is of commit {commit}: nobody else can get exactly this code."


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


WARNING, NOTE = "warning", "note"
_SIGMA = f"{AUC_SIGMA:g} standard deviations"
_OFF = f"probability off by more than {CALIBRATION:g} and {CALIBRATION_SIGMA:g} standard deviations"
RULES: tuple[Rule, ...] = (
    Rule("Stages", "a stage has not ended well", WARNING, lambda run: run.stages, _unfinished),
    Rule("Train against test: score", f"KS p-value below {KS_P:g}", WARNING, _metric("scores"), _scores),
    Rule("Train against test: AUC", f"AUC larger in training by more than {_SIGMA}", WARNING, _auc, _gap),
    Rule("Separation", f"AUC less than {_SIGMA} above 0.5", WARNING, _auc, _no_separation),
    Rule(
        "Folds", f"spread of the AUC above {SPREAD:g} times its statistical uncertainty", WARNING, _folds, _folds_differ
    ),
    Rule("Duplicates", "event ids that occur more than once in a sample", WARNING, _metric("samples"), _duplicates),
    Rule("Losses", "a loss that is not finite", WARNING, history, _not_finite),
    Rule("ONNX", f"difference to Keras above {PARITY:g} of the tolerance", WARNING, _parities, _differs_from_keras),
    Rule("Other measurements", "their own warnings", WARNING, lambda run: run.more, _told),
    Rule("Few events", f"a class with fewer than {FEW_EVENTS:,} events", NOTE, _metric("events"), _few),
    Rule("Negative weights", f"more than {NEGATIVE:.0%} of a sample's events", NOTE, _metric("samples"), _negative),
    Rule("ROC curve", "turns back by negative weights", NOTE, _metric("roc"), _turns_back),
    Rule("Objects cut off", f"more than {TRUNCATED:.0%} of a sample's events", NOTE, _metric("samples"), _cut_off),
    Rule("Last epoch", "smallest validation loss in the last epoch allowed", NOTE, _trainings, _last_epoch),
    Rule("First epoch", "smallest validation loss in the first epoch", NOTE, _trainings, _first_epoch),
    Rule("Calibration", _OFF, NOTE, _metric("calibration"), _calibration),
    Rule("Bins", "bins with too few background events", NOTE, _metric("binned"), _bins),
    Rule("Code", "uncommitted or unknown", NOTE, lambda run: run.provenance.get("git_commit"), _commit),
)
"""All rules; docs/report.md names them, too."""
