"""Trained Keras models to ONNX files that carry what a scorer needs, each checked before it gets its name."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nntrainer import __version__
from nntrainer.config import Config
from nntrainer.dataset.dataset import Dataset, open_dataset
from nntrainer.dataset.inputs import METADATA_FORMAT, METADATA_KEY, Inputs, network_arrays
from nntrainer.dataset.schema import Field, network_inputs
from nntrainer.dataset.split import masks, rule
from nntrainer.dataset.store import open_store
from nntrainer.errors import ExportError, MissingDependencyError
from nntrainer.export import all_folds
from nntrainer.export.parity import largest_difference
from nntrainer.files import aside, write_json
from nntrainer.networks.heads import outputs
from nntrainer.networks.model import load_model, named
from nntrainer.progress import Progress, silent
from nntrainer.provenance import git_commit

if TYPE_CHECKING:
    from nntrainer.rundir import RunDir

OPSET = 17
RECORD = "export.json"
"""File beside the models: their largest differences to Keras, and the tolerance."""


@dataclass(frozen=True)
class Exported:
    """One ONNX file: its fold, path, largest difference to Keras, size and the time it took.

    The file of all folds has no fold (None), and its difference is the largest to the files of the folds.
    """

    fold: int | None
    path: Path
    difference: float
    size_bytes: int
    seconds: float


def export(
    config: Config, run: RunDir, folds: Sequence[int] | None = None, progress: Progress | None = None
) -> list[Exported]:
    """Export the trained model of each fold.

    Args:
        config: the configuration.
        run: the run directory with the trained models.
        folds: which; all if absent.
        progress: told how far the work has come.

    Returns:
        The files, under ``models``, beside copies of the Keras models. Once the last of several folds is there, the
        file that holds all folds is among them, and what TopCPToolkit needs to know is written beside.

    Raises:
        ConfigError: there is no such fold.
        ExportError: a model is missing, or ONNX Runtime and Keras disagree by more than ``export.tolerance``.
    """
    chosen = range(config.preparation.k) if folds is None else folds
    for fold in chosen:
        rule(config, fold)  # refuses a fold that is none, before its directory is made
    progress = progress or silent()
    progress.start("export", len(chosen), "models")
    done = []
    with open_dataset(config) as dataset:
        for fold in chosen:
            done.append(_export_fold(config, run, fold, dataset))
            progress.advance(1)
        k = config.preparation.k
        if all((run.models / f"fold{fold}.onnx").exists() for fold in range(k)):
            if config.preparation.fractions is None:
                done.append(_export_all(config, run, k, dataset))
            all_folds.write_topcptoolkit(run.models, k)
    _write_record(config, run, done)
    progress.finish()
    return done


def _write_record(config: Config, run: RunDir, done: Sequence[Exported]) -> None:
    """Write what the parity checks found, beside the models."""
    models = [
        {"file": each.path.name, "fold": each.fold, "difference": each.difference, "size_bytes": each.size_bytes}
        for each in done
    ]
    write_json(run.models / RECORD, {"tolerance": config.export.tolerance, "models": models})


def _export_all(config: Config, run: RunDir, k: int, dataset: Dataset) -> Exported:
    started = time.monotonic()
    path, difference = all_folds.write(run.models, k, parity_events(config, 0, dataset), config.export.tolerance)
    return Exported(None, path, difference, path.stat().st_size, time.monotonic() - started)


def _export_fold(config: Config, run: RunDir, fold: int, dataset: Dataset) -> Exported:
    started = time.monotonic()
    source = run.fold(fold) / "model.keras"
    if not source.exists():
        raise ExportError(f"{source}: fold {fold} is not trained yet; `nntrainer train` trains it")
    model = load_model(source, config.model)
    onnx, keras = run.models / f"fold{fold}.onnx", run.models / f"fold{fold}.keras"
    proto = to_onnx(model)
    entry = proto.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, json.dumps(metadata(config, fold, dataset))
    with aside(onnx) as onnx_part, aside(keras) as keras_part:
        onnx_part.write_bytes(proto.SerializeToString())
        shutil.copyfile(source, keras_part)
        events = parity_events(config, fold, dataset)
        difference = largest_difference(model, onnx_part, events, config.export.batch_sizes)
        if not difference <= config.export.tolerance:
            raise ExportError(
                f"{onnx}: ONNX Runtime and Keras differ by {difference:.2e} on the same events, and "
                f"export.tolerance is {config.export.tolerance:.2e}; nothing was exported"
            )
        (run.models / all_folds.FILE).unlink(missing_ok=True)  # it holds the model that goes now
    return Exported(fold, onnx, difference, onnx.stat().st_size, time.monotonic() - started)


def to_onnx(model: Any) -> Any:
    """Return a Keras model as ONNX, inputs and outputs under their own names, any batch size.

    Args:
        model: the Keras model, its inputs named.

    Returns:
        The ``ModelProto``.

    Raises:
        ExportError: the conversion changed the inputs.
        MissingDependencyError: TensorFlow or tf2onnx is not installed.
    """
    try:
        import tensorflow as tf
        import tf2onnx
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"the export needs {error.name}, and it is not installed: pip install 'nntrainer[train]'"
        ) from None

    signature = [tf.TensorSpec((None, *t.shape[1:]), tf.float32, name=t.name) for t in model.inputs]

    @tf.function(input_signature=signature)
    def call(*tensors: Any) -> dict[str, Any]:
        values = {tensor.name: value for tensor, value in zip(model.inputs, tensors, strict=True)}
        return {name: tf.identity(each) for name, each in named(model(values, training=False)).items()}

    handlers: dict[str, Any] = {"SelectV2": (_where, [])}
    proto, _ = tf2onnx.convert.from_function(call, input_signature=signature, opset=OPSET, custom_op_handlers=handlers)
    # TensorFlow returns what a dictionary holds in the order of its keys.
    outputs = [each.name for each in proto.graph.output]
    for old, name in zip(outputs, sorted(named(model.output)), strict=True):
        _rename(proto, old, name)
    for given in list(proto.graph.input):
        _rename(proto, given.name, given.name.removesuffix(":0"))
    names, wanted = {given.name for given in proto.graph.input}, {t.name for t in model.inputs}
    if names != wanted:
        raise ExportError(f"the ONNX model takes {sorted(names)}, and the network takes {sorted(wanted)}")
    return proto


def _where(context: Any, node: Any, name: str, arguments: Any) -> None:
    """Convert a choice to a choice; tf2onnx would multiply both sides with 0 or 1, and NaN times 0 is NaN."""
    node.type = "Where"


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
        "format": METADATA_FORMAT,
        "labels": labels,
        "signal": config.data.signal_label,
        "inputs": {
            "events": columns(wanted.events),
            "objects": {name: {"max": b.max, "fields": columns(b.fields)} for name, b in wanted.objects.items()},
        },
        "outputs": ([config.data.signal_label] if len(labels) == 2 else labels) if config.classifies else [],
        **({} if config.training.only_class else {"decoded": [asdict(each) for each in outputs(config)]}),
        "fold_rule": rule(config, fold),
        "config": config.dump(),
        "config_digest": config.digest(),
        "git_commit": git_commit(),
        "version": __version__,
        "training_sums": {name: float(weight[train & (label == i)].sum()) for i, name in enumerate(labels)},
    }


def parity_events(config: Config, fold: int, dataset: Dataset) -> Inputs:
    """Return test events of a fold, some of every sample, repeated where there are too few.

    Args:
        config: the configuration.
        fold: the model, from 0.
        dataset: the converted samples.

    Returns:
        The network's inputs of as many events as the largest batch of the parity check.

    Raises:
        ExportError: there is no test event.
    """
    wanted, parts = max(config.export.batch_sizes), []
    for path in dataset.paths:
        with open_store(path) as store:
            test = np.flatnonzero(masks(config, store.column("events", "eventNumber"), fold).test)[:wanted]
            if not len(test):
                continue
            start, stop = int(test[0]), int(test[-1]) + 1
            names = ["events", *config.features.objects]
            tables = {name: store.read(name, None, start, stop)[test - start] for name in names}
        parts.append(network_arrays(config, tables["events"], tables))
    if not parts:
        raise ExportError(f"fold {fold} has no test event to compare ONNX with Keras on; convert more events")
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    total = len(next(iter(joined.values())))
    take = np.resize(np.linspace(0, total - 1, min(total, wanted)).round().astype(int), wanted)
    return {name: array[take] for name, array in joined.items()}
