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


def crew(n: int, rank: int, world_size: int) -> tuple[int, int, int]:
    """(crew, place in it, its size) of process `rank` where n pieces of work are shared: the crew makes what is its own together.

    A crew is one process unless pieces are fewer than processes; then there are n crews of equally many, and those of the
    remainder stand in further ones, which have nothing to do.
    """
    size = max(1, world_size // max(1, n))
    return rank // size, rank % size, size


def crews(n: int, world_size: int) -> int:
    """How many crews have something to do."""
    return max(1, min(n, world_size))
