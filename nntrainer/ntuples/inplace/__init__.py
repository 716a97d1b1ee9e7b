"""Add branches to TTrees in place: new baskets and a new tree record are appended, old baskets are not touched.

From the bottom up: :mod:`fields` and :mod:`keys` (numbers, strings, keys of records), :mod:`compression`,
:mod:`opening` and :mod:`layout` (the file as a whole and its crash-safe change), :mod:`schema`, :mod:`walk` and
:mod:`streamers` (what is in a record and which tags point where), :mod:`tree` (the record with a branch more),
:mod:`baskets`, :mod:`clusters` and :mod:`branch` (what is new), :mod:`add` (all of it), :mod:`writer` (for `inject`).
"""

from nntrainer.ntuples.inplace.add import InPlace, TreeBranches, add_branches
from nntrainer.ntuples.inplace.baskets import BranchType, branch_type

__all__ = ["BranchType", "InPlace", "TreeBranches", "add_branches", "branch_type"]
