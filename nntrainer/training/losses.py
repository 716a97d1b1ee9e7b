"""Losses of the classes, one number an event."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nntrainer.config.training import Focal, Loss

ClassLoss = Callable[[Any, Any], Any]
"""Takes logits, (n, 1) for two classes and (n, classes) for more, and the target, (n,) float32 1 for signal and 0
else, or int32 class index; returns (n,) float32."""
SMALLEST = 1e-7
"""Of 1 − p; a power less than one has no derivative at zero."""


def class_loss(options: Loss, classes: int) -> ClassLoss:
    """Return the loss that is minimised.

    Args:
        options: the loss block of the configuration.
        classes: number of classes.

    Returns:
        The loss; ``cross_entropy`` itself where nothing else is asked for.
    """
    if isinstance(options, Focal):
        return _focal(options.gamma)
    return _smoothed(options.label_smoothing, classes) if options.label_smoothing else cross_entropy


def cross_entropy(logits: Any, target: Any) -> Any:
    """Return the cross-entropy of events, which is what the history reports whatever is minimised."""
    import tensorflow as tf

    if logits.shape[-1] == 1:
        return tf.nn.sigmoid_cross_entropy_with_logits(labels=target, logits=logits[:, 0])
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=target, logits=logits)


def _smoothed(part: float, classes: int) -> ClassLoss:
    """Return the cross-entropy with a part of every target shared by all classes (arXiv 1512.00567, section 7)."""
    import tensorflow as tf

    def loss(logits: Any, target: Any) -> Any:
        if logits.shape[-1] == 1:
            return cross_entropy(logits, target * (1 - part) + part / 2)
        shared = tf.one_hot(target, classes, on_value=1 - part + part / classes, off_value=part / classes)
        return tf.nn.softmax_cross_entropy_with_logits(labels=shared, logits=logits)

    return loss


def _focal(gamma: float) -> ClassLoss:
    """Return (1 − p)^γ times the cross-entropy, which is −log p (arXiv 1708.02002, equation 4)."""
    import tensorflow as tf

    def loss(logits: Any, target: Any) -> Any:
        entropy = cross_entropy(logits, target)
        return tf.pow(tf.maximum(-tf.math.expm1(-entropy), SMALLEST), gamma) * entropy

    return loss
