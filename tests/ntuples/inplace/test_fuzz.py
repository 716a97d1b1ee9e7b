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
