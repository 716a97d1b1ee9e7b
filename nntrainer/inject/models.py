"""Exported models as a scorer sees them: checked against one another, one for each fold."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nntrainer.config import Config
from nntrainer.dataset.split import seen
from nntrainer.errors import ConfigError, InjectError

BATCH = 16384


@dataclass(frozen=True)
class Model:
    """An ONNX model: path, ONNX Runtime session and the metadata that the export wrote."""

    path: Path
    session: Any
    metadata: Mapping[str, Any]

    @property
    def rule(self) -> Mapping[str, Any]:
        """The fold rule."""
        return dict(self.metadata["fold_rule"])


@dataclass(frozen=True)
class Ensemble:
    """The models of all folds of one training.

    Attributes:
        config: the configuration they were trained with, from their metadata.
        models: by fold.
    """

    config: Config
    models: tuple[Model, ...]

    @property
    def outputs(self) -> tuple[str, ...]:
        """What the scores mean: ``score`` (P of the signal) for two classes, else the labels."""
        names = tuple(self.models[0].metadata["outputs"])
        return ("score",) if len(names) == 1 else names

    def score(
        self,
        inputs: Mapping[str, np.ndarray],
        event_number: np.ndarray,
        selected: np.ndarray,
        with_seen: bool,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Score each selected event with the model that never saw it.

        Args:
            inputs: the network's inputs, n entries.
            event_number: (n,) uint64.
            selected: (n,) bool.
            with_seen: with fractions, score the events that the model has seen, too.

        Returns:
            Scores (n, outputs) float32, NaN where there is none; fold (n,) int32, -1 where there is none; and
            (n,) bool, the selected events left out because the model has seen them.
        """
        n = len(event_number)
        scores = np.full((n, len(self.outputs)), np.nan, np.float32)
        fold = np.full(n, -1, np.int32)
        left_out = np.zeros(n, bool)
        for model in self.models:
            rule = model.rule
            unseen = ~seen(rule, event_number)
            if rule["kind"] == "fractions":
                left_out = selected & ~unseen & (not with_seen)
                unseen |= with_seen
            rows = np.flatnonzero(selected & unseen)
            for start in range(0, len(rows), BATCH):
                take = rows[start : start + BATCH]
                batch = {name: np.ascontiguousarray(array[take]) for name, array in inputs.items()}
                scores[take] = model.session.run(["scores"], batch)[0]
            fold[rows] = rule["fold"]
        return scores, fold, left_out


def load_models(paths: Sequence[Path], threads: int = 0) -> Ensemble:
    """Load exported models and check that they belong together.

    Args:
        paths: the ONNX files, one for each fold.
        threads: threads of ONNX Runtime; 0 for all cores.

    Returns:
        The models in the order of their folds.

    Raises:
        InjectError: a file is missing or none of ours, the models are of different trainings, or a fold is missing
            or given twice.
    """
    if not paths:
        raise InjectError("no model is given; give one ONNX file for each fold")
    models = sorted((_load(Path(path), threads) for path in paths), key=lambda each: each.rule["fold"])
    first = models[0]
    for model in models[1:]:
        if model.metadata["config_digest"] != first.metadata["config_digest"]:
            raise InjectError(
                f"{model.path} and {first.path} come from different configurations; score with one at a time"
            )
    folds, k = [model.rule["fold"] for model in models], first.rule["k"]
    if len(set(folds)) < len(folds):
        raise InjectError(
            f"fold {max(folds, key=folds.count)} is given twice, among {', '.join(str(m.path) for m in models)}"
        )
    missing = sorted(set(range(k)) - set(folds))
    if missing:
        raise InjectError(
            f"the training has {k} folds and the model of fold {', '.join(map(str, missing))} is missing: every event "
            "is scored by the model that never saw it, so all are needed"
        )
    try:
        config = Config.model_validate(first.metadata["config"])
    except (ValueError, ConfigError) as error:
        reason = str(error).splitlines()[0]
        raise InjectError(f"{first.path}: this version cannot read the configuration in it: {reason}") from None
    return Ensemble(config, tuple(models))


def _load(path: Path, threads: int) -> Model:
    import onnxruntime

    if not path.is_file():
        raise InjectError(f"{path}: no such model file; `nntrainer export` makes it")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions share no base class of their own
        reason = str(error).splitlines()[0][:120]
        raise InjectError(f"{path}: not a readable ONNX model ({reason})") from None
    text = session.get_modelmeta().custom_metadata_map.get("nntrainer")
    if text is None:
        raise InjectError(f"{path}: the model carries no metadata of nntrainer; export it with `nntrainer export`")
    metadata = json.loads(text)
    if metadata.get("format", 0) > 1:
        raise InjectError(
            f"{path}: the metadata are of format {metadata['format']}, newer than this version; update it"
        )
    return Model(path, session, metadata)
