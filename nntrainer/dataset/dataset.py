"""Several dataset files as one dataset, as arrays or as pandas DataFrames."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nntrainer.config import Config
from nntrainer.config.parts import dataset_path
from nntrainer.dataset.store import open_store
from nntrainer.errors import StoreError, nearest, one_of

if TYPE_CHECKING:
    import pandas

    from nntrainer.dataset.schema import Schema
    from nntrainer.dataset.store import Store


def open_dataset(where: Config | str | Path | Sequence[str | Path]) -> Dataset:
    """Open converted samples as one dataset.

    Args:
        where: a configuration (its converted samples), a dataset file, a directory of them, or several files.

    Returns:
        The dataset; close it, or use it in a ``with`` statement.

    Raises:
        StoreError: a file is missing, not a dataset, or does not fit the others.
    """
    if isinstance(where, Config):
        return Dataset([dataset_path(where, sample.name) for sample in where.data.samples])
    if isinstance(where, str | Path):
        path = Path(where)
        if not path.is_dir():
            return Dataset([path])
        found = sorted(path.glob("*.h5"))
        if not found:
            raise StoreError(f"{path} is a directory without dataset files (.h5); run `nntrainer convert` first")
        return Dataset(found)
    return Dataset([Path(path) for path in where])


class Dataset:
    """The events of several dataset files, one after another, in the order of the files.

    Args:
        paths: the dataset files.

    Attributes:
        paths: the dataset files.
        schema: fields of the events and of each object collection.
        attrs: the attributes of each file, decoded.
        samples: the sample each file holds.
        labels: the classes, by index.
        signal: the label that counts as signal.
        n: number of events.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        if not paths:
            raise StoreError("a dataset needs at least one file; none is given")
        self.paths = tuple(Path(path) for path in paths)
        self._stack = ExitStack()
        with ExitStack() as stack:
            self._stores: list[Store] = [stack.enter_context(open_store(path)) for path in self.paths]
            self._check()
            self._stack = stack.pop_all()
        first = self._stores[0]
        self.schema: Schema = first.schema
        self.attrs: tuple[dict[str, Any], ...] = tuple(store.attrs for store in self._stores)
        self.samples: tuple[str, ...] = tuple(str(attrs["sample"]) for attrs in self.attrs)
        self.labels: tuple[str, ...] = tuple(first.attrs["labels"])
        self.signal: str = str(first.attrs["signal"])
        sizes = [store.events for store in self._stores]
        self.n: int = sum(sizes)
        self._sizes = sizes

    @cached_property
    def sample_index(self) -> np.ndarray:
        """Return the index in ``samples`` of each event, (n,) int64."""
        return np.repeat(np.arange(len(self._sizes)), self._sizes)

    def _check(self) -> None:
        """Refuse files that were made by different configurations."""
        first = self._stores[0]
        for store in self._stores[1:]:
            for key in ("labels", "signal"):
                if store.attrs[key] != first.attrs[key]:
                    raise StoreError(
                        f"{store.path} has {key} {store.attrs[key]!r} where {first.path} has "
                        f"{first.attrs[key]!r}; convert both with the same configuration"
                    )
            if store.schema != first.schema:
                raise StoreError(
                    f"{store.path} has other fields than {first.path}; convert both with one configuration"
                )

    def __len__(self) -> int:
        return self.n

    def __enter__(self) -> Dataset:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all files."""
        self._stack.close()

    def _fields(self, group: str) -> list[str]:
        """Return the names of the fields of a group, refusing an unknown group."""
        if group == "events":
            return [field.name for field in self.schema.events]
        added = [store.tables.get(group) for store in self._stores]
        if added[0] is not None and added.count(added[0]) == len(added):
            return [field.name for field in added[0]]
        if group not in self.schema.objects:
            groups = ["events", *self.schema.objects]
            raise StoreError(
                f"{self.paths[0]} has no dataset '{group}'; there are {one_of(groups)}.{nearest(group, groups)}"
            )
        return ["valid", *(field.name for field in self.schema.objects[group].fields)]

    def _check_field(self, group: str, name: str) -> None:
        names = self._fields(group)
        if name not in names:
            raise StoreError(
                f"{self.paths[0]} has no field '{name}' in '{group}'; there are {one_of(names)}.{nearest(name, names)}"
            )

    def _joined(self, read: Callable[[Store], np.ndarray]) -> np.ndarray:
        return np.concatenate([read(store) for store in self._stores])

    def column(self, name: str, group: str = "events") -> np.ndarray:
        """Read one field of all events.

        Args:
            name: the field.
            group: ``events``, a collection, or a table that was added, such as ``observables``.

        Returns:
            (n,), or (n, max) for a collection; unweighted and as stored.

        Raises:
            StoreError: there is no such field or group.
        """
        self._check_field(group, name)
        return self._joined(lambda store: store.column(group, name))

    def events(self, fields: Sequence[str] | None = None) -> np.ndarray:
        """Read fields of all events as a structured array (n,); all fields by default."""
        return self._read("events", fields)

    def objects(self, name: str, fields: Sequence[str] | None = None) -> np.ndarray:
        """Read a collection as a structured array (n, max); unused slots have ``valid`` false and zeros."""
        return self._read(name, fields)

    def _read(self, group: str, fields: Sequence[str] | None) -> np.ndarray:
        self._fields(group)
        for field in fields or ():
            self._check_field(group, field)
        return self._joined(lambda store: store.read(group, None if fields is None else list(fields)))

    def pieces(
        self, rows: int, fields: Sequence[str] | None = None, objects: Sequence[str] = ()
    ) -> Iterator[tuple[int, np.ndarray, dict[str, np.ndarray]]]:
        """Read the events in pieces, in order; a piece is of one sample.

        Args:
            rows: most events in a piece.
            fields: fields of the events; all if absent.
            objects: collections to read with them.

        Yields:
            The index in ``samples``, the events (n,) and the objects by collection (n, max), structured arrays.
        """
        for sample, store in enumerate(self._stores):
            for start in range(0, store.events, rows):
                stop = min(start + rows, store.events)
                slots = {name: store.read(name, None, start, stop) for name in objects}
                yield sample, store.read("events", fields, start, stop), slots

    def to_pandas(self, group: str = "events") -> pandas.DataFrame:
        """Return a DataFrame for notebooks.

        Args:
            group: ``events``: one row an event, with a categorical column ``sample``; or a collection: one
                row an object, valid ones only, with the index (event, slot).

        Returns:
            The DataFrame; ``event`` counts events from 0 over all samples.

        Raises:
            StoreError: there is no such group.
        """
        import pandas

        self._fields(group)
        if group == "events":
            table = self.events()
            frame = pandas.DataFrame({name: table[name] for name in table.dtype.names or ()})
            frame["sample"] = pandas.Categorical.from_codes(
                self.sample_index, categories=list(dict.fromkeys(self.samples))
            )
            return frame.rename_axis(index="event")
        table = self.objects(group)
        event, slot = np.nonzero(table["valid"])
        index = pandas.MultiIndex.from_arrays([event, slot], names=["event", "slot"])
        names = [name for name in table.dtype.names or () if name != "valid"]
        return pandas.DataFrame({name: table[name][event, slot] for name in names}, index=index)
