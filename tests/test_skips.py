"""A skip is a failure where NNTRAINER_TESTS_COMPLETE says that nothing is missing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
HOOKS = "from tests.conftest import pytest_make_collect_report, pytest_runtest_makereport\n"
SKIPS = {
    "call": "def test_it(): pytest.skip('no call')",
    "mark": "@pytest.mark.skipif(True, reason='no mark')\ndef test_it(): pass",
    "fixture": "@pytest.fixture\ndef it(): pytest.skip('no fixture')\ndef test_it(it): pass",
    "module": "pytest.importorskip('no_such_module', reason='no module')",
    "allowed": "def test_it(): pytest.skip('there is a GPU')",
    "expected": "@pytest.mark.xfail\ndef test_it(): assert False",
}


def test_what_must_not_be_skipped_fails_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(HOOKS)
    for name, text in SKIPS.items():
        (tmp_path / f"test_{name}.py").write_text(f"import pytest\n{text}\n")

    def run(complete: str) -> tuple[int, str]:
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "NNTRAINER_TESTS_COMPLETE": complete}
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--continue-on-collection-errors"]
        done = subprocess.run(
            [*command, "--rootdir", tmp_path, tmp_path], env=environment, capture_output=True, text=True, cwd=tmp_path
        )
        return done.returncode, done.stdout

    code, said = run("0")
    assert code == 0 and "5 skipped, 1 xfailed" in said
    code, said = run("1")
    assert code == 1 and "1 failed, 1 skipped, 1 xfailed, 3 errors" in said
    assert all(f"must not be skipped: Skipped: no {name}" in said for name in ("call", "mark", "fixture"))
    assert "must not be skipped: Skipped: no module" in said
