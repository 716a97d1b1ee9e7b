"""Clusters: runs of entries that a tree's writer flushed together; baskets had better end where they do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Clusters:
    """Ranges of entries (first, last + 1, entries of a cluster; 0 if not known)."""

    ranges: tuple[tuple[int, int, int], ...]

    def boundary(self, start: int, limit: int) -> int:
        """Return where a basket that begins at ``start`` ends: at most ``limit`` entries on, at a cluster's end."""
        stop = start + limit
        best = 0
        for first, end, size in self.ranges:
            if first >= stop:
                break
            if end <= stop:
                best = end
            elif size > 0:
                best = max(best, first + (stop - first) // size * size)
        return best if best > start else stop


def clusters_of(ends: Sequence[int], sizes: Sequence[int], flush: int, entries: int) -> Clusters:
    """Return the clusters of a tree.

    Args:
        ends: last entry of each range (``fClusterRangeEnd``).
        sizes: entries of a cluster in each (``fClusterSize``).
        flush: entries of a cluster behind them (``fAutoFlush``), if positive.
        entries: of the tree.

    Returns:
        The clusters.
    """
    ranges, first = [], 0
    for end, size in zip(ends, sizes, strict=True):
        if end + 1 > first:
            ranges.append((first, end + 1, max(0, size)))
            first = end + 1
    if first < entries:
        ranges.append((first, entries, max(0, flush)))
    return Clusters(tuple(ranges))
