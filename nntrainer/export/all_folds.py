"""One ONNX file that holds the models of all folds and picks by event number, and what TopCPToolkit is told of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nntrainer.dataset.inputs import ALL_FOLDS, EVENT_NUMBER, METADATA_KEY, Inputs
from nntrainer.dataset.split import fold_of
from nntrainer.errors import ExportError
from nntrainer.files import aside, write_text

FILE = "allfolds.onnx"
TOPCPTOOLKIT = "topcptoolkit.yaml"
_ROWS, _EVENT = "allfolds_rows", "allfolds_event"


def join(folds: Sequence[Any]) -> Any:
    """Return one ONNX model of the models of all folds.

    Each event goes through the model of fold ``eventNumber % k`` only, which never saw it: the rows of a fold are
    gathered, its graph is a branch that does not run where there are none, and the outputs are put back in order.

    Args:
        folds: the ``ModelProto`` of each fold, in order, with the same inputs and outputs and a batch of any size.

    Returns:
        A ``ModelProto`` with the inputs of the folds and ``eventNumber``, (n,) int64, after them; the outputs are those
        of the folds. Event numbers of 64 bits without a sign are taken as they lie in memory: a negative number is
        one from 2⁶³ on.

    Raises:
        ExportError: the models do not take and give the same.
    """
    from onnx import TensorProto, checker, helper

    first, k = folds[0], len(folds)
    for number, model in enumerate(folds):
        if _signature(model) != _signature(first):
            raise ExportError(f"fold {number} takes or gives something else than fold 0; export all folds again")
    if EVENT_NUMBER in {each.name for each in first.graph.input}:
        raise ExportError(f"an input is called '{EVENT_NUMBER}', which the file of all folds needs; call it otherwise")
    outputs = list(first.graph.output)
    nodes, constants = _fold(k)
    for number, model in enumerate(folds):
        nodes += _branch(number, model)
    # The rows in the order of the folds, and where each event is in it.
    nodes += [
        helper.make_node("Concat", [f"{_ROWS}{i}" for i in range(k)], ["allfolds_order"], axis=0),
        helper.make_node("Size", ["allfolds_order"], ["allfolds_size"]),
        helper.make_node("Range", ["allfolds_zero", "allfolds_size", "allfolds_one"], ["allfolds_range"]),
        helper.make_node(
            "ScatterElements", ["allfolds_order", "allfolds_order", "allfolds_range"], ["allfolds_place"], axis=0
        ),
    ]
    for out in outputs:
        joined = f"allfolds_joined_{out.name}"
        nodes.append(helper.make_node("Concat", [_result(i, out.name) for i in range(k)], [joined], axis=0))
        nodes.append(helper.make_node("Gather", [joined, "allfolds_place"], [out.name], axis=0))
    event = helper.make_tensor_value_info(EVENT_NUMBER, TensorProto.INT64, [_batch(first)])
    graph = helper.make_graph(nodes, "allfolds", [*first.graph.input, event], outputs, constants)
    model = helper.make_model(
        graph, opset_imports=list(first.opset_import), ir_version=first.ir_version, producer_name=first.producer_name
    )
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, json.dumps(joined_metadata([_metadata(each) for each in folds]))
    checker.check_model(model, full_check=True)
    return model


def _result(fold: int, name: str) -> str:
    return f"allfolds_{fold}_{name}"


def _batch(model: Any) -> str:
    """Return what the models call the number of events."""
    return model.graph.input[0].type.tensor_type.shape.dim[0].dim_param or "n"


def _shape(value: Any) -> list[int]:
    """Return the dimensions after the first one; 0 where a model leaves one open."""
    return [dim.dim_value for dim in value.type.tensor_type.shape.dim[1:]]


def _signature(model: Any) -> list[Any]:
    graph = model.graph
    return [
        [(each.name, each.type.tensor_type.elem_type, _shape(each)) for each in values]
        for values in (graph.input, graph.output)
    ] + [sorted((each.domain, each.version) for each in model.opset_import)]


def _fold(k: int) -> tuple[list[Any], list[Any]]:
    """Return the nodes that make the fold of each event, and the constants."""
    from onnx import helper, numpy_helper

    values = {"zero": 0, "one": 1, "k": k, "wrap": 2**64 % k}
    constants = [numpy_helper.from_array(np.int64(value), f"allfolds_{name}") for name, value in values.items()]
    # Mod has the sign of the divisor. A number from 2⁶³ on is there as itself less 2⁶⁴.
    nodes = [
        helper.make_node("Mod", [EVENT_NUMBER, "allfolds_k"], ["allfolds_signed"]),
        helper.make_node("Add", ["allfolds_signed", "allfolds_wrap"], ["allfolds_high"]),
        helper.make_node("Mod", ["allfolds_high", "allfolds_k"], ["allfolds_unsigned"]),
        helper.make_node("Less", [EVENT_NUMBER, "allfolds_zero"], ["allfolds_negative"]),
        helper.make_node("Where", ["allfolds_negative", "allfolds_unsigned", "allfolds_signed"], ["allfolds_fold"]),
    ]
    return nodes, constants


def _branch(number: int, model: Any) -> list[Any]:
    """Return the nodes that score the events of one fold."""
    from onnx import compose, helper, numpy_helper

    mark, rows, some = f"{_EVENT}{number}", f"{_ROWS}{number}", f"allfolds_some{number}"
    value = numpy_helper.from_array(np.int64(number))
    flat = numpy_helper.from_array(np.array([-1], np.int64))
    nodes = [
        helper.make_node("Constant", [], [f"{mark}_fold"], value=value),
        helper.make_node("Equal", ["allfolds_fold", f"{mark}_fold"], [mark]),
        helper.make_node("NonZero", [mark], [f"{rows}_row"]),
        helper.make_node("Constant", [], [f"{rows}_flat"], value=flat),
        helper.make_node("Reshape", [f"{rows}_row", f"{rows}_flat"], [rows]),
        helper.make_node("Size", [rows], [f"{some}_count"]),
        helper.make_node("Greater", [f"{some}_count", "allfolds_zero"], [some]),
    ]
    prefix = f"fold{number}_"
    graph = compose.add_prefix(model, prefix).graph
    taken = [helper.make_node("Gather", [each.name, rows], [prefix + each.name], axis=0) for each in model.graph.input]
    then = helper.make_graph(
        [*taken, *graph.node],
        f"fold{number}",
        [],
        [_value(each, each.name) for each in graph.output],
        list(graph.initializer),
    )
    empty = [helper.make_node("Constant", [], [f"{each.name}_none"], value=_nothing(each)) for each in graph.output]
    other = helper.make_graph(empty, f"fold{number}_none", [], [_value(e, f"{e.name}_none") for e in graph.output])
    results = [_result(number, each.name) for each in model.graph.output]
    return [*nodes, helper.make_node("If", [some], results, then_branch=then, else_branch=other)]


def _value(value: Any, name: str) -> Any:
    from onnx import helper

    kind = value.type.tensor_type.elem_type
    return helper.make_tensor_value_info(name, kind, [None, *_shape(value)])


def _nothing(value: Any) -> Any:
    """Return an output of no event."""
    from onnx import helper, numpy_helper

    shape = _shape(value)
    if 0 in shape:
        raise ExportError(f"the output '{value.name}' has no fixed shape, which the file of all folds needs")
    kind = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
    return numpy_helper.from_array(np.zeros([0, *shape], kind))


def _metadata(model: Any) -> dict[str, Any]:
    return dict(json.loads({each.key: each.value for each in model.metadata_props}[METADATA_KEY]))


def joined_metadata(folds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the metadata of the file of all folds.

    Args:
        folds: the metadata of each fold's file, in order.

    Returns:
        What they share; ``fold_rule`` with fold ``all``; and under ``folds`` what differs, one entry a fold.

    Raises:
        ExportError: they come from different configurations.
    """
    if len({each["config_digest"] for each in folds}) > 1:
        raise ExportError("the models of the folds come from different configurations; export all folds again")
    shared = {key: value for key, value in folds[0].items() if all(each.get(key) == value for each in folds)}
    own = [{key: value for key, value in each.items() if key not in shared} for each in folds]
    return shared | {"fold_rule": folds[0]["fold_rule"] | {"fold": ALL_FOLDS}, "folds": own}


def write(folder: Path, k: int, inputs: Inputs, tolerance: float) -> tuple[Path, float]:
    """Write the file of all folds from those of the folds, after a comparison on events.

    Args:
        folder: where ``fold<i>.onnx`` are.
        k: the number of folds.
        inputs: events to compare on.
        tolerance: the largest difference allowed.

    Returns:
        The file and the largest difference of any output to that of the file of the event's fold, relative to its
        largest value where that is above one.

    Raises:
        ExportError: the models do not fit together, or the outputs differ.
    """
    import onnx

    paths = [folder / f"fold{fold}.onnx" for fold in range(k)]
    path = folder / FILE
    with aside(path) as part:
        part.write_bytes(join([onnx.load(str(each)) for each in paths]).SerializeToString())
        difference = _difference(part, paths, inputs)
        if not difference <= tolerance:
            raise ExportError(f"{path}: differs by {difference:.2e} from the files of the folds; it was not written")
    return path, difference


def _difference(joined: Path, folds: Sequence[Path], inputs: Inputs) -> float:
    """Return the largest difference between the file of all folds and those of the folds."""
    from onnxruntime import InferenceSession

    def run(path: Path, feed: Inputs) -> list[np.ndarray]:
        return list(InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, feed))

    n = len(next(iter(inputs.values())))
    # Numbers on both sides of what a double and a signed integer can hold.
    numbers = np.random.default_rng(1).integers(0, 2**64, n, dtype=np.uint64)
    found = run(joined, inputs | {EVENT_NUMBER: numbers.view(np.int64)})
    worst = 0.0
    for fold, path in enumerate(folds):
        rows = np.flatnonzero(fold_of(numbers, len(folds)) == fold)
        for mine, theirs in zip(found, run(path, {name: array[rows] for name, array in inputs.items()}), strict=True):
            gap = np.abs(mine[rows].astype(np.float64) - theirs) / max(1.0, float(np.max(np.abs(theirs), initial=0.0)))
            worst = float(np.max([worst, np.max(gap, initial=0.0)]))
    return worst


def write_topcptoolkit(folder: Path, k: int) -> Path:
    """Write what an algorithm of TopCPToolkit needs to know to use the models with ``top::ONNXWrapper``.

    ``ONNXWrapper::getSessionIndex`` takes model ``eventNumber % number of models`` of the list it is given, and the
    first model's inputs in their order for all of them.

    Args:
        folder: where ``fold<i>.onnx`` are.
        k: the number of models.

    Returns:
        The file.
    """
    import onnx
    import yaml

    model = onnx.load(str(folder / "fold0.onnx"))
    about = _metadata(model)
    if about["fold_rule"]["kind"] == "folds":
        rule = f"eventNumber % {k} is the place of the model in the list, and that model never saw the event."
    else:
        rule = "One model for all events; it trained on some of them (fold_rule), whose scores say little."
    columns = {"events": about["inputs"]["events"]}
    columns |= {name: block["fields"] for name, block in about["inputs"]["objects"].items()}
    text = {
        "model_paths": [f"fold{fold}.onnx" for fold in range(k)],
        "fold_rule": {key: value for key, value in about["fold_rule"].items() if key != "fold"},
        "inputs": [_entry(each) | _columns(columns.get(each.name)) for each in model.graph.input],
        "outputs": [
            _entry(each) | ({"columns": about["outputs"]} if each.name == "scores" else {})
            for each in model.graph.output
        ],
    }
    head = (
        f"# For top::ONNXWrapper of TopCPToolkit. {rule}\n# Inputs in this order, each of one event: shape (1, ...).\n"
    )
    path = folder / TOPCPTOOLKIT
    write_text(path, head + yaml.safe_dump(text, sort_keys=False, allow_unicode=True))
    return path


def _entry(value: Any) -> dict[str, Any]:
    from onnx import helper

    kind = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
    return {"name": value.name, "type": str(kind), "shape": [1, *_shape(value)]}


def _columns(fields: Sequence[Mapping[str, str]] | None) -> dict[str, Any]:
    """Return the columns of a table as words, with units."""
    if fields is None:
        return {}
    return {"columns": [f"{each['name']} [{each['unit']}]" if each["unit"] else each["name"] for each in fields]}
