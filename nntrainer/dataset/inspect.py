"""``nntrainer inspect``: what is in an HDF5 or ROOT file, in bounded memory."""

from __future__ import annotations

from pathlib import Path

from nntrainer.dataset.inspection import Inspection
from nntrainer.errors import InputError

_HDF5, _ROOT = b"\x89HDF\r\n\x1a\n", b"root"


def inspect(
    path: str | Path,
    *,
    field: str | None = None,
    head: int = 0,
    tree: str | None = None,
) -> Inspection:
    """Look into a file.

    Args:
        path: an HDF5 file (dataset files say more of themselves than others) or a ROOT file.
        field: look at this field only, in depth; ``name``, or ``group.name`` where several groups have it.
        head: give the first rows.
        tree: look at this tree, or HDF5 dataset, only.

    Returns:
        Datasets or trees with their fields; with ``field``, quantiles and a histogram in ``detail``.

    Raises:
        NNTrainerError: the file is missing, damaged or of another kind, or has no such field or tree.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    with path.open("rb") as handle:
        magic = handle.read(8)
    if magic == _HDF5:
        from nntrainer.dataset.inspect_hdf5 import inspect_hdf5

        return inspect_hdf5(path, field, head, tree)
    if magic[:4] == _ROOT:
        from nntrainer.dataset.inspect_root import inspect_root

        return inspect_root(path, field, head, tree)
    raise InputError(f"{path}: neither an HDF5 nor a ROOT file; inspect reads dataset files and ntuples")
