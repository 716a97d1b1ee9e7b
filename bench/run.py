"""Measure the hot paths beside their floors and rivals: ``python bench/run.py [--quick] [ROW ...]``.

A row is a module beside this one with ``rows(quick) -> list[Row]``, run in a process of its own. Figures go to
bench/results.json, the table to docs/benchmarks.md; only rows that ran are replaced. ``--quick`` runs on fewer events,
prints the table and writes nothing. The exit code is 1 when a row failed or, not quick, missed what is wanted of it.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.measure import RIVAL_PYTHON, ROOT, Row, median, ratios, spread

ROWS = ("convert", "training", "callbacks", "out_of_core", "inject", "horovod", "deploy_verbs")
RESULTS = ROOT / "bench" / "results.json"
PAGE = ROOT / "docs" / "benchmarks.md"
PACKAGES = ("numpy", "uproot", "awkward", "h5py", "onnxruntime", "tensorflow-cpu", "keras", "horovod")
RIVALS = ("numpy", "pandas", "tables", "uproot", "weaver-core", "torch", "lightning", "onnxruntime")

INTRODUCTION = """# Benchmarks
`make bench` measures what the project exists for beside two yardsticks. The **floor** is what the work costs without
this project: the bytes that must be read and written and the arithmetic that must be done, by the same libraries, one
after the other. A **rival** is what people use instead; rivals come from PyPI, each in a process of its own in
`.venv-bench`. The contenders of a row do the same work in turns, in one run, from a warm page cache; a number is the
median of the rounds with half the distance between the quartiles, a ratio is the median of the rounds' own ratios.
`make bench-quick` does the same on fewer events and writes nothing.
"""


def available() -> list[str]:
    """Return the rows that there are."""
    return [name for name in ROWS if (ROOT / "bench" / f"{name}.py").exists()]


def measured(row: Row) -> dict[str, Any]:
    """Return a row with what follows from its samples, as plain data."""
    rival_ratios = {name: ratios(samples, row.ours) for name, samples in row.rivals.items()}
    floor_ratios = ratios(row.ours, row.floor) if row.floor else []
    found: dict[str, Any] = {
        **asdict(row),
        "median": {"ours": median(row.ours)} | {name: median(samples) for name, samples in row.rivals.items()},
        "spread": {"ours": spread(row.ours)} | {name: spread(samples) for name, samples in row.rivals.items()},
        "ratios": {name: {"median": median(each), "spread": spread(each)} for name, each in rival_ratios.items()},
    }
    misses = []
    if row.floor:
        found["median"]["floor"], found["spread"]["floor"] = median(row.floor), spread(row.floor)
        found["ratios"]["floor"] = {"median": median(floor_ratios), "spread": spread(floor_ratios)}
        if row.at_most is not None and median(floor_ratios) > row.at_most:
            misses.append("floor")
    if row.below is not None and median(row.ours) > row.below:
        misses.append("ours")
    misses += [
        name for name, least in row.at_least.items() if name in rival_ratios and median(rival_ratios[name]) < least
    ]
    return found | {"misses": misses}


def machine() -> dict[str, Any]:
    """Return what the figures were taken on."""
    cpu = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0))
    return {"cpu": cpu, "cores": cores, "memory_gib": round(memory), "system": platform.platform(terse=True)}


def versions() -> dict[str, dict[str, str]]:
    """Return the versions of the packages that matter, of this environment and of the rivals'."""
    ours = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            ours[name] = version(name)
        except PackageNotFoundError:
            continue
    rivals = {}
    if RIVAL_PYTHON.exists():
        command = [str(RIVAL_PYTHON), "-m", "pip", "list", "--format", "json"]
        listed = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        rivals = {each["name"]: each["version"] for each in listed if each["name"] in RIVALS}
    return {"ours": ours, "rivals": rivals}


def commit() -> str:
    """Return the commit, marked where the working tree differs from it."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


def run(name: str, quick: bool) -> list[dict[str, Any]] | None:
    """Run a row module in a process of its own; return its rows, or None when it fails."""
    print(f"{name}:", file=sys.stderr, flush=True)
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        command = [sys.executable, __file__, "--into", file.name, *(["--quick"] if quick else []), name]
        if subprocess.run(command).returncode:
            return None
        return list(json.loads(Path(file.name).read_text()))


def cell(row: Mapping[str, Any], name: str) -> str:
    """Return a median with its spread."""
    if name not in row["median"]:
        return "—"
    value, off = row["median"][name], row["spread"][name]
    digits = 1 if value >= 100 else 2 if value >= 1 else 4
    return f"{value:.{digits}f} ± {off:.{digits}f} {row['unit']}"


def ratio(row: Mapping[str, Any], name: str, wanted: str) -> str:
    """Return a ratio with its spread and what is wanted; bold where it is missed."""
    if name not in row["ratios"]:
        return "—"
    value = row["ratios"][name]
    text = f"{value['median']:.2f} ± {value['spread']:.2f}"
    text = f"**{text}**" if name in row["misses"] else text
    return f"{text} ({wanted})" if wanted else text


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the table of some rows."""
    lines = [
        "| work | ours | floor | ours ÷ floor | rival | its time | rival ÷ ours |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        ours = cell(row, "ours")
        if row["below"] is not None:
            ours = f"{f'**{ours}**' if 'ours' in row['misses'] else ours} (< {row['below']:g})"
        wanted = "" if row["at_most"] is None else f"≤ {row['at_most']:.4g}"
        first = f"| {row['work']} | {ours} | {cell(row, 'floor')} | {ratio(row, 'floor', wanted)} |"
        rivals = [
            (name, cell(row, name), ratio(row, name, f"≥ {row['at_least'][name]:g}" if name in row["at_least"] else ""))
            for name in row["rivals"]
        ]
        rivals += [(name, f"not measured: {why}", "—") for name, why in row["missing"].items()]
        for number, (name, time, times) in enumerate(rivals or [("—", "—", "—")]):
            lines.append(f"{first if number == 0 else '| | | | |'} {name} | {time} | {times} |")
    notes = [f"{row['work']}: {row['note']}" for row in rows if row["note"]]
    return "\n".join(lines + ([""] + [f"* {note}" for note in notes] if notes else [])) + "\n"


def page(results: Mapping[str, Any]) -> str:
    """Return docs/benchmarks.md."""
    parts = [INTRODUCTION, "In brackets what is wanted; bold is what misses it.\n"]
    for name in ROWS:
        if name not in results:
            continue
        there = results[name]
        where = there["machine"]
        packages = ", ".join(f"{key} {value}" for key, value in there["versions"]["ours"].items())
        rivals = ", ".join(f"{key} {value}" for key, value in there["versions"]["rivals"].items())
        parts.append(f"## {name.replace('_', ' ').capitalize()}\n{table(there['rows'])}")
        parts.append(
            f"<small>{there['date']}, commit {there['commit']}, {where['cores']} cores of {where['cpu']}, "
            f"{where['memory_gib']} GiB, {where['system']}; {packages}"
            + (f"; rivals: {rivals}" if rivals else "")
            + "</small>\n"
        )
    return "\n".join(parts)


def main() -> int:
    """Run rows, write and print what comes of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(available())}; all if absent")
    parser.add_argument("--quick", action="store_true", help="fewer events; nothing is written")
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    for name in given.rows:
        if name not in available():
            parser.error(f"there is no row '{name}'; rows are {', '.join(available())}")
    if given.into:
        module = importlib.import_module(f"bench.{given.rows[0]}")
        given.into.write_text(json.dumps([measured(row) for row in module.rows(given.quick)]))
        return 0
    bad = []
    for name in given.rows or available():
        rows = run(name, given.quick)
        if rows is None:
            bad.append(f"{name} failed")
            continue
        print(table(rows), flush=True)
        if given.quick:
            continue
        bad += [f"{row['work']} misses what is wanted: {', '.join(row['misses'])}" for row in rows if row["misses"]]
        results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        about = {
            "date": f"{datetime.now(UTC):%Y-%m-%d}",
            "commit": commit(),
            "machine": machine(),
            "versions": versions(),
        }
        results[name] = {**about, "rows": rows}
        RESULTS.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
        PAGE.write_text(page(results))
    for line in bad:
        print(line, file=sys.stderr)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
