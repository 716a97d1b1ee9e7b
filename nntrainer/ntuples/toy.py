"""``nntrainer generate``: toy ttH ntuples with the branches of ATLAS TTHbb ones (toy_physics says what they are).

The same seed gives the same events, whatever the number of files and the size of the chunks: events are drawn
in blocks of BLOCK proposals, each from its own random stream [seed, sample, block]; those that pass the
preselection are strung together and cut at the number asked for. Asking for more events keeps the first ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nntrainer.errors import InputError, nearest, one_of
from nntrainer.ntuples.toy_detector import MISSING, Reconstructed, cylindrical, reconstruct
from nntrainer.ntuples.toy_physics import BRANCHING, PROCESSES, Event, hard_process, mass, process_of

if TYPE_CHECKING:
    import awkward as ak

SAMPLES = tuple(PROCESSES)
BLOCK = 8192
COLLECTIONS = ("jet", "el", "mu")
RUNS, RUN_SHARES = (284500, 300000, 310000), (0.26, 0.32, 0.42)
# name: (mean, width) of the scale factors
SCALE_FACTORS = {
    "weight_pileup": (1.0, 0.12),
    "weight_leptonSF": (0.98, 0.02),
    "weight_jvt": (0.99, 0.01),
    "weight_bTagSF_DL1r_Continuous": (1.0, 0.08),
}
INTEGERS = ("nJets", "nBTags_DL1r_70", "nElectrons", "nMuons")
# event ids: SAMPLE_BITS of sample number above the index of the proposal, scrambled within ID_BITS
ID_BITS, INDEX_BITS = 40, 34

Columns = dict[
    str, Any
]  # branch or collection to NumPy array or (collections) awkward array of lists of records


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
    progress: Callable[[int], None] | None = None,
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
        progress: Called with the number of events just written.

    Returns:
        The files, by sample.

    Raises:
        InputError: If an argument is not what it may be, or a file exists and ``overwrite`` is not set.
    """
    _check(samples, events, channel, files=files, chunk=chunk)
    output = Path(output)
    paths = {
        sample: [output / (f"{sample}_{i:03d}.root" if files > 1 else f"{sample}.root") for i in range(files)]
        for sample in dict.fromkeys(samples)
    }
    written = [path for of_sample in paths.values() for path in of_sample]
    existing = [str(path) for path in written if path.exists()]
    if existing and not overwrite:
        raise InputError(
            f"The toy generator does not replace {one_of(existing)}: give another output directory or overwrite."
        )
    output.mkdir(parents=True, exist_ok=True)
    edges = np.linspace(0, events, files + 1).astype(int)
    for sample, of_sample in paths.items():
        streams = {
            tree: _Stream(sample, events, seed, tree, channel, alpha_deg, extras)
            for tree in dict.fromkeys(trees)
        }
        for path, entries in zip(of_sample, np.diff(edges), strict=True):
            _write(path, streams, int(entries), chunk, extras, progress)
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
    _check((sample,), events, channel)
    columns = _Stream(sample, events, seed, tree, channel, alpha_deg, extras).take(events)
    flat: dict[str, NDArray | ak.Array] = {}
    for name, values in columns.items():
        if name in COLLECTIONS:
            flat |= {f"{name}_{field}": values[field] for field in values.fields}
        else:
            flat[name] = values
    return flat


def _check(samples: Sequence[str], events: int, channel: str, files: int = 1, chunk: int = 1) -> None:
    for sample in samples:
        process_of(sample)
    if channel not in BRANCHING:
        hint = nearest(channel, BRANCHING)
        raise InputError(f"The toy generator has no channel '{channel}'; it has {one_of(BRANCHING)}.{hint}")
    for name, value in {"events": events, "files": files, "chunk": chunk}.items():
        if value < 1:
            raise InputError(f"The toy generator needs {name} of at least 1, not {value}.")
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
        pilot = len(_block(sample, seed, 0, "nominal_Loose", channel, alpha_deg)["eventNumber"])
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
            yield _block(sample, seed, number, *rest)
            number += 1

    def take(self, events: int) -> Columns:
        """Return the next so many events."""
        while self._count < events:
            block = next(self._blocks)
            size = len(block["eventNumber"])
            block |= {name: np.full(size, value, np.float64) for name, value in self._constants.items()}
            self._held.append(block | _extras(block) if self._extras else block)
            self._count += size
        joined = _join(self._held)
        self._count -= events
        self._held = [{name: values[events:] for name, values in joined.items()}]
        return {name: values[:events] for name, values in joined.items()}


def _join(blocks: list[Columns]) -> Columns:
    import awkward as ak

    return {
        name: (np if isinstance(first, np.ndarray) else ak).concatenate([block[name] for block in blocks])
        for name, first in blocks[0].items()
    }


def _block(sample: str, seed: int, number: int, tree: str, channel: str, alpha_deg: float) -> Columns:
    """Draw one block and return its accepted events."""
    process = process_of(sample)
    rng = np.random.default_rng([seed, process.sample_id, number])
    negative = rng.random(BLOCK) < process.negative_fraction
    weights = {"weight_mc": np.where(negative, -1.0, 1.0)}
    for name, (mean, width) in SCALE_FACTORS.items():
        weights[name] = mean + width * np.clip(rng.standard_normal(BLOCK), -4, 4)
    run = rng.choice(np.array(RUNS, np.uint32), BLOCK, p=RUN_SHARES)
    event = hard_process(rng, sample, BLOCK, channel=channel, alpha_deg=alpha_deg)
    scale, extra = _variation(tree)
    seen = reconstruct(rng, event, channel=channel, scale=scale, extra=extra)
    kept = seen.kept
    columns: Columns = {
        "eventNumber": event_numbers(process.sample_id, number * BLOCK + kept, seed),
        "runNumber": run[kept],
        "mcChannelNumber": np.full(kept.size, process.dsid, np.uint32),
        **{name: values[kept].astype(np.float32) for name, values in weights.items()},
        "HF_SimpleClassification": np.full(kept.size, process.hf_class, np.int32),
        **{
            name: values.astype(np.int32 if name in INTEGERS else np.float32)
            for name, values in seen.scalars.items()
        },
        **_truth(event, kept, sample == "ttH"),
        **_collections(seen),
    }
    return columns


def _variation(tree: str) -> tuple[float, float]:
    """Return the factor on jet energies and the additional resolution of a tree, by its name."""
    sign = tree.endswith("__1up") - tree.endswith("__1down")
    return (1.0, 0.06 * sign) if "JER" in tree else (1.0 + 0.02 * sign, 0.0)


def event_numbers(sample_id: int, index: NDArray[np.intp], seed: int) -> NDArray[np.uint64]:
    """Return unique event ids that tell neither the sample nor the order, not even modulo a small number.

    Consecutive numbers with the sample above would let a network that sees the id know the class, and folds
    by ``eventNumber % k`` depend on it. A bijection of ID_BITS-bit numbers (shift-xor and odd factors, as in
    SplitMix64) keeps them unique within a seed; 40 bits are exact in double precision.
    """
    mask = np.uint64((1 << ID_BITS) - 1)
    start = (sample_id << INDEX_BITS) + int(np.random.default_rng(seed).integers(1 << ID_BITS))
    x = (index.astype(np.uint64) + np.uint64(start)) & mask
    for shift, factor in ((21, 0xBF58476D1CE4E5B9), (17, 0x94D049BB133111EB)):
        x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor) & mask
    return x ^ (x >> np.uint64(20))


def _truth(event: Event, kept: NDArray[np.intp], is_signal: bool) -> Columns:
    columns: Columns = {}
    for name, vectors in (("higgs", event.pair), ("top", event.tops[..., 0]), ("tbar", event.tops[..., 1])):
        chosen = vectors[:, kept]
        parts = (*cylindrical(chosen), mass(chosen))
        for field, values in zip(("pt", "eta", "phi", "m"), parts, strict=True):
            missing = name == "higgs" and not is_signal
            columns[f"truth_{name}_{field}"] = (np.full(kept.size, MISSING) if missing else values).astype(
                "f4"
            )
    return columns


def _collections(seen: Reconstructed) -> Columns:
    """Jets, electrons and muons as awkward arrays of lists of records."""
    slots = next(iter(seen.jets.values())).shape[1]
    present = np.arange(slots) < seen.jet_counts[:, None]
    columns = {"jet": _jagged(seen.jets, present)}
    fields = {name: values for name, values in seen.leptons.items() if name != "is_muon"}
    columns["el"] = _jagged(fields, ~seen.leptons["is_muon"])
    columns["mu"] = _jagged(fields, seen.leptons["is_muon"])
    return columns


def _jagged(fields: Mapping[str, NDArray], present: NDArray[np.bool_]) -> ak.Array:
    import awkward as ak

    contents = [
        ak.contents.NumpyArray(values[present].astype("f4" if values.dtype.kind == "f" else "i4"))
        for values in fields.values()
    ]
    offsets = np.concatenate([[0], np.cumsum(present.sum(axis=1))])
    records = ak.contents.RecordArray(contents, list(fields))
    return ak.Array(ak.contents.ListOffsetArray(ak.index.Index64(offsets), records))


def _extras(block: Columns) -> Columns:
    """Branches that nobody asked for, of every kind that uproot writes; made from the event ids alone."""
    import awkward as ak

    number = block["eventNumber"]
    digits = number[:, None] >> np.arange(0, 16, 4, dtype=np.uint64)
    names = np.array(["Powheg", "Sherpa", "aMcAtNlo", ""])
    counts = (number % np.uint64(4)).astype(np.int64)
    bits = (digits & np.uint64(15)).astype(np.int16)
    return {
        "pass_trigger": number % np.uint64(3) != 0,
        "nPV": (number % np.uint64(61)).astype(np.uint8),
        "time_stamp": (number >> np.uint64(3)).astype(np.int64),
        "generator_name": ak.from_iter(names[counts]),
        "met_covariance": bits.astype(np.float32).reshape(-1, 2, 2),
        "pdf_x": (digits[:, :2] % np.uint64(997)).astype(np.float64) / 997,
        "trigger_bits": ak.unflatten(bits[np.arange(4) < counts[:, None]], counts),
    }


def _write(
    path: Path,
    streams: Mapping[str, _Stream],
    entries: int,
    chunk: int,
    extras: bool,
    progress: Callable[[int], None] | None,
) -> None:
    """Write one file with a tree a stream, aside first."""
    import uproot

    part = path.with_name(path.name + ".part")
    try:
        with uproot.recreate(part, compression=uproot.LZ4(1)) as file:
            for name, stream in streams.items():
                tree = None
                for start in range(0, entries, chunk):
                    columns = stream.take(min(chunk, entries - start))
                    if tree is None:
                        tree = file.mktree(name, {branch: _branch_type(x) for branch, x in columns.items()})
                    tree.extend(columns)
                    if progress is not None:
                        progress(len(columns["eventNumber"]))
            if extras:
                file["cutflow"] = (np.array([entries, entries], float), np.array([0.0, 1.0, 2.0]))
        part.rename(path)
    finally:
        part.unlink(missing_ok=True)


def _branch_type(values: Any) -> Any:
    """What uproot's ``mktree`` wants to know: collections as records share one counter (``njet``)."""
    if isinstance(values, np.ndarray):
        return np.dtype((values.dtype, values.shape[1:]))
    return str(values.type.content)
