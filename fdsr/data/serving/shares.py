"""Who gets which samples when several processes work together."""

from __future__ import annotations


def training_share(n: int, rank: int, world_size: int) -> range:
    """Places of an epoch's n samples that process `rank` trains on: neighbours, disjoint, equally many everywhere.

    Neighbours, because they come from the same time steps: a step is then decoded by one process, or by two at a border.
    The remainder of up to world_size − 1 samples is left out; the order in which samples take places varies by epoch.
    """
    each = n // world_size
    return range(rank * each, (rank + 1) * each)


def evaluation_share(n: int, rank: int, world_size: int) -> range:
    """Samples that process `rank` evaluates: all of them once over all processes, uneven or empty where n asks for it."""
    return range(rank, n, world_size)
