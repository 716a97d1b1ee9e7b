"""Which objects can make a particle: every choice of slots, written once.

A particle of k objects among N slots has N(N-1)…(N-k+1) choices; those that only exchange what the configuration calls
symmetric are one candidate. What is learnt and what is decoded is the number of a candidate, so that an exchange cannot
change anything: the minimum over permutations of SPANet's loss (arXiv 2010.09206, equations 6 and 7) is taken here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import permutations

import numpy as np

from nntrainer.config.targets import Particle


@dataclass(frozen=True)
class Candidates:
    """The candidates of a particle.

    Attributes:
        slots: (C, k) int32, the slots of each, in the order of the ids; the one with the lowest slots among those that
            are the same candidate.
        places: (C, P) int32, where the P choices that are this candidate stand in a flattened (N, …, N) tensor.
        members: (C, N) bool, which slots each one takes.
    """

    slots: np.ndarray
    places: np.ndarray
    members: np.ndarray

    def sums(self, particle: Particle) -> list[np.ndarray]:
        """Return (C, N) bool, which slots make the particle, then each group of its exchangeable objects."""
        groups = () if isinstance(particle.symmetric, bool) else particle.symmetric
        columns = [[particle.ids.index(each) for each in group] for group in groups if len(group) > 1]
        parts = [each for each in columns if len(each) < len(particle.ids)]
        slots = np.arange(self.members.shape[1])
        return [self.members, *((self.slots[:, each, None] == slots).any(axis=1) for each in parts)]

    def number(self, slots: np.ndarray) -> np.ndarray:
        """Return which candidates these are.

        Args:
            slots: (n, k) int slots in the order of the ids, -1 where an object is missing.

        Returns:
            (n,) int32, -1 where one of the objects is missing or two are the same.
        """
        count, k = self.members.shape[1], self.slots.shape[1]
        table = np.full(count**k, -1, np.int32)
        table[self.places] = np.arange(len(self.slots), dtype=np.int32)[:, None]
        place = np.zeros(len(slots), np.int64)
        for position in range(k):
            place = place * count + slots[:, position]
        there = (slots >= 0).all(axis=1)
        return np.where(there, table[np.where(there, place, 0)], -1).astype(np.int32)


def candidates(particle: Particle, slots: int) -> Candidates:
    """Return the candidates of a particle among so many slots."""
    return _candidates(len(particle.ids), particle.exchanges(), slots)


@cache
def _candidates(k: int, exchanges: tuple[tuple[int, ...], ...], slots: int) -> Candidates:
    strides = slots ** np.arange(k - 1, -1, -1)
    choices = [
        choice
        for choice in permutations(range(slots), k)
        if choice == min(tuple(choice[place] for place in order) for order in exchanges)
    ]
    chosen = np.array(choices, np.int32).reshape(-1, k)
    places = np.stack([chosen[:, list(order)] @ strides for order in exchanges], axis=1)
    members = (chosen[:, :, None] == np.arange(slots)).any(axis=1)
    return Candidates(chosen, places.astype(np.int32), members)
