"""The dataset file: HDF5 with one compound dataset for the events and one for each collection.

The layout follows the ATLAS flavour-tagging convention, so that its tools and plain h5py read it.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import h5py
import numpy as np

from nntrainer.dataset.schema import Field, ObjectSchema, Schema
from nntrainer.errors import StoreError, nearest, one_of

FORMAT_VERSION = 1
CHUNK_ROWS = 8192
# What libraries from HDF5 1.10 on read; 'latest' is that of the HDF5 that h5py happens to bring.
LIBVER = ("v108", "v110")


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

    def append(self, events: np.ndarray, objects: Mapping[str, np.ndarray]) -> None:
        """Add rows.

        Args:
            events: (n,) structured array of the schema's type.
            objects: for each collection an (n, max) structured array.

        Raises:
            StoreError: a collection is left out or has another number of rows, or the disk is full.
        """
        tables = {"events": events, **objects}
        lengths = {name: len(tables.get(name, ())) for name in ("events", *self.schema.objects)}
        if set(lengths.values()) != {len(events)}:
            raise StoreError(f"{self.path}: rows of events and objects differ in number: {lengths}")
        with self._told():
            for name in lengths:
                dataset = self._file[name]
                before = dataset.shape[0]
                dataset.resize(before + len(events), axis=0)
                dataset[before:] = tables[name]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish and rename, or remove what was written."""
        try:
            with self._told():
                if kind is None:
                    for key, value in {**self.attrs, "format_version": FORMAT_VERSION}.items():
                        self._file.attrs[key] = value if isinstance(value, str | int | float) else json.dumps(value)
                self._file.close()
                if kind is None:
                    os.replace(self.part, self.path)
        finally:
            self.part.unlink(missing_ok=True)
            self._lock.close()


class Store:
    """An open dataset file.

    Args:
        path: the file.
        file: the same, open.

    Attributes:
        path: the file.
        events: number of events.
        schema: its columns.
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
            if name != "events"
        }
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
