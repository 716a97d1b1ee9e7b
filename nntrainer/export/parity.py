"""Does ONNX Runtime give what Keras gives?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nntrainer.dataset.inputs import Inputs
from nntrainer.networks.model import named

BATCHES = 8


def largest_difference(model: Any, onnx: Path, inputs: Inputs, batch_sizes: Sequence[int]) -> float:
    """Compare the outputs of a Keras model and its ONNX file.

    Args:
        model: the Keras model.
        onnx: the ONNX file.
        inputs: real events, at least as many as the largest batch.
        batch_sizes: the batch sizes to try, on BATCHES batches each or as many as the events fill.

    Returns:
        The largest difference of any output, relative to its largest value where that is above one (as a momentum
        is); NaN where a score is not a number, infinity where shapes or integers differ.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(str(onnx), providers=["CPUExecutionProvider"])
    total = len(next(iter(inputs.values())))
    worst = 0.0
    largest: dict[str, float] = {}
    for size in sorted(batch_sizes, reverse=True):  # what is large is known from many events
        for start in range(0, min(total, BATCHES * size) - size + 1, size):
            batch = {name: array[start : start + size] for name, array in inputs.items()}
            outputs = named(model(batch, training=False))
            for name, found in zip(outputs, session.run([*outputs], batch), strict=True):
                expected = np.asarray(outputs[name])
                largest[name] = max(largest.get(name, 1.0), float(np.abs(expected).max()))
                worst = float(np.max([worst, _difference(found, expected) / largest[name]]))
    return worst


def _difference(found: np.ndarray, expected: np.ndarray) -> float:
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return float("inf")
    if expected.dtype.kind in "iu":
        return 0.0 if np.array_equal(found, expected) else float("inf")
    return float(np.abs(found - expected).max())
