"""The branches of the toy ntuples: a block of events through physics and detector to arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nntrainer.ntuples.toy_detector import Reconstructed, cylindrical, reconstruct
from nntrainer.ntuples.toy_physics import Event, hard_process, mass, process_of
from nntrainer.ntuples.toy_variables import MISSING, event_variables

if TYPE_CHECKING:
    import awkward as ak

BLOCK = 8192
RUNS, RUN_SHARES = (284500, 300000, 310000), (0.26, 0.32, 0.42)
# name: (mean, width) of the scale factors
SCALE_FACTORS = {
    "weight_pileup": (1.0, 0.12),
    "weight_leptonSF": (0.98, 0.02),
    "weight_jvt": (0.99, 0.01),
    "weight_bTagSF_DL1r_Continuous": (1.0, 0.08),
}
INTEGERS = ("nJets", "nBTags_DL1r_70", "nElectrons", "nMuons")
# event ids: the sample's number above INDEX_BITS of proposal number, scrambled
ID_BITS, INDEX_BITS = 40, 34

# branch to array, collection to awkward array of lists of records
Columns = dict[str, Any]


def draw_block(sample: str, seed: int, number: int, tree: str, channel: str, alpha_deg: float) -> Columns:
    """Draw one block of BLOCK proposals.

    Args:
        sample: Key of PROCESSES.
        seed: Of the whole generation.
        number: Of the block.
        tree: Name of the tree; its end says which systematic variation.
        channel: ``ljets`` or ``dilepton``.
        alpha_deg: CP-mixing angle in degrees.

    Returns:
        The branches of the events that pass, with jets and leptons as collections ``jet``, ``el``, ``mu``.
    """
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
    scalars = seen.scalars | event_variables(seen.jets, seen.jet_counts, seen.leptons)
    columns: Columns = {
        "eventNumber": event_numbers(process.sample_id, number * BLOCK + kept, seed),
        "runNumber": run[kept],
        "mcChannelNumber": np.full(kept.size, process.dsid, np.uint32),
        **{name: values[kept].astype(np.float32) for name, values in weights.items()},
        "HF_SimpleClassification": np.full(kept.size, process.hf_class, np.int32),
        **{name: values.astype(np.int32 if name in INTEGERS else np.float32) for name, values in scalars.items()},
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
            if name == "higgs" and not is_signal:
                values = np.full(kept.size, MISSING)
            columns[f"truth_{name}_{field}"] = values.astype(np.float32)
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


def extra_branches(block: Columns) -> Columns:
    """Return branches that nobody asked for, of every kind uproot writes, made from the event ids alone."""
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
