"""Rectangles of a grid: what a split by region takes of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from fdsr.grids import Grid

T = TypeVar("T")  # an array or a tensor


class Window(NamedTuple):
    """Rows and columns of a grid, each from the first to one past the last."""

    top: int
    bottom: int
    left: int
    right: int

    @classmethod
    def whole(cls, shape: tuple[int, int]) -> Window:
        """All of a grid."""
        return cls(0, shape[0], 0, shape[1])

    @classmethod
    def of_splits(cls, attributes: Mapping[str, Any]) -> dict[str, Window]:
        """Those of a pair store with these attributes, by split; none where it is split by time."""
        return {name: cls(*edges) for name, edges in attributes.get("windows", {}).items()}

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self.bottom - self.top, self.right - self.left

    def coarse(self, factor: tuple[int, int]) -> Window:
        """The same place on the coarse grid, whose cells it consists of."""
        return Window(self.top // factor[0], self.bottom // factor[0], self.left // factor[1], self.right // factor[1])

    def cut(self, values: T) -> T:
        """Its part of `values` (…, H, W); a view."""
        return values[..., self.top : self.bottom, self.left : self.right]  # type: ignore[index]

    def part(self, grid: Grid) -> Grid:
        """Its part of a grid."""
        return grid.part(slice(self.top, self.bottom), slice(self.left, self.right))

    def placed(self, values: NDArray, shape: tuple[int, int]) -> NDArray:
        """`values` (…, *its own shape) where they belong on a grid of `shape`, missing elsewhere."""
        out = np.full((*values.shape[:-2], *shape), np.nan, dtype=values.dtype)
        self.cut(out)[...] = values
        return out
