"""One way to train the network of ``bench/samples.py``, as a process: an epoch for every line of input.

Usage: ``contender_training.py WAY FOLDER BATCH [MEMORY_MIB]``. Only what a way needs is imported, since PyTorch and
TensorFlow are in two environments.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

from bench.measure import Contender, serve, timed

LAYERS = [128, 128, 128]


def loaded(folder: Path) -> list[np.ndarray]:
    return [np.load(folder / f"{name}.npy") for name in "xyw"]


def ours(folder: Path, batch: int, memory: int = 2048) -> Contender:
    """The training of this project: epochs with validation, checkpoint, history and progress."""
    from nntrainer.training.interrupt import StopRequest

    training = our_training(folder, batch, memory)
    stop = StopRequest(training.directory)
    return timed(lambda: training._epoch(stop))


def bare(folder: Path, batch: int) -> Contender:
    """The same without checkpoint, history, progress and looking for a request to stop: steps and validation."""
    training = our_training(folder, batch)

    def epoch() -> None:
        sums = [0.0, 0.0, 0.0]
        for portion in training.batches.portions(training.state.epoch, 0):
            sums = training.steps.train(portion.data, portion.order, training._rates(len(portion.order)), sums)
        training.steps.validate(training.validation)
        training.state.epoch += 1

    return timed(epoch)


def our_training(folder: Path, batch: int, memory: int = 2048) -> Any:
    """Return a training of this project that has not begun."""
    from bench.samples import config
    from nntrainer.progress import silent
    from nntrainer.training.distributed import alone, set_up_devices
    from nntrainer.training.load import load_training_data
    from nntrainer.training.loop import _Training

    made = config(folder, batch_size=batch, memory_mib=memory)
    set_up_devices(0, 1, 0, made.model.by_event)
    directory = Path(tempfile.mkdtemp(prefix="nntrainer-bench-"))
    return _Training(made, 0, directory, load_training_data(made, 0), alone(), silent())


def keras_network() -> Any:
    import keras

    keras.utils.set_random_seed(1)
    tensor = inputs = keras.Input((60,))
    for units in LAYERS:
        tensor = keras.layers.Dense(units, activation="relu")(tensor)
    return keras.Model(inputs, keras.layers.Dense(1)(tensor))


def in_graph(folder: Path, batch: int) -> Contender:
    """A loop over steps in one graph, written by hand around Keras' network and optimizer, on tensors in memory."""
    import keras
    import tensorflow as tf

    x, y, w = (tf.constant(array) for array in loaded(folder))
    model, optimizer = keras_network(), keras.optimizers.Adam(1e-3)
    optimizer.build(model.trainable_variables)
    variables = [variable.value for variable in model.trainable_variables]

    @tf.function
    def epoch(order: Any) -> Any:
        total = 0.0
        for step in tf.range(len(y) // batch):
            rows = order[step * batch : (step + 1) * batch]
            with tf.GradientTape() as tape:
                logits = model(tf.gather(x, rows), training=True)[:, 0]
                losses = tf.nn.sigmoid_cross_entropy_with_logits(labels=tf.gather(y, rows), logits=logits)
                loss = tf.reduce_mean(tf.gather(w, rows) * losses)
            optimizer.apply(tape.gradient(loss, variables), model.trainable_variables)
            total += loss
        return total

    return timed(lambda: epoch(tf.random.shuffle(tf.range(len(y)))).numpy())


def keras_fit(folder: Path, batch: int) -> Contender:
    """Keras ``fit`` with NumPy arrays."""
    import keras

    x, y, w = loaded(folder)
    model = keras_network()
    model.compile(keras.optimizers.Adam(1e-3), keras.losses.BinaryCrossentropy(from_logits=True))
    return timed(lambda: model.fit(x, y, batch_size=batch, sample_weight=w, verbose=0))


def keras_generator(folder: Path, batch: int) -> Contender:
    """Keras ``fit`` with a generator over the dataset files: stretches of one batch, in random order."""
    import h5py
    import keras

    from bench.samples import FEATURES

    files = [h5py.File(path) for path in sorted(folder.rglob("*.h5"))]
    starts = [(file, start) for file in files for start in range(0, len(file["events"]) - batch, batch)]
    random = np.random.default_rng(1)

    def batches() -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        while True:
            for index in random.permutation(len(starts)):
                file, start = starts[index]
                rows = file["events"][start : start + batch]
                yield np.stack([rows[name] for name in FEATURES], axis=-1), rows["label"], rows["weight"]

    model = keras_network()
    model.compile(keras.optimizers.Adam(1e-3), keras.losses.BinaryCrossentropy(from_logits=True))
    given = batches()
    return timed(lambda: model.fit(given, steps_per_epoch=len(starts), verbose=0))


def torch_network() -> Any:
    import torch

    torch.manual_seed(1)
    layers: list[Any] = []
    before = 60
    for units in LAYERS:
        layers += [torch.nn.Linear(before, units), torch.nn.ReLU()]
        before = units
    return torch.nn.Sequential(*layers, torch.nn.Linear(before, 1))


def torch_loss(network: Any, x: Any, y: Any, w: Any) -> Any:
    import torch

    return torch.nn.functional.binary_cross_entropy_with_logits(network(x)[:, 0], y, w)


def torch_loader(folder: Path, batch: int) -> Contender:
    """PyTorch with a DataLoader."""
    import torch

    data = torch.utils.data.TensorDataset(*(torch.from_numpy(array) for array in loaded(folder)))
    loader = torch.utils.data.DataLoader(data, batch_size=batch, shuffle=True, drop_last=True)
    network = torch_network()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)

    def epoch() -> None:
        for x, y, w in loader:
            optimizer.zero_grad()
            torch_loss(network, x, y, w).backward()
            optimizer.step()

    return timed(epoch)


def torch_sliced(folder: Path, batch: int) -> Contender:
    """PyTorch with batches sliced by hand out of shuffled tensors, and the fused optimizer."""
    import torch

    x, y, w = (torch.from_numpy(array) for array in loaded(folder))
    network = torch_network()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)

    def epoch() -> None:
        order = torch.randperm(len(y))
        for start in range(0, len(y) // batch * batch, batch):
            rows = order[start : start + batch]
            optimizer.zero_grad()
            torch_loss(network, x[rows], y[rows], w[rows]).backward()
            optimizer.step()

    return timed(epoch)


def lightning(folder: Path, batch: int) -> Contender:
    """PyTorch Lightning; the time of its epoch without the start of its trainer."""
    import warnings

    import lightning
    import torch

    warnings.simplefilter("ignore")

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = torch_network()

        def training_step(self, data: Any) -> Any:
            return torch_loss(self.network, *data)

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters(), lr=1e-3)

        def on_train_epoch_start(self) -> None:
            self.started = time.perf_counter()

        def on_train_epoch_end(self) -> None:
            self.took = time.perf_counter() - self.started

    data = torch.utils.data.TensorDataset(*(torch.from_numpy(array) for array in loaded(folder)))
    loader = torch.utils.data.DataLoader(data, batch_size=batch, shuffle=True, drop_last=True)
    module = Module()

    def contender() -> float:
        quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        trainer = lightning.Trainer(max_epochs=1, accelerator="cpu", enable_model_summary=False, **quiet)
        trainer.fit(module, loader)
        return module.took

    return contender


if __name__ == "__main__":
    ways = {
        each.__name__: each
        for each in (ours, bare, in_graph, keras_fit, keras_generator, torch_loader, torch_sliced, lightning)
    }
    way, where, *numbers = sys.argv[1:]
    serve(lambda: ways[way](Path(where), *map(int, numbers)))
