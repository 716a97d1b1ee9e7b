"""Trained Keras models to ONNX files that carry what a scorer needs, each checked before it gets its name."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nntrainer import __version__
from nntrainer.config import Config
from nntrainer.dataset.dataset import Dataset, open_dataset
from nntrainer.dataset.inputs import Inputs, network_arrays
from nntrainer.dataset.schema import Field, network_inputs
from nntrainer.dataset.split import masks, rule
from nntrainer.errors import ExportError
from nntrainer.export.parity import largest_difference
from nntrainer.networks.model import load_model
from nntrainer.provenance import git_commit

if TYPE_CHECKING:
    from nntrainer.rundir import RunDir

METADATA_KEY = "nntrainer"
OPSET = 17


@dataclass(frozen=True)
class Exported:
    """One ONNX file: its fold, path, largest difference to Keras, size and the time it took."""

    fold: int
    path: Path
    difference: float
    size_bytes: int
    seconds: float


def export(config: Config, run: RunDir, folds: Sequence[int] | None = None) -> list[Exported]:
    """Export the trained model of each fold.

    Args:
        config: the configuration.
        run: the run directory with the trained models.
        folds: which; all if absent.

    Returns:
        The files, under ``models``, beside copies of the Keras models.

    Raises:
        ExportError: a model is missing, or ONNX Runtime and Keras disagree by more than ``export.tolerance``.
    """
    done = []
    with open_dataset(config) as dataset:
        for fold in range(config.preparation.k) if folds is None else folds:
            done.append(_export_fold(config, run, fold, dataset))
    return done


def _export_fold(config: Config, run: RunDir, fold: int, dataset: Dataset) -> Exported:
    started = time.monotonic()
    source = run.fold(fold) / "model.keras"
    if not source.exists():
        raise ExportError(f"{source}: fold {fold} is not trained yet; `nntrainer train` trains it")
    model = load_model(source)
    target = run.models / f"fold{fold}.onnx"
    part = target.with_name(target.name + ".part")
    proto = to_onnx(model)
    entry = proto.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, json.dumps(metadata(config, fold, dataset))
    try:
        part.write_bytes(proto.SerializeToString())
        difference = largest_difference(model, part, parity_events(config, fold, dataset), config.export.batch_sizes)
        if not difference <= config.export.tolerance:
            raise ExportError(
                f"{target}: ONNX Runtime and Keras differ by {difference:.2e} on the same events, and "
                f"export.tolerance is {config.export.tolerance:.2e}; nothing was exported"
            )
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
    copy = run.models / f"fold{fold}.keras"
    shutil.copyfile(source, copy.with_name(copy.name + ".part"))
    os.replace(copy.with_name(copy.name + ".part"), copy)
    return Exported(fold, target, difference, target.stat().st_size, time.monotonic() - started)


def to_onnx(model: Any) -> Any:
    """Return a Keras model as ONNX, inputs under their own names, one output ``scores``, any batch size.

    Args:
        model: the Keras model, its inputs named.

    Returns:
        The ``ModelProto``.

    Raises:
        ExportError: the conversion changed the inputs.
    """
    import tensorflow as tf
    import tf2onnx

    signature = [tf.TensorSpec((None, *t.shape[1:]), tf.float32, name=t.name) for t in model.inputs]

    @tf.function(input_signature=signature)
    def call(*tensors: Any) -> dict[str, Any]:
        values = {tensor.name: value for tensor, value in zip(model.inputs, tensors, strict=True)}
        return {"scores": tf.identity(model(values, training=False))}

    proto, _ = tf2onnx.convert.from_function(call, input_signature=signature, opset=OPSET)
    _rename(proto, proto.graph.output[0].name, "scores")
    for given in list(proto.graph.input):
        _rename(proto, given.name, given.name.removesuffix(":0"))
    names, wanted = {given.name for given in proto.graph.input}, {t.name for t in model.inputs}
    if names != wanted:
        raise ExportError(f"the ONNX model takes {sorted(names)}, and the network takes {sorted(wanted)}")
    return proto


def _rename(proto: Any, old: str, new: str) -> None:
    """Rename a tensor wherever it occurs."""
    if old == new:
        return
    for value in (*proto.graph.input, *proto.graph.output, *proto.graph.value_info):
        if value.name == old:
            value.name = new
    for node in proto.graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == old:
                    names[index] = new


def metadata(config: Config, fold: int, dataset: Dataset) -> dict[str, Any]:
    """Return what a scorer and a reader need to know about a model, as plain data."""
    wanted = network_inputs(config)
    labels = list(config.data.labels)
    event_number, label = dataset.column("eventNumber"), dataset.column("label")
    weight = dataset.column("weight").astype(np.float64)
    train = masks(config, event_number, fold).train

    def columns(fields: tuple[Field, ...]) -> list[dict[str, str]]:
        return [{"name": field.name, "unit": field.unit} for field in fields]

    return {
        "format": 1,
        "labels": labels,
        "signal": config.data.signal_label,
        "inputs": {
            "events": columns(wanted.events),
            "objects": {name: {"max": b.max, "fields": columns(b.fields)} for name, b in wanted.objects.items()},
        },
        "outputs": [config.data.signal_label] if len(labels) == 2 else labels,
        "fold_rule": rule(config, fold),
        "config": config.dump(),
        "config_digest": config.digest(),
        "git_commit": git_commit(),
        "version": __version__,
        "training_sums": {name: float(weight[train & (label == i)].sum()) for i, name in enumerate(labels)},
    }


def parity_events(config: Config, fold: int, dataset: Dataset) -> Inputs:
    """Return the inputs of as many test events as the largest batch needs, repeated where there are fewer."""
    test = np.flatnonzero(masks(config, dataset.column("eventNumber"), fold).test)
    if not len(test):
        raise ExportError(f"fold {fold} has no test event to compare ONNX with Keras on")
    take = np.resize(test, max(config.export.batch_sizes))
    objects = {name: dataset.objects(name)[take] for name in config.features.objects}
    return network_arrays(config, dataset.events()[take], objects)
