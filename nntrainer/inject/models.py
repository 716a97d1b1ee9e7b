"""Exported models as a scorer sees them: checked against one another, one for each fold or one of all."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nntrainer.config import Config
from nntrainer.dataset.inputs import ALL_FOLDS, EVENT_NUMBER, METADATA_FORMAT, METADATA_KEY
from nntrainer.dataset.schema import network_inputs
from nntrainer.errors import ConfigError, InjectError, MissingDependencyError
from nntrainer.threads import pool

NEEDED = ("outputs", "fold_rule", "config", "config_digest")


@dataclass(frozen=True)
class Model:
    """An ONNX model: path, ONNX Runtime session and the metadata that the export wrote."""

    path: Path
    session: Any
    metadata: Mapping[str, Any]

    @property
    def rule(self) -> dict[str, Any]:
        """The fold rule."""
        return dict(self.metadata["fold_rule"])

    @property
    def holds_all(self) -> bool:
        """Whether it holds the models of all folds and picks by event number."""
        return bool(self.rule.get("fold") == ALL_FOLDS)


@dataclass(frozen=True)
class Ensemble:
    """The models of all folds of one training.

    Attributes:
        config: the configuration they were trained with, from their metadata.
        models: by fold, or the one that holds all folds.
        workers: the threads that score.
    """

    config: Config
    models: tuple[Model, ...]
    workers: ThreadPoolExecutor = field(default_factory=pool)

    @property
    def outputs(self) -> tuple[str, ...]:
        """What the scores mean: ``score`` (P of the signal) for two classes, else the labels."""
        names = tuple(self.models[0].metadata["outputs"])
        return ("score",) if len(names) == 1 else names


def load_ensembles(paths: Sequence[Path], threads: int = 0) -> list[Ensemble]:
    """Load exported models of one training or of several, all folds of each.

    Args:
        paths: the ONNX files, of each training one for each fold or the one of all folds.
        threads: threads that score; 0 for all cores.

    Returns:
        The trainings, in the order of their first models.

    Raises:
        InjectError: a file is missing or none of ours, or a fold is missing or given twice.
    """
    trainings: dict[str, list[Model]] = {}
    for path in paths:
        model = _load(Path(path))
        trainings.setdefault(model.metadata["config_digest"], []).append(model)
    several = list(trainings.values())
    for models in several:
        if len(several) > 1 and not _complete(models):
            other = next(each for each in several if each is not models)[0]
            raise InjectError(
                f"{models[0].path} and {other.path} come from different configurations, and of the first not all "
                f"{models[0].rule['k']} folds are given; give all folds of each training"
            )
    return [_ensemble(models, threads) for models in several] or [_ensemble([], threads)]


def _ensemble(models: Sequence[Model], threads: int) -> Ensemble:
    if not models:
        raise InjectError("no model is given; give one ONNX file for each fold, or the one of all folds")
    models = sorted(_once(models), key=lambda each: each.rule["fold"])
    first = models[0]
    if not first.holds_all:
        _check_folds(models)
    try:
        config = Config.model_validate(first.metadata["config"])
    except (ValueError, ConfigError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InjectError(f"{first.path}: this version cannot read the configuration in it: {reason}") from None
    for model in models:
        _check_shape(model, config)
    return Ensemble(config, tuple(models), ThreadPoolExecutor(threads) if threads else pool())


def _complete(models: Sequence[Model]) -> bool:
    """Say whether there is a model of every fold."""
    return any(each.holds_all for each in models) or len({each.rule["fold"] for each in models}) >= models[0].rule["k"]


def _once(models: Sequence[Model]) -> list[Model]:
    """Return the files of the folds, or the one of all folds where that is what is given.

    The export makes the file of all folds from those beside it, so there it says nothing new.
    """
    single, joined = [m for m in models if not m.holds_all], [m for m in models if m.holds_all]
    if not joined:
        return single
    places = {each.path.resolve().parent for each in models}
    if len(joined) > 1 or len(places) > 1:
        first, second = joined[0], (joined[1:] or single)[0]
        raise InjectError(
            f"{first.path} holds all folds, and {second.path} is of the same configuration; give one of the two"
        )
    return single if single and _complete(single) else joined


def _check_folds(models: Sequence[Model]) -> None:
    """Refuse a fold that is there twice or not at all."""
    folds, k = [model.rule["fold"] for model in models], models[0].rule["k"]
    for fold in folds:
        same = [str(model.path) for model in models if model.rule["fold"] == fold]
        if len(same) > 1:
            raise InjectError(f"{' and '.join(same)} are both models of fold {fold}; give each fold once")
    missing = [str(fold) for fold in range(k) if fold not in folds]
    if missing:
        word = "fold" if len(missing) == 1 else "folds"
        raise InjectError(
            f"the training has {k} folds and there is no model of {word} {', '.join(missing)}: every event is scored "
            f"by the model that never saw it, so all are needed; given are {', '.join(str(m.path) for m in models)}"
        )


def _load(path: Path) -> Model:
    try:
        import onnxruntime
    except ModuleNotFoundError:
        raise MissingDependencyError(
            "scoring needs ONNX Runtime, and it is not installed: pip install 'nntrainer[inject]'"
        ) from None
    if not path.is_file():
        raise InjectError(f"{path}: no such model file; `nntrainer export` makes it")
    options = onnxruntime.SessionOptions()
    # One batch a thread: with threads of its own, ONNX Runtime needs twice the processor time for such networks, since
    # they wait for one another busily.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions share no base class of their own
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise InjectError(f"{path}: not a readable ONNX model ({reason})") from None
    return Model(path, session, _metadata(path, session))


def _metadata(path: Path, session: Any) -> dict[str, Any]:
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    if text is None:
        raise InjectError(f"{path}: the model carries no metadata of nntrainer; export it with `nntrainer export`")
    try:
        metadata = dict(json.loads(text))
    except (ValueError, TypeError):
        raise InjectError(f"{path}: the metadata of nntrainer are damaged; export the model again") from None
    if metadata.get("format", 0) > METADATA_FORMAT:
        raise InjectError(
            f"{path}: the metadata are of format {metadata['format']} and this version reads up to {METADATA_FORMAT}; "
            "update it"
        )
    missing = [key for key in NEEDED if key not in metadata]
    if missing:
        raise InjectError(f"{path}: the metadata lack '{missing[0]}'; export the model again")
    return metadata


def _check_shape(model: Model, config: Config) -> None:
    """Refuse a model whose inputs or outputs are not those that its configuration makes."""
    wanted, expected = network_inputs(config), {}
    if wanted.events:
        expected["events"] = [len(wanted.events)]
    for name, block in wanted.objects.items():
        expected[name], expected[f"{name}_valid"] = [block.max, len(block.fields)], [block.max]
    if model.holds_all:
        expected[EVENT_NUMBER] = []
    found = {given.name: list(given.shape[1:]) for given in model.session.get_inputs()}
    if found != expected:
        raise InjectError(f"{model.path}: the model takes {found}, and its configuration makes {expected}")
    outputs = {given.name: list(given.shape[1:]) for given in model.session.get_outputs()}
    if outputs != {"scores": [len(model.metadata["outputs"])]}:
        raise InjectError(f"{model.path}: the model gives {outputs}, and its metadata name {model.metadata['outputs']}")
