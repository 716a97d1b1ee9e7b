"""The order of events: every event once an epoch, the same from memory and from disk, shared by workers."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nntrainer.config import Config
from nntrainer.errors import TrainingError
from nntrainer.training.batches import BLOCK_EVENTS, Batches
from nntrainer.training.events import Events, InMemory, OnDisk, TrainingData
from nntrainer.training.load import load_training_data

Make = Callable[..., Config]
SEED = (42, 1)


def filled(store: Any, ids: np.ndarray) -> Events:
    """Return the store with events whose every number is their id, in pieces of odd sizes."""
    for piece in np.array_split(ids, 7):
        inputs = {
            "events": np.repeat(piece[:, None], 3, axis=1).astype(np.float32),
            "jets": np.repeat(piece[:, None], 4, axis=1).reshape(-1, 2, 2).astype(np.float32),
        }
        store.append(TrainingData(inputs, piece.astype(np.float32), piece.astype(np.float32) + 0.5))
    return store


def epoch_ids(batches: Batches, epoch: int, step: int = 0) -> np.ndarray:
    """Return the ids in the batches of an epoch, (steps, batch), and check that all numbers of an event go together."""
    steps = []
    for portion in batches.portions(epoch, step):
        data = portion.data
        assert (data.inputs["events"] == data.target[:, None]).all() and (data.weight == data.target + 0.5).all()
        assert (data.inputs["jets"] == data.target[:, None, None]).all()
        steps += list(data.target[portion.order].astype(int))
    return np.array(steps)


def of_parts(store: Callable[[int], Any], parts: Sequence[int], number: int, ids: np.ndarray) -> dict[int, Events]:
    """Return the events of some parts of so many."""
    length = len(ids) // number
    return {part: filled(store(length), ids[part::number][:length]) for part in parts}


IDS = np.arange(40 * BLOCK_EVENTS + 77)


@pytest.mark.parametrize("buffer", [None, 3 * BLOCK_EVENTS + 5, 100])
def test_every_event_comes_once_an_epoch(buffer: int | None) -> None:
    batches = Batches({0: filled(OnDisk(), IDS)}, 100, SEED, buffer)
    first, second = epoch_ids(batches, 0), epoch_ids(batches, 1)
    assert first.shape == second.shape == (batches.steps, 100) == (len(IDS) // 100, 100)
    for epoch in (first, second):
        assert len(np.unique(epoch)) == epoch.size
    assert not np.array_equal(first, second)
    # Which events are left over for less than a batch changes, too.
    assert set(IDS) - set(first.ravel()) != set(IDS) - set(second.ravel())


def test_memory_and_disk_give_the_same_batches() -> None:
    for buffer in (None, len(IDS), 2000):
        held, filed = (Batches({0: filled(store, IDS)}, 64, SEED, buffer) for store in (InMemory(len(IDS)), OnDisk()))
        np.testing.assert_array_equal(epoch_ids(held, 3), epoch_ids(filed, 3))
    everything = Batches({0: filled(OnDisk(), IDS)}, 64, SEED, len(IDS))
    np.testing.assert_array_equal(epoch_ids(everything, 3), epoch_ids(Batches({0: filled(OnDisk(), IDS)}, 64, SEED), 3))


@pytest.mark.parametrize("buffer", [None, 1000])
def test_going_on_inside_an_epoch(buffer: int | None) -> None:
    batches = Batches({0: filled(OnDisk(), IDS)}, 64, SEED, buffer)
    whole = epoch_ids(batches, 2)
    for step in (0, 1, 14, 15, 16, 100, batches.steps - 1):
        np.testing.assert_array_equal(epoch_ids(batches, 2, step), whole[step:])
    assert not epoch_ids(batches, 2, batches.steps).size


@pytest.mark.parametrize("buffer", [None, 1500])
def test_workers_share_the_events_and_one_worker_can_take_their_batches(buffer: int | None) -> None:
    workers = [Batches(of_parts(lambda _: OnDisk(), [rank], 3, IDS), 50, SEED, buffer) for rank in range(3)]
    alone = Batches(of_parts(InMemory, range(3), 3, IDS), 150, SEED, buffer and 3 * buffer)
    apart = [epoch_ids(worker, 5) for worker in workers]
    assert len({worker.steps for worker in workers} | {alone.steps}) == 1 and alone.batch == 150
    assert len(np.unique(np.concatenate(apart))) == apart[0].size * 3
    for step, batch in enumerate(epoch_ids(alone, 5)):
        np.testing.assert_array_equal(batch, np.concatenate([each[step] for each in apart]))


def test_a_buffer_mixes_events_from_all_over() -> None:
    epoch = epoch_ids(Batches({0: filled(OnDisk(), IDS)}, 100, SEED, 20 * BLOCK_EVENTS), 0)
    # Ids in a batch of any events whatever spread by this much; of the first or second half in order, by half of it.
    assert epoch.std(axis=1).mean() == pytest.approx(len(IDS) / np.sqrt(12), rel=0.1)


def test_fewer_events_than_a_batch_make_one_batch() -> None:
    batches = Batches({0: filled(OnDisk(), np.arange(7))}, 10, SEED, 2)
    assert (batches.steps, batches.batch, batches.events) == (1, 7, 7)
    assert sorted(epoch_ids(batches, 0)[0]) == list(range(7))


def read(events: Events) -> TrainingData:
    return events.read([(0, events.events)])


def test_what_does_not_fit_is_on_disk_and_the_same(make_config: Make) -> None:
    roomy, tight = (load_training_data(make_config(events=60_000, memory_mib=mib), 0) for mib in (2048, 1))
    assert isinstance(roomy.train[0], InMemory) and roomy.buffer_events is None
    assert isinstance(tight.train[0], OnDisk) and isinstance(tight.validation, OnDisk)
    assert tight.buffer_events and tight.buffer_events < tight.train[0].events
    for held, filed in ((roomy.train[0], tight.train[0]), (roomy.validation, tight.validation)):
        for one, other in zip(read(held).arrays(), read(filed).arrays(), strict=True):
            np.testing.assert_array_equal(one, other)
    assert read(roomy.train[0]).weight.mean() == pytest.approx(1, rel=1e-5)
    for name, one in roomy.scaling.ranges.items():
        np.testing.assert_array_equal(one.mean, tight.scaling.ranges[name].mean)


def test_workers_have_all_events_and_none_twice(make_config: Make) -> None:
    config = make_config()
    alone, two = load_training_data(config, 0), [load_training_data(config, 0, rank, 2) for rank in range(2)]
    for whole, parts in (
        (read(alone.train[0]), [read(each.train[rank]) for rank, each in enumerate(two)]),
        (read(alone.validation), [read(each.validation) for each in two]),
    ):
        rows = np.concatenate([part.inputs["events"] for part in parts])
        assert len(rows) in (whole.events, whole.events - 1)
        assert {tuple(row) for row in rows} <= {tuple(row) for row in whole.inputs["events"]}
        assert len({tuple(row) for row in rows}) == len(rows)


def test_no_space_for_the_events(make_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(TrainingError, match=r"nowhere.*training\.memory_mib.*TMPDIR"):
        load_training_data(make_config(events=60_000, memory_mib=1), 0)
