"""The dataset file: HDF5 with one compound dataset for the events and one for each collection.

The layout follows the ATLAS flavour-tagging convention, so that its tools and plain h5py read it.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import h5py
import numpy as np

from nntrainer.dataset.deflate import deflated, shuffled
from nntrainer.dataset.schema import Field, ObjectSchema, Schema
from nntrainer.errors import StoreError, nearest, one_of
from nntrainer.files import aside
from nntrainer.threads import pool

FORMAT_VERSION = 1
CHUNK_ROWS = 8192
# What libraries from HDF5 1.10 on read; 'latest' is that of the HDF5 that h5py happens to bring.
LIBVER = ("v108", "v110")

Columns = np.ndarray | Mapping[str, np.ndarray]
"""Columns by name: a structured array, or a dictionary that saves making one."""


class StoreWriter:
    """Writes a dataset file aside and renames it when complete; on an error nothing is left.

    Args:
        path: the file.
        schema: its columns.
        attrs: file attributes, plain data; more may be set in ``attrs`` until the end.
    """

    def __init__(self, path: Path, schema: Schema, attrs: Mapping[str, Any] | None = None) -> None:
        self.path = Path(path)
        self.schema = schema
        self.attrs = dict(attrs or {})
        self.part = self.path.with_name(f"{self.path.name}.part")
        self._tables: dict[str, _Table] = {}

    def __enter__(self) -> StoreWriter:
        """Create the file; a part that a killed process left is begun again."""
        with self._told():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = self._locked()
            self._file = h5py.File(self.part, "w", libver=LIBVER, locking=False)
            self._create("events", (0,), self.schema.dtype(), self.schema.events)
            for name, block in self.schema.objects.items():
                self._create(name, (0, block.max), block.dtype(), block.fields)
        return self

    def _locked(self) -> BinaryIO:
        """Return the part, locked; HDF5 itself would empty the file of another writer before it looks at locks."""
        handle = self.part.open("ab")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP):  # file systems without locks
                handle.close()
                raise
        return handle

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn what the file system says into a sentence."""
        try:
            yield
        except BlockingIOError:
            raise StoreError(f"{self.part}: another process is writing it; wait until it is done") from None
        except OSError as error:
            reason = error.strerror or str(error).splitlines()[0][:120]
            raise StoreError(f"{self.path}: cannot be written: {reason}") from None

    def _create(self, name: str, shape: tuple[int, ...], dtype: np.dtype, fields: Sequence[Field]) -> None:
        dataset = self._file.create_dataset(
            name,
            shape,
            dtype,
            maxshape=(None, *shape[1:]),
            chunks=(CHUNK_ROWS if len(shape) == 1 else max(CHUNK_ROWS // 8, 1), *shape[1:]),
            compression="gzip",
            compression_opts=1,
            shuffle=True,
        )
        dataset.attrs["fields"] = json.dumps(
            {field.name: {"unit": field.unit, "description": field.description} for field in fields}
        )
        self._tables[name] = _Table(dataset)

    def append(self, events: Columns, objects: Mapping[str, Columns]) -> None:
        """Add rows; they are compressed by threads after this returns, so leave the arrays as they are.

        Args:
            events: columns of n numbers.
            objects: for each collection columns of (n, max) numbers.

        Raises:
            StoreError: a collection or column is left out or has another number of rows, or the disk is full.
        """
        given = {"events": events, **objects}
        columns = {name: _by_name(given.get(name, {}), table.dtype) for name, table in self._tables.items()}
        lengths = {name: {len(column) for column in each.values()} for name, each in columns.items()}
        if len(set().union(*lengths.values())) != 1:
            raise StoreError(f"{self.path}: rows of events and objects differ in number: {lengths}")
        with self._told():
            for table in self._tables.values():
                table.write()  # what was appended before
            for name, table in self._tables.items():
                table.append(columns[name])

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish and rename, or remove what was written."""
        try:
            with self._told():
                if kind is None:
                    for table in self._tables.values():
                        table.finish()
                    for key, value in {**self.attrs, "format_version": FORMAT_VERSION}.items():
                        self._file.attrs[key] = value if isinstance(value, str | int | float) else json.dumps(value)
                self._file.close()
                if kind is None:
                    os.replace(self.part, self.path)
        finally:
            self.part.unlink(missing_ok=True)
            self._lock.close()


def _by_name(columns: Columns, dtype: np.dtype) -> dict[str, np.ndarray]:
    """Return the columns of a compound type, each in one piece; one that is left out has no rows."""
    there = (columns.dtype.names or ()) if isinstance(columns, np.ndarray) else columns
    return {
        name: np.ascontiguousarray(columns[name], dtype[name]) if name in there else np.empty(0, dtype[name])
        for name in dtype.names or ()
    }


def add_table(
    path: Path, name: str, fields: Sequence[Field], attrs: Mapping[str, Any], rows: Iterable[np.ndarray]
) -> None:
    """Add a table with one row an event to a dataset file, or replace it: aside, then renamed.

    Args:
        path: the dataset file.
        name: the table.
        fields: its columns.
        attrs: its attributes, plain data.
        rows: the rows in order, structured arrays of the fields.

    Raises:
        StoreError: there are not as many rows as events, or the file cannot be written.
    """
    dtype = np.dtype([(field.name, field.dtype) for field in fields])
    told = {field.name: {"unit": field.unit, "description": field.description} for field in fields}
    try:
        with (
            aside(path, shared=True) as part,
            open_store(path) as store,
            h5py.File(part, "w", libver=LIBVER, locking=False) as new,
        ):
            old = store._file
            for key, value in old.attrs.items():
                new.attrs[key] = value
            for each in old:
                if each != name:
                    old.copy(each, new)  # chunks are copied as they are
            options = {
                "maxshape": (None,),
                "chunks": (CHUNK_ROWS,),
                "compression": "gzip",
                "compression_opts": 1,
                "shuffle": True,
            }
            table = new.create_dataset(name, (store.events,), dtype, **options)
            for key, value in {**attrs, "fields": told}.items():
                table.attrs[key] = value if isinstance(value, str | int | float) else json.dumps(value)
            start = 0
            for piece in rows:
                table[start : start + len(piece)] = piece
                start += len(piece)
            if start != store.events:
                raise StoreError(f"{path}: {start:,} rows of '{name}' for {store.events:,} events")
    except OSError as error:
        reason = error.strerror or str(error).splitlines()[0][:120]
        raise StoreError(f"{path}: cannot be written: {reason}") from None


class _Table:
    """A dataset that grows: rows are gathered to whole chunks, threads compress them, the caller's thread writes.

    HDF5 would compress one chunk after the other.

    Args:
        dataset: an empty dataset with the filters of :mod:`nntrainer.dataset.deflate`.
    """

    def __init__(self, dataset: h5py.Dataset) -> None:
        self.dataset = dataset
        self.dtype = dataset.dtype
        self.rows = 0
        self._left: dict[str, np.ndarray] = {}
        self._chunks: deque[tuple[int, Future[bytes]]] = deque()

    def append(self, columns: dict[str, np.ndarray]) -> None:
        """Add rows."""
        if self._left:
            columns = {name: np.concatenate([self._left[name], column]) for name, column in columns.items()}
        length, step = len(next(iter(columns.values()))), self.dataset.chunks[0]
        whole = length - length % step
        for start in range(0, whole, step):
            self._compress({name: column[start : start + step] for name, column in columns.items()})
        self._left = {name: column[whole:].copy() for name, column in columns.items()}

    def _compress(self, columns: dict[str, np.ndarray]) -> None:
        items = int(np.prod(self.dataset.chunks))
        chunk = pool().submit(lambda: deflated(shuffled(columns, self.dtype, items)))
        self._chunks.append((self.rows, chunk))
        self.rows += len(next(iter(columns.values())))

    def write(self) -> None:
        """Write what has been compressed, waiting for it."""
        self.dataset.resize(self.rows, axis=0)
        while self._chunks:
            row, chunk = self._chunks.popleft()
            self.dataset.id.write_direct_chunk((row, *[0] * (self.dataset.ndim - 1)), chunk.result())

    def finish(self) -> None:
        """Write everything, the rows left over included."""
        if self._left and len(next(iter(self._left.values()))):
            self._compress(self._left)
        self.write()


class Store:
    """An open dataset file.

    Args:
        path: the file.
        file: the same, open.

    Attributes:
        path: the file.
        events: number of events.
        schema: its columns.
        tables: columns of tables that were added to it, one row an event, by name.
        attrs: file attributes, decoded.
    """

    def __init__(self, path: Path, file: h5py.File) -> None:
        self.path = path
        self._file = file
        self.attrs = {key: _decoded(value) for key, value in file.attrs.items()}
        self.events = int(file["events"].shape[0])
        groups = {name: _fields(file[name]) for name in file}
        objects = {
            name: ObjectSchema(int(file[name].shape[1]), tuple(f for f in fields if f.name != "valid"))
            for name, fields in groups.items()
            if file[name].ndim == 2
        }
        self.tables = {name: fields for name, fields in groups.items() if file[name].ndim == 1 and name != "events"}
        self.schema = Schema(groups["events"], objects)

    def __enter__(self) -> Store:
        """Return the store."""
        return self

    def __exit__(self, *details: object) -> None:
        """Close the file."""
        self._file.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def read(
        self,
        group: str = "events",
        fields: Sequence[str] | None = None,
        start: int = 0,
        stop: int | None = None,
    ) -> np.ndarray:
        """Read rows.

        Args:
            group: ``events`` or a collection.
            fields: columns; all if absent.
            start: first row.
            stop: row after the last.

        Returns:
            A structured array (n,) or (n, max).

        Raises:
            StoreError: there is no such collection or column.
        """
        if group not in self._file:
            raise StoreError(
                f"{self.path}: there is no dataset '{group}'; there are {one_of(self._file)}."
                f"{nearest(group, self._file)}"
            )
        dataset = self._file[group]
        if fields is None:
            return np.asarray(dataset[start:stop])
        names = dataset.dtype.names
        for field in fields:
            if field not in names:
                raise StoreError(f"{self.path}: '{group}' has no field '{field}'.{nearest(field, names)}")
        return np.asarray(dataset.fields(list(fields))[start:stop])

    def told(self, group: str) -> dict[str, Any]:
        """Return the attributes of a dataset, decoded."""
        return {key: _decoded(value) for key, value in self._file[group].attrs.items()}

    def column(self, group: str, field: str) -> np.ndarray:
        """Return one column, (n,) or (n, max)."""
        return np.asarray(self.read(group, [field])[field])


def _decoded(value: Any) -> Any:
    if isinstance(value, str):
        try:
            return json.loads(value) if value[:1] in '[{"' or value in ("null", "true", "false") else value
        except ValueError:
            return value
    return value.item() if isinstance(value, np.generic) else value


def _fields(dataset: h5py.Dataset) -> tuple[Field, ...]:
    told = json.loads(dataset.attrs.get("fields", "{}"))
    return tuple(
        Field(name, dataset.dtype[name].str.lstrip("<>|="), **told.get(name, {})) for name in dataset.dtype.names
    )


def open_store(path: str | Path) -> Store:
    """Open a dataset file for reading.

    Args:
        path: the file.

    Returns:
        The store; close it, or use it in a ``with`` statement.

    Raises:
        StoreError: it is missing, not HDF5, incomplete, or of a newer format.
    """
    path = Path(path)
    if not path.exists():
        raise StoreError(f"{path}: no such dataset file; `nntrainer convert` makes it")
    try:
        file = h5py.File(path, "r", locking="best-effort")
    except OSError as error:
        reason = str(error).splitlines()[0][:120]
        raise StoreError(f"{path}: not a readable HDF5 file, perhaps incomplete ({reason})") from None
    version = file.attrs.get("format_version")
    problem = None
    tables = [each for each in file.values() if isinstance(each, h5py.Dataset) and each.dtype.names]
    if not isinstance(version, int | np.integer) or "events" not in file or len(tables) != len(file):
        problem = "not a dataset file of nntrainer, or incomplete; convert it again"
    elif len({len(each) for each in tables}) > 1:
        problem = "incomplete: its datasets differ in length; convert it again"
    elif version > FORMAT_VERSION:
        problem = f"written in format {version}, and this version reads up to {FORMAT_VERSION}; update nntrainer"
    if problem:
        file.close()
        raise StoreError(f"{path}: {problem}")
    return Store(path, file)
