"""``nntrainer generate``: toy ttH ntuples with the branches of ATLAS TTHbb ones (see toy_physics).

The same seed gives the same events, whatever the number of files and the size of the chunks: events are drawn
in blocks of BLOCK proposals, each from its own random stream [seed, sample, block]; those that pass the
preselection are strung together and cut at the number asked for. Asking for more events keeps the first ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nntrainer.errors import InputError, nearest, one_of
from nntrainer.files import aside
from nntrainer.ntuples.toy_branches import BLOCK, Columns, draw_block, extra_branches
from nntrainer.ntuples.toy_physics import BRANCHING, PROCESSES, process_of
from nntrainer.progress import Progress, silent

if TYPE_CHECKING:
    import awkward as ak

SAMPLES = tuple(PROCESSES)
COLLECTIONS = ("jet", "el", "mu")


def generate(
    output: Path,
    *,
    samples: Sequence[str] = SAMPLES,
    events: int = 20000,
    seed: int = 42,
    files: int = 1,
    trees: Sequence[str] = ("nominal_Loose",),
    channel: str = "ljets",
    alpha_deg: float = 0.0,
    extras: bool = False,
    chunk: int = 100_000,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> list[Path]:
    """Write toy ntuples, ``<sample>.root`` or, when there are several files, ``<sample>_000.root`` and so on.

    Args:
        output: Directory, made when missing.
        samples: Which of SAMPLES.
        events: Entries of each tree of each sample, over all its files.
        seed: Same seed, same events.
        files: Files of each sample.
        trees: Names of trees. One that ends in ``__1up`` or ``__1down`` has its jets smeared (``JER`` in
            the name) or scaled by 2 %; the events it shares with the others have the same ids.
        channel: ``ljets`` or ``dilepton``.
        alpha_deg: CP-mixing angle of ttH in degrees.
        extras: Add what nobody asked for: strings, booleans, matrices, jagged integers, a histogram.
        chunk: Events written (and held in memory) at a time.
        overwrite: Replace existing files.
        progress: Told how far the work has come.

    Returns:
        The files, by sample.

    Raises:
        InputError: If an argument is not what it may be, or a file exists and ``overwrite`` is not set.
    """
    _check(samples, events, channel, seed, files=files, chunk=chunk)
    output = Path(output)
    paths = {
        sample: [output / (f"{sample}_{i:03d}.root" if files > 1 else f"{sample}.root") for i in range(files)]
        for sample in dict.fromkeys(samples)
    }
    written = [path for of_sample in paths.values() for path in of_sample]
    existing = [str(path) for path in written if path.exists()]
    if existing and not overwrite:
        raise InputError(f"The toy generator does not replace {one_of(existing)}: give another directory or overwrite.")
    output.mkdir(parents=True, exist_ok=True)
    edges = np.linspace(0, events, files + 1).astype(int)
    progress = progress or silent()
    for sample, of_sample in paths.items():
        progress.start(f"generate {sample}", events * len(set(trees)))
        streams = {
            tree: _Stream(sample, events, seed, tree, channel, alpha_deg, extras) for tree in dict.fromkeys(trees)
        }
        for path, entries in zip(of_sample, np.diff(edges), strict=True):
            _write(path, streams, int(entries), chunk, extras, progress)
        progress.finish()
    return written


def generate_arrays(
    sample: str,
    events: int,
    seed: int = 42,
    *,
    tree: str = "nominal_Loose",
    channel: str = "ljets",
    alpha_deg: float = 0.0,
    extras: bool = False,
) -> dict[str, NDArray | ak.Array]:
    """Return the toy events of one tree as arrays by branch name, equal to what ``generate`` writes.

    Args:
        sample: One of SAMPLES.
        events: How many.
        seed: As for ``generate``; likewise ``tree``, ``channel``, ``alpha_deg`` and ``extras``.
        tree: Name of the tree, which may be a systematic variation.
        channel: ``ljets`` or ``dilepton``.
        alpha_deg: CP-mixing angle of ttH in degrees.
        extras: With the branches that nobody asked for.

    Returns:
        NumPy arrays of shape (events, ...), awkward arrays for jagged branches and strings.

    Raises:
        InputError: If an argument is not what it may be.
    """
    _check((sample,), events, channel, seed)
    columns = _Stream(sample, events, seed, tree, channel, alpha_deg, extras).take(events)
    flat: dict[str, NDArray | ak.Array] = {}
    for name, values in columns.items():
        if name in COLLECTIONS:
            flat |= {f"{name}_{field}": values[field] for field in values.fields}
        else:
            flat[name] = values
    return flat


def _check(samples: Sequence[str], events: int, channel: str, seed: int, files: int = 1, chunk: int = 1) -> None:
    for sample in samples:
        process_of(sample)
    if channel not in BRANCHING:
        hint = nearest(channel, BRANCHING)
        raise InputError(f"The toy generator has no channel '{channel}'; it has {one_of(BRANCHING)}.{hint}")
    for name, value, least in (
        ("events", events, 1),
        ("files", files, 1),
        ("chunk", chunk, 1),
        ("seed", seed, 0),
    ):
        if value < least:
            raise InputError(f"The toy generator needs {name} of at least {least}, not {value}.")
    if files > events:
        raise InputError(f"The toy generator cannot spread {events} events over {files} files.")


class _Stream:
    """The accepted events of one tree of one sample, in order, in pieces of any size."""

    def __init__(
        self, sample: str, events: int, seed: int, tree: str, channel: str, alpha_deg: float, extras: bool
    ) -> None:
        process = process_of(sample)
        # What a real file gets from the sum over all generated events: here those the preselection removed
        # are known from the first block, so that it needs no second pass.
        pilot = len(draw_block(sample, seed, 0, "nominal_Loose", channel, alpha_deg)["eventNumber"])
        self._constants = {
            "xsec_times_BR": process.cross_section_pb * BRANCHING[channel],
            "totalEventsWeighted": events * BLOCK / max(pilot, 1) * (1 - 2 * process.negative_fraction),
        }
        self._extras = extras
        self._blocks = self._generate(sample, seed, tree, channel, alpha_deg)
        self._held: list[Columns] = []
        self._count = 0

    def _generate(self, *arguments: Any) -> Iterator[Columns]:
        sample, seed, *rest = arguments
        number = 0
        while True:
            yield draw_block(sample, seed, number, *rest)
            number += 1

    def take(self, events: int) -> Columns:
        """Return the next so many events."""
        while self._count < events:
            block = next(self._blocks)
            size = len(block["eventNumber"])
            block |= {name: np.full(size, value, np.float64) for name, value in self._constants.items()}
            self._held.append(block | extra_branches(block) if self._extras else block)
            self._count += size
        joined = _join(self._held)
        self._count -= events
        self._held = [{name: _own(values[events:]) for name, values in joined.items()}]
        return {name: values[:events] for name, values in joined.items()}


def _own(values: Any) -> Any:
    """Return a slice as an array of its own: as a view it would keep all earlier events in memory."""
    import awkward as ak

    return values.copy() if isinstance(values, np.ndarray) else ak.to_packed(values)


def _join(blocks: list[Columns]) -> Columns:
    import awkward as ak

    return {
        name: (np if isinstance(first, np.ndarray) else ak).concatenate([block[name] for block in blocks])
        for name, first in blocks[0].items()
    }


def _write(
    path: Path,
    streams: Mapping[str, _Stream],
    entries: int,
    chunk: int,
    extras: bool,
    progress: Progress,
) -> None:
    """Write one file with a tree a stream, aside first."""
    import uproot

    with aside(path) as part, uproot.recreate(part, compression=uproot.LZ4(1)) as file:
        for name, stream in streams.items():
            tree = None
            for start in range(0, entries, chunk):
                columns = stream.take(min(chunk, entries - start))
                if tree is None:
                    tree = file.mktree(name, {branch: _branch_type(x) for branch, x in columns.items()})
                tree.extend(columns)
                progress.advance(len(columns["eventNumber"]))
        if extras:
            file["cutflow"] = (np.array([entries, entries], float), np.array([0.0, 1.0, 2.0]))


def _branch_type(values: Any) -> Any:
    """What uproot's ``mktree`` wants to know: collections as records share one counter (``njet``)."""
    if isinstance(values, np.ndarray):
        return np.dtype((values.dtype, values.shape[1:]))
    return str(values.type.content)
