"""Print the coverage of a test run by package, lines and branches; `make coverage` calls it.

`python scripts/coverage_table.py COVERAGE.json`, as `coverage json` writes it
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path

WANTED = 80
"""Percent; packages below are named at the end."""


def by_package(report: dict[str, dict[str, dict[str, dict[str, int]]]]) -> dict[str, list[int]]:
    """Return covered lines, lines, covered branches and branches of each package."""
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for name, file in report["files"].items():
        of = file["summary"]
        counts = (of["covered_lines"], of["num_statements"], of["covered_branches"], of["num_branches"])
        for package in (".".join(Path(name).parts[:2]).removesuffix(".py"), "total"):
            sums[package] = [one + other for one, other in zip(sums[package], counts, strict=True)]
    return dict(sorted(sums.items(), key=lambda item: (item[0] == "total", item[0])))


def main(path: str) -> None:
    """Print the table, and which packages are below ``WANTED``."""
    low = []
    print(f"{'package':28} {'lines':>7} {'covered':>8} {'branches':>9} {'covered':>8}")
    for package, (covered, lines, taken, branches) in by_package(json.loads(Path(path).read_text())).items():
        of_lines, of_branches = (100 * part / whole if whole else 100.0
                                 for part, whole in ((covered, lines), (taken, branches)))  # fmt: skip
        print(f"{package:28} {lines:7} {of_lines:7.1f}% {branches:9} {of_branches:7.1f}%")
        if min(of_lines, of_branches) < WANTED and package != "total":
            low.append(f"{package} ({of_lines:.0f} % of lines, {of_branches:.0f} % of branches)")
    print(f"below {WANTED} %: {', '.join(low) or 'none'}")


if __name__ == "__main__":
    main(sys.argv[1])
