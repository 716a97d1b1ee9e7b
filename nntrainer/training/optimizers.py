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


def update(optimizer: Any, gradients: list[Any], variables: list[Any]) -> None:
    """Apply gradients; Adam and AdamW with one operation for each variable instead of Keras' dozen.

    Keras and TensorFlow's fused kernel compute the same formula; small operations are what a step on a small batch
    spends much of its time with.

    Args:
        optimizer: what ``build_optimizer`` returned, built for the variables.
        gradients: one tensor for each variable.
        variables: Keras variables.
    """
    import keras
    import tensorflow as tf

    if not isinstance(optimizer, keras.optimizers.Adam) or optimizer.amsgrad:
        optimizer.apply(gradients, variables)
        return
    rate = tf.convert_to_tensor(optimizer.learning_rate.value)
    step = tf.cast(optimizer.iterations.value + 1, tf.float32)
    powers = [tf.pow(tf.constant(beta, tf.float32), step) for beta in (optimizer.beta_1, optimizer.beta_2)]
    moments = zip(optimizer._momentums, optimizer._velocities, strict=True)
    for gradient, variable, (momentum, velocity) in zip(gradients, variables, moments, strict=True):
        if optimizer.weight_decay:
            variable.value.assign_sub(variable.value * optimizer.weight_decay * rate)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.value.handle,
            m=momentum.value.handle,
            v=velocity.value.handle,
            beta1_power=powers[0],
            beta2_power=powers[1],
            lr=rate,
            beta1=optimizer.beta_1,
            beta2=optimizer.beta_2,
            epsilon=optimizer.epsilon,
            grad=gradient,
        )
    optimizer.iterations.assign_add(1)


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
