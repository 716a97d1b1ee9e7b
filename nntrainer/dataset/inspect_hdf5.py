"""What is in an HDF5 file: dataset files in full, other files as far as they are tables of numbers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from nntrainer.dataset.inspection import (
    ClassInfo,
    FieldInfo,
    GroupInfo,
    Inspection,
    Statistics,
    WeightInfo,
    choose,
    detail_of,
    jsonable,
)
from nntrainer.dataset.schema import Field
from nntrainer.dataset.store import open_store
from nntrainer.errors import StoreError, nearest, one_of

CHUNK_BYTES = 16 * 2**20


def inspect_hdf5(path: Path, field: str | None, head: int, group: str | None) -> Inspection:
    """Look into an HDF5 file; see :func:`nntrainer.dataset.inspect.inspect`.

    Args:
        path: the file.
        field: the field to look at in depth.
        head: rows to give.
        group: the dataset to look at.

    Returns:
        What is in it.

    Raises:
        StoreError: it is damaged, incomplete or newer, or has no such dataset or field.
    """
    attrs, told = _told(path)
    with h5py.File(path, "r") as file:
        tables = {table.name: table for table in _tables(file)}
        if group is not None and group not in tables:
            raise StoreError(
                f"{path}: there is no dataset '{group}'; there are {one_of(tables)}.{nearest(group, tables)}"
            )
        if group is not None:
            tables = {group: tables[group]}
        detail = None
        if field is not None:
            names = {name: list(table.fields) for name, table in tables.items()}
            group, field = choose(path, field, names, StoreError)
            tables = {group: tables[group]}
        sums = _Sums()
        groups = [
            table.info(told.get(name, {}), head, field, sums if name == "events" and field is None else None)
            for name, table in tables.items()
        ]
        if field is not None:
            detail = tables[groups[0].name].detail(field, groups[0].fields[0].unit)
    labels = [str(label) for label in attrs.get("labels") or ()]
    return Inspection(
        str(path),
        "HDF5",
        path.stat().st_size,
        tuple(groups),
        sums.weights(),
        sums.classes(labels),
        jsonable(attrs),
        detail,
    )


def _told(path: Path) -> tuple[dict[str, Any], dict[str, dict[str, Field]]]:
    """Return the file's attributes and what a dataset file says of its fields, by group."""
    try:
        with h5py.File(path, "r") as file:
            if "format_version" not in file.attrs:
                return dict(file.attrs), {}
    except OSError as error:
        reason = str(error).splitlines()[0][:120]
        raise StoreError(f"{path}: not a readable HDF5 file, perhaps incomplete ({reason})") from None
    with open_store(path) as store:
        groups = {"events": store.schema.events}
        groups |= {name: block.fields for name, block in store.schema.objects.items()} | store.tables
        return store.attrs, {name: {f.name: f for f in fields} for name, fields in groups.items()}


class _Table:
    """One dataset: a compound one has its fields, one of plain numbers is its own only field."""

    def __init__(self, name: str, dataset: h5py.Dataset) -> None:
        self.name = name
        self.dataset = dataset
        self.compound = dataset.dtype.names is not None
        self.fields: dict[str, np.dtype] = (
            {key: dataset.dtype[key] for key in dataset.dtype.names}
            if self.compound
            else {name.rpartition("/")[2]: dataset.dtype}
        )
        self.slotted = self.compound and dataset.ndim == 2
        row = dataset.dtype.itemsize * int(np.prod(dataset.shape[1:], dtype=np.int64))
        self._rows = max(1, CHUNK_BYTES // max(row, 1))

    def _read(self, names: list[str], start: int, stop: int) -> dict[str, np.ndarray]:
        if not self.compound:
            return {names[0]: self.dataset[start:stop]}
        rows = self.dataset.fields(names)[start:stop]
        return {name: rows[name] for name in names}

    def chunks(self, wanted: list[str]) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray | None]]:
        """Yield the wanted fields and, for a collection, which slots are valid."""
        masked = self.slotted and "valid" in self.fields
        names = list(dict.fromkeys([*wanted, *(["valid"] if masked else [])]))
        for start in range(0, self.dataset.shape[0], self._rows):
            columns = self._read(names, start, start + self._rows)
            yield columns, columns["valid"].astype(bool) if masked else None

    def numeric(self, name: str) -> bool:
        """Return whether a field has numbers."""
        return self.fields[name].kind in "biuf"

    def info(self, told: dict[str, Field], head: int, field: str | None, sums: _Sums | None) -> GroupInfo:
        """Go through the rows once."""
        names = [field] if field is not None else list(self.fields)
        numeric = [name for name in names if self.numeric(name)]
        found = {name: Statistics() for name in numeric}
        slots = used = 0
        for columns, valid in self.chunks(numeric) if numeric else ():
            if valid is not None:
                slots += valid.size
                used += int(valid.sum())
            for name in numeric:
                whole = valid is None or name == "valid"
                found[name].add(columns[name] if whole else columns[name][valid])
            if sums is not None:
                sums.add(columns)
        fraction = used / slots if slots else None
        infos = []
        for name in names:
            about = told.get(name, Field(name))
            kind = str(self.fields[name])
            if name not in found:
                infos.append(FieldInfo(name, kind, about.unit, about.description, note="not a number"))
                continue
            infos.append(found[name].info(name, kind, about.unit, about.description, fraction))
        entries = int(self.dataset.shape[0])
        width = int(self.dataset.shape[1]) if self.slotted else None
        rows = self._head(head, numeric) if head and numeric else ()
        return GroupInfo(self.name, "dataset", entries, width, entries, tuple(infos), rows)

    def _head(self, head: int, names: list[str]) -> tuple[dict[str, Any], ...]:
        stop = min(head, self.dataset.shape[0])
        masked = self.slotted and "valid" in self.fields
        columns = self._read(list(dict.fromkeys([*names, *(["valid"] if masked else [])])), 0, stop)
        rows = []
        for row in range(stop):
            take = columns["valid"][row].astype(bool) if masked else ...
            shown = [name for name in names if not (masked and name == "valid")]
            rows.append({name: jsonable(columns[name][row][take]) for name in shown})
        return tuple(rows)

    def detail(self, field: str, unit: str) -> Any:
        """Look at one field in depth."""
        if not self.numeric(field):
            kind = self.fields[field]
            raise StoreError(f"{self.dataset.file.filename}: '{field}' of '{self.name}' is {kind}, not a number")
        return detail_of(self.name, field, unit, lambda: self._values(field))

    def _values(self, field: str) -> Iterator[np.ndarray]:
        for columns, valid in self.chunks([field]):
            yield columns[field] if valid is None or field == "valid" else columns[field][valid]


def _tables(file: h5py.File) -> list[_Table]:
    found: list[_Table] = []

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.ndim > 0:
            found.append(_Table(name, item))

    file.visititems(visit)
    # The events first, as everything else hangs on them.
    return sorted(found, key=lambda table: table.name != "events")


class _Sums:
    """Sums of weights, in all and by class, gathered while the events go by."""

    def __init__(self) -> None:
        self.n = self.negative = 0
        self.sum = self.squares = 0.0
        self.by_class: dict[int, tuple[int, float]] = {}

    def add(self, columns: dict[str, np.ndarray]) -> None:
        if "weight" not in columns:
            return
        weight = columns["weight"].astype(np.float64)
        self.n += len(weight)
        self.negative += int((weight < 0).sum())
        self.sum += float(weight.sum())
        self.squares += float((weight**2).sum())
        if "label" not in columns:
            return
        for label in np.unique(columns["label"]).tolist():
            mask = columns["label"] == label
            events, total = self.by_class.get(label, (0, 0.0))
            self.by_class[label] = events + int(mask.sum()), total + float(weight[mask].sum())

    def weights(self) -> WeightInfo | None:
        if not self.n:
            return None
        effective = self.sum**2 / self.squares if self.squares else 0.0
        return WeightInfo(self.sum, self.negative, self.negative / self.n, effective)

    def classes(self, labels: list[str]) -> tuple[ClassInfo, ...]:
        numbers = sorted({*range(len(labels)), *self.by_class}) if self.by_class else []
        return tuple(
            ClassInfo(
                labels[number] if 0 <= number < len(labels) else str(number),
                *self.by_class.get(number, (0, 0.0)),
            )
            for number in numbers
        )
