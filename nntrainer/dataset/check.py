"""``nntrainer check --data``: does every file hold what the configuration reads?"""

from __future__ import annotations

from dataclasses import dataclass

from nntrainer.config import Config
from nntrainer.dataset.build import required_branches
from nntrainer.errors import InputError
from nntrainer.files import expand
from nntrainer.ntuples.reader import open_tree


@dataclass(frozen=True)
class Checked:
    """A sample whose files are all readable: how many there are, their entries, the branches read."""

    sample: str
    files: int
    entries: int
    branches: int


def check_data(config: Config) -> list[Checked]:
    """Open every file of every sample and look up every branch; nothing is read but metadata and one entry.

    Args:
        config: the configuration.

    Returns:
        One entry a sample.

    Raises:
        InputError: a file, tree or branch is missing; the message has a line a file.
    """
    found, problems = [], []
    for sample in config.data.samples:
        entries = branches = 0
        try:
            paths = expand(sample.files)
        except InputError as error:
            problems.append(str(error))
            continue
        for path in paths:
            try:
                with open_tree(path, sample.tree or config.data.tree) as tree:
                    names = required_branches(config, sample, tree.branches)
                    tree.read(names, 0, min(1, tree.entries))
                    entries += tree.entries
                    branches = len(names)
            except InputError as error:
                problems.append(str(error))
        found.append(Checked(sample.name, len(paths), entries, branches))
    if problems:
        raise InputError("\n".join(dict.fromkeys(problems)))
    return found
