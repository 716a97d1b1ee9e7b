"""The stages of a run: what each calls, and the line that says how it went."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from nntrainer.config import Config
from nntrainer.config.parts import ntuples_to_score
from nntrainer.files import expand
from nntrainer.progress import Progress
from nntrainer.rundir import RunDir

Stage = Callable[[Config, RunDir, Progress], tuple[str, list[Path]]]


def convert(
    config: Config, run: RunDir, progress: Progress, samples: Sequence[str] | None = None
) -> tuple[str, list[Path]]:
    """Convert all samples, or some."""
    from nntrainer.dataset.conversion import convert as convert_samples

    done = convert_samples(config, samples=samples, progress=progress)
    events = sum(sample.events for sample in done.samples)
    detail = f"{events:,} events of {_some(len(done.samples), 'sample')}"
    if config.observables is not None:
        from nntrainer.dataset.observables import add_observables

        added = add_observables(config, samples=samples, progress=progress)
        detail += f", {_some(len(added[0].names), 'observable')}"
    if sum(done.duplicates.values()):
        detail += f", {sum(done.duplicates.values()):,} duplicate event ids"
    return detail, list(done.paths)


def inputs(config: Config, run: RunDir, progress: Progress) -> tuple[str, list[Path]]:
    """Draw the input features."""
    from nntrainer.plots.press import Press

    with Press(progress) as press:
        from nntrainer.evaluation.figures import draw_inputs

        numbers = draw_inputs(config, run, press)
    paths = [*press.paths, numbers]
    return f"{_some(len(paths), 'file')} in plots/Inputs", paths


def train(
    config: Config, run: RunDir, progress: Progress, folds: Sequence[int] | None = None
) -> tuple[str, list[Path]]:
    """Train all folds, or some."""
    from nntrainer.training.train import train as train_folds

    done = train_folds(config, run, folds=folds, progress=progress)
    detail = ", ".join(f"fold {fold.fold}: {fold.epochs} epochs" for fold in done)
    return detail, [fold.model for fold in done]


def evaluate(config: Config, run: RunDir, progress: Progress) -> tuple[str, list[Path]]:
    """Measure the trained models on events they never saw, and draw it."""
    from nntrainer.evaluation.evaluate import evaluate as evaluate_models

    metrics = evaluate_models(config, run, progress=progress)
    told = []
    if "auc" in metrics:
        auc, folds = metrics["auc"], metrics["folds"]
        told.append(f"test AUC {auc['test']:.4f} ± {auc['test_error']:.4f}")
        if len(folds) > 1:
            each = ", ".join(f"{fold['auc']:.4f}" for fold in folds)
            told.append(f"folds {each}: mean {auc['folds_mean']:.4f}, spread {auc['folds_spread']:.4f}")
    for name, found in metrics.get("dependence", {}).items():
        one = found["distance_correlation"]["background"]
        if one["value"] is not None:
            told.append(f"distance correlation of score and {name} {one['value']:.3f}")
    for name, found in metrics.get("reconstruction", {}).items():
        right = found["network"]["matchable"]
        told.append(f"{name} right in {100 * right['value']:.1f} ± {100 * right['error']:.1f} % of matchable events")
    for name, found in metrics.get("regression", {}).items():
        told.append(f"{name} {found['width']:.3g} wide" + (f" {found['unit']}" if found["unit"] else ""))
    return "; ".join(told), [run.metrics, run.history]


def export(config: Config, run: RunDir, progress: Progress) -> tuple[str, list[Path]]:
    """Write the trained models as ONNX."""
    from nntrainer.export.onnx_export import export as export_models

    done = export_models(config, run, progress=progress)
    worst = max(each.difference for each in done)
    return f"{_some(len(done), 'ONNX file')}, largest difference to Keras {worst:.1e}", [each.path for each in done]


def inject(
    config: Config, run: RunDir, progress: Progress, files: Sequence[str] | None = None
) -> tuple[str, list[Path]]:
    """Score all ntuples, or some."""
    from nntrainer.inject.inject import inject as inject_files

    block = config.inject
    models = [run.models / f"fold{fold}.onnx" for fold in range(config.preparation.k)]
    done = inject_files(
        models,
        expand(ntuples_to_score(config) if files is None else files),
        trees=block.trees,
        mode=block.mode,
        output=block.directory or run.path / "scored",
        progress=progress,
        overwrite=True,
    )
    scored = sum(each.scored for each in done)
    outputs = list(dict.fromkeys(Path(each.output) for each in done))
    return f"{scored:,} events scored in {_some(len(outputs), 'file')} ({block.mode})", outputs


def report(config: Config, run: RunDir, progress: Progress) -> tuple[str, list[Path]]:
    """Write the page about the run."""
    from nntrainer.report.page import report as write_report

    path = write_report([run.path])
    return f"{path.stat().st_size / 1e6:.1f} MB", [path]


def tune(
    config: Config, run: RunDir, progress: Progress, worker: str = "tune", share: tuple[int, int] | None = None
) -> tuple[str, list[Path]]:
    """Do trials of a search, as one of several workers."""
    from nntrainer.tuning.engine import Share
    from nntrainer.tuning.search import folder_of, work

    mine = Share(*share) if share is not None else None
    done = work(config, run, worker, progress, mine)
    own = [each for each in done if each.facts.get("worker") == worker]
    return f"{_some(len(own), 'trial')} of {len(done):,}", [folder_of(run, mine)]


def best(config: Config, run: RunDir, progress: Progress) -> tuple[str, list[Path]]:
    """Write the best configuration of a search, and draw the trials."""
    from nntrainer.tuning.report import report

    return report(config, run)


def _some(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


STAGES: dict[str, Stage] = {
    "convert": convert,
    "inputs": inputs,
    "train": train,
    "evaluate": evaluate,
    "export": export,
    "inject": inject,
    "report": report,
}
