"""Does ONNX Runtime give what Keras gives?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nntrainer.dataset.inputs import Inputs


def largest_difference(model: Any, onnx: Path, inputs: Inputs, batch_sizes: Sequence[int]) -> float:
    """Compare the scores of a Keras model and its ONNX file.

    Args:
        model: the Keras model.
        onnx: the ONNX file.
        inputs: real events, at least as many as the largest batch.
        batch_sizes: the batch sizes to try.

    Returns:
        The largest absolute difference of any score; NaN where only one of the two is a number.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(str(onnx), providers=["CPUExecutionProvider"])
    worst = 0.0
    for size in batch_sizes:
        batch = {name: array[:size] for name, array in inputs.items()}
        (scores,) = session.run(["scores"], batch)
        difference = np.abs(scores - np.asarray(model(batch, training=False)))
        worst = float(np.max([worst, difference.max()]))
    return worst
