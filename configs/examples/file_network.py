"""The network of file.yaml: an average over the jets whose weights are learnt, beside everything else in one row."""

import keras


def build(inputs, outputs, config):
    """Return the (None, outputs) logits of scaled inputs."""
    jets = keras.layers.Dense(64, activation="gelu")(inputs.objects["jets"])
    valid = keras.ops.expand_dims(inputs.masks["jets"], -1) > 0
    weights = keras.layers.Softmax(axis=1)(keras.layers.Dense(1)(jets), mask=valid)  # none for empty slots
    average = keras.layers.Flatten()(keras.layers.Dot(axes=1)([weights, jets]))
    event = keras.layers.Concatenate()([average, inputs.flat()])
    event = keras.layers.Dense(64, activation="gelu")(event)
    event = keras.layers.Dropout(0.1)(event)
    return keras.layers.Dense(outputs)(event)
