"""Does ONNX Runtime give what Keras gives?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nntrainer.dataset.inputs import Inputs

BATCHES = 8


def largest_difference(model: Any, onnx: Path, inputs: Inputs, batch_sizes: Sequence[int]) -> float:
    """Compare the scores of a Keras model and its ONNX file.

    Args:
        model: the Keras model.
        onnx: the ONNX file.
        inputs: real events, at least as many as the largest batch.
        batch_sizes: the batch sizes to try, on BATCHES batches each or as many as the events fill.

    Returns:
        The largest absolute difference of any score; NaN where a score is not a number, infinity where the shapes
        differ.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(str(onnx), providers=["CPUExecutionProvider"])
    total = len(next(iter(inputs.values())))
    worst = 0.0
    for size in batch_sizes:
        for start in range(0, min(total, BATCHES * size) - size + 1, size):
            batch = {name: array[start : start + size] for name, array in inputs.items()}
            (scores,) = session.run(["scores"], batch)
            expected = np.asarray(model(batch, training=False))
            if scores.shape != expected.shape:
                return float("inf")
            worst = float(np.max([worst, np.abs(scores - expected).max()]))
    return worst
