"""Keras optimizers from their options."""

from __future__ import annotations

from typing import Any

from nntrainer.config.training import GradientClipping, Optimizer


def build_optimizer(options: Optimizer) -> Any:
    """Return the Keras optimizer; its learning rate is set before every step.

    Args:
        options: the optimizer block of the configuration; its keys are the arguments of the Keras class.

    Returns:
        The optimizer.
    """
    import keras

    classes = {
        "adam": keras.optimizers.Adam,
        "adamw": keras.optimizers.AdamW,
        "sgd": keras.optimizers.SGD,
        "rmsprop": keras.optimizers.RMSprop,
    }
    return classes[options.name](**options.model_dump(exclude={"name"}))


def clipped(clipping: GradientClipping | None, gradients: list[Any]) -> list[Any]:
    """Return the gradients within their bounds.

    Args:
        clipping: the bounds, or None for none.
        gradients: tensors.

    Returns:
        As many tensors.
    """
    import tensorflow as tf

    if clipping is None:
        return gradients
    if clipping.norm is not None:
        return list(tf.clip_by_global_norm(gradients, clipping.norm)[0])
    bound = float(clipping.value or 0)
    return [tf.clip_by_value(gradient, -bound, bound) for gradient in gradients]
