"""Training with less than 32 bits: what a device can do, and how small gradients survive."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nntrainer.errors import TrainingError

FIRST_SCALE = 2.0**15
LARGEST_SCALE = 2.0**24
GROWS_AFTER = 2000
"""Updates without overflow after which the scale is doubled, as in arXiv 1710.03740 and Keras."""


def check_precision(precision: str) -> None:
    """Check that this machine can train so.

    Args:
        precision: ``training.precision``.

    Raises:
        TrainingError: half precision without a GPU.
    """
    import tensorflow as tf

    if precision == "mixed_float16" and not tf.config.get_visible_devices("GPU"):
        raise TrainingError(
            "training.precision is 'mixed_float16', which only GPUs compute in, and there is none here; choose "
            "'float32' or 'mixed_bfloat16', or train where there is a GPU"
        )


class LossScale:
    """A factor on the loss that keeps gradients in float16 from vanishing; without it the loss stays as it is.

    Where a gradient overflows, the update is left out and the factor halved; after many good ones it is doubled
    (arXiv 1710.03740, section 3.2).

    Args:
        wanted: whether there is a factor.

    Attributes:
        variables: Keras variables, the factor and the good updates since it changed; part of the checkpoint.
    """

    def __init__(self, wanted: bool) -> None:
        import keras

        names = {"loss_scale": FIRST_SCALE, "good_updates": 0.0} if wanted else {}
        self.variables = [keras.Variable(value, trainable=False, name=name) for name, value in names.items()]

    def scaled(self, loss: Any) -> Any:
        """Return the loss times the factor, inside a graph."""
        return loss * self.variables[0].value if self.variables else loss

    def update(self, gradients: list[Any], apply: Callable[[list[Any]], None]) -> None:
        """Apply gradients of the scaled loss, inside a graph.

        Args:
            gradients: tensors, the same on all workers.
            apply: takes the gradients of the loss itself.
        """
        if not self.variables:
            apply(gradients)
            return
        import tensorflow as tf

        scale, good = (variable.value for variable in self.variables)
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(each)) for each in gradients])

        def use() -> Any:
            apply([each / scale for each in gradients])
            grows = good + 1 >= GROWS_AFTER
            scale.assign(tf.where(grows, tf.minimum(scale * 2, LARGEST_SCALE), scale))
            return good.assign(tf.where(grows, 0.0, good + 1))

        def leave() -> Any:
            scale.assign(tf.maximum(scale / 2, 1.0))
            return good.assign(0.0)

        tf.cond(finite, use, leave)
