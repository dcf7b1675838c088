"""Where an axis is cut into overlapping tiles, and the weights by which they are put together again."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

RAMP = 16  # points over which the weight passes from one tile to the next


@dataclass(frozen=True)
class Axis:
    """The cuts of an axis: where each tile starts, how long all of them are, and what weight their points have (n, size)."""

    starts: tuple[int, ...]
    size: int
    weights: Tensor

    @property
    def whole(self) -> bool:
        """Whether the axis is not cut at all."""
        return len(self.starts) == 1

    @property
    def evaluated(self) -> int:
        """Points of all tiles together."""
        return len(self.starts) * self.size


def cut(length: int, core: int, margin: int, stride: int, circle: bool) -> Axis:
    """Cuts of `length` points, a multiple of `stride`, into the fewest tiles with a core of at most `core` points, or a little more.

    All are equally long and start at multiples of `stride`. On a `circle` the last goes on at its beginning; otherwise the outer
    tiles end where the axis does, with full weight up to there.
    """
    reach = _up(2 * margin + RAMP, stride)
    free = length if circle else length - reach  # that must be covered by cores
    n = max(1, -(-free // _up(core, stride)))
    size = _up(-(-free // n), stride) + reach
    if n == 1 or size >= length:
        return Axis((0,), length, torch.ones(1, length))
    last = length - length // n if circle else length - size
    starts = tuple(i * last // (n - 1) // stride * stride for i in range(n))
    point = torch.arange(size) + 0.5
    rise = _smooth((point - margin) / RAMP)
    weights = torch.stack(
        [
            (rise if circle or start > 0 else torch.ones(size))
            * (rise.flip(0) if circle or start + size < length else torch.ones(size))
            for start in starts
        ]
    )
    total = torch.zeros(length)
    places = [(start + torch.arange(size)) % length for start in starts]
    for place, weight in zip(places, weights, strict=True):
        total.index_add_(0, place, weight)
    return Axis(starts, size, torch.stack([w / total[p] for p, w in zip(places, weights, strict=True)]))


def _up(n: int, multiple: int) -> int:
    return -(-n // multiple) * multiple


def _smooth(u: Tensor) -> Tensor:
    """From 0 at u ≤ 0 to 1 at u ≥ 1, with f(u) + f(1 − u) = 1."""
    u = u.clamp(0, 1)
    return u.square() * (3 - 2 * u)


def cheapest(
    shape: tuple[int, int], margins: tuple[int, int], stride: int, wrap: bool, points: int
) -> tuple[Axis, Axis]:
    """Of the cuts into tiles of at most so many points those that evaluate fewest in all; the smallest tiles where none are."""
    rows, columns = (
        [cut(n, -(-n // parts), margin, stride, circle) for parts in range(1, 2 + n // max(2 * margin, 64))]
        for n, margin, circle in zip(shape, margins, (False, wrap), strict=True)
    )
    pairs = list(product(rows, columns))
    fitting = [(r, c) for r, c in pairs if r.size * c.size <= points]
    if not fitting:
        return min(pairs, key=lambda pair: pair[0].size * pair[1].size)
    return min(fitting, key=lambda pair: pair[0].evaluated * pair[1].evaluated)
