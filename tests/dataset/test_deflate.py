"""Chunks compressed here are what HDF5's own filters make, byte for byte once decompressed, whatever they hold."""

from __future__ import annotations

import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nntrainer.dataset.deflate import deflated, shuffled
from nntrainer.dataset.schema import BOOKKEEPING, Field, ObjectSchema, Schema
from nntrainer.dataset.store import CHUNK_ROWS, StoreWriter

DTYPE = np.dtype([("id", "u8"), ("x", "f4"), ("valid", "?"), ("n", "i1")])


def columns(n: int, seed: int = 1) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {
        "id": np.arange(n, dtype="u8"),
        "x": random.normal(size=n).astype("f4"),
        "valid": random.integers(0, 2, n).astype(bool),
        "n": np.zeros(n, "i1"),
    }


@pytest.mark.parametrize("n", [0, 1, 1000, 70_000])
def test_as_the_filters_do(tmp_path: Path, n: int) -> None:
    items = max(n, 100)
    made = columns(n)
    records = np.zeros(items, DTYPE)
    for name, column in made.items():
        records[name][:n] = column
    with h5py.File(tmp_path / "f.h5", "w") as file:
        data = file.create_dataset("d", data=records, chunks=(items,), compression="gzip", shuffle=True)
        _, raw = data.id.read_direct_chunk((0,))
    rows = shuffled(made, DTYPE, items)
    assert rows.tobytes() == zlib.decompress(raw)
    assert zlib.decompress(deflated(rows)) == rows.tobytes()


@settings(max_examples=50)
@given(st.lists(st.binary(min_size=1, max_size=3), min_size=1, max_size=8), st.integers(1, 5000))
def test_any_bytes(patterns: list[bytes], length: int) -> None:
    """Rows that shrink and rows that do not, in any order."""
    noise = np.frombuffer(np.random.default_rng(length).bytes(length), np.uint8)
    rows = np.stack([np.resize(np.frombuffer(each, np.uint8), length) if len(each) > 1 else noise for each in patterns])
    assert zlib.decompress(deflated(rows)) == rows.tobytes()


def test_noise_costs_nothing_and_zeros_vanish() -> None:
    noise = np.frombuffer(np.random.default_rng(1).bytes(200_000), np.uint8).reshape(1, -1)
    assert len(deflated(noise)) < 1.001 * noise.size
    assert len(deflated(np.zeros((8, 25_000), np.uint8))) < 1000


@pytest.mark.parametrize("steps", [(CHUNK_ROWS,), (1, CHUNK_ROWS, 1), (5000,) * 5, (3 * CHUNK_ROWS + 7,)])
def test_chunks_do_not_show(tmp_path: Path, steps: tuple[int, ...]) -> None:
    """Rows come back as they were given, whatever pieces they came in."""
    schema = Schema((*BOOKKEEPING, Field("met")), {"jets": ObjectSchema(3, (Field("pt"),))})
    n, random = sum(steps), np.random.default_rng(1)
    events = np.zeros(n, schema.dtype())
    events["eventNumber"], events["met"] = np.arange(n), random.exponential(5e4, n)
    jets = np.zeros((n, 3), schema.objects["jets"].dtype())
    jets["pt"], jets["valid"] = random.normal(size=(n, 3)), random.integers(0, 2, (n, 3))
    with StoreWriter(tmp_path / "s.h5", schema) as writer:
        for stop, step in zip(np.cumsum(steps), steps, strict=True):
            part = slice(stop - step, stop)
            writer.append(
                {name: events[name][part] for name in events.dtype.names},
                {"jets": {name: jets[name][part] for name in jets.dtype.names}},
            )
    with h5py.File(tmp_path / "s.h5") as file:
        assert np.array_equal(file["events"][:], events)
        assert np.array_equal(file["jets"][:], jets)
