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
        The largest difference of any output, of numbers above one relative to them; NaN where a score is not a
        number, infinity where shapes or integers differ.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(str(onnx), providers=["CPUExecutionProvider"])
    total = len(next(iter(inputs.values())))
    worst = 0.0
    for size in batch_sizes:
        for start in range(0, min(total, BATCHES * size) - size + 1, size):
            batch = {name: array[start : start + size] for name, array in inputs.items()}
            outputs = named(model(batch, training=False))
            for found, expected in zip(session.run([*outputs], batch), outputs.values(), strict=True):
                worst = float(np.max([worst, _difference(found, np.asarray(expected))]))
    return worst


def _difference(found: np.ndarray, expected: np.ndarray) -> float:
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return float("inf")
    if expected.dtype.kind in "iu":
        return 0.0 if np.array_equal(found, expected) else float("inf")
    return float(np.max(np.abs(found - expected) / np.maximum(np.abs(expected), 1.0)))
