"""A short run of the fuzzer, and what longer ones found (`make fuzz MINUTES=20`)."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nntrainer.errors import InPlaceError
from nntrainer.ntuples import add_branches
from nntrainer.ntuples.inplace import InPlace
from nntrainer.ntuples.inplace.fields import I64
from nntrainer.ntuples.inplace.tree import TreeRecord

SCRIPT = Path(__file__).parents[2] / "fuzz" / "inplace.py"


@pytest.fixture(scope="module")
def fuzzer() -> Any:
    spec = importlib.util.spec_from_file_location("fuzz_inplace", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_changed_bytes_give_only_the_named_error(fuzzer: Any, real_files: Path) -> None:
    names = ("uproot-HZZ-objects", "uproot-Zmumu", "uproot-sample-5.30.00-zlib", "uproot-sample-6.16.00-lz4")
    outcomes = fuzzer.run([Path(str(real_files / f"{name}.root")) for name in names], 20, 120, 800, None)
    assert not [outcome for outcome in outcomes if "FOUND" in outcome]
    assert outcomes.total() == 800
    assert {"record accepted", "record refused", "infos refused", "file accepted", "file refused"} <= set(outcomes)


def test_names_of_a_damaged_file_stay_in_one_line(real_files: Path, tmp_path: Path) -> None:
    path = tmp_path / "f.root"
    shutil.copyfile(real_files / "uproot-Zmumu.root", path)
    data = path.read_bytes()
    at = data.rindex(b"\x05TTree\x06events")  # in the list of keys
    path.write_bytes(data[: at + 2] + b"\n\0\x7f\xff" + data[at + 6 :])
    with pytest.raises(InPlaceError) as caught:
        add_branches(path, "events", {"nn": np.zeros(2304, "f4")})
    assert str(caught.value).isprintable()


def test_sums_of_bytes_out_of_all_range(real_files: Path, tmp_path: Path) -> None:
    """Found after 25,040 cases: what a branch that goes claims to hold made the sum too large for its place."""
    path = tmp_path / "f.root"
    shutil.copyfile(real_files / "uproot-Zmumu.root", path)
    with InPlace(path) as file:
        record = file.tree("events").record
    data = bytearray(record.data)
    I64.pack_into(data, record.walk.root.members["fTotBytes"].start, 2**63 - 1)
    for name, value in (("Type", -(2**63)), ("Run", 2**63 - 1)):
        I64.pack_into(data, record.names[name].members["fTotBytes"].start, value)
        changed = TreeRecord(bytes(data), record.keylen, record.kind, record.infos)
        again = TreeRecord(changed.rewritten([], [name], record.keylen), record.keylen, record.kind, record.infos)
        total = I64.unpack_from(again.data, again.walk.root.members["fTotBytes"].start)[0]
        assert 0 <= total <= 2**62
        assert name not in again.names
