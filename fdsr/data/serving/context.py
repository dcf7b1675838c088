"""The surroundings of a training patch: a larger window that the network sees, of which the loss counts the patch alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fdsr.data.serving.patches import PatchKey


class Surroundings:
    """Windows of one size that reach `context` coarse cells beyond a patch on each side, as far as the grid goes.

    At the edge of a grid that does not close there is nothing beyond. There the window ends where the grid does and reaches
    farther on the other side: networks pad it as they pad whole fields, and a point of the patch sees what it sees in those.
    Columns of a closed circle go round it, and a window as wide as the circle is one.

    Args:
        shape, patch: rows and columns of the grid and of a patch.
        factor: fine cells per coarse cell.
        periodic: whether columns close the circle.
        context: coarse cells on each side.
        shift: whether patches are moved by parts of a coarse cell, which takes a cell from the grid.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        patch: tuple[int, int],
        factor: tuple[int, int],
        periodic: bool,
        context: int,
        shift: bool = False,
    ) -> None:
        self.shape, self.patch, self.factor, self.periodic = shape, patch, factor, periodic
        loose = (shift, shift and not periodic)
        self.size = tuple(
            max(h, min(h + 2 * context * f, limit - f * spare))
            for h, f, limit, spare in zip(patch, factor, shape, loose, strict=True)
        )

    def around(self, key: PatchKey) -> tuple[PatchKey, NDArray[np.int64], NDArray[np.int64]]:
        """The window of `key`'s patch, and the rows (h,) and columns (w,) of the window that are the patch, in order."""
        row, top = self._begin(0, key.row, key.row_shift)
        column, left = self._begin(1, key.column, key.column_shift)
        rows, columns = top + np.arange(self.patch[0]), left + np.arange(self.patch[1])
        # mirrored as the window is, the patch in it keeps its own order
        if key.flip_rows:
            rows = self.size[0] - self.patch[0] - top + np.arange(self.patch[0])
        if key.flip_columns:
            columns = self.size[1] - self.patch[1] - left + np.arange(self.patch[1])
        return key._replace(row=row, column=column), rows, columns

    def _begin(self, axis: int, start: int, shift: int) -> tuple[int, int]:
        """Where the window of a patch from `start` on begins along an axis, and how far in it the patch does."""
        f = self.factor[axis]
        before = (self.size[axis] - self.patch[axis]) // (2 * f) * f
        if axis == 1 and self.periodic:
            return (start - before) % self.shape[1], before
        last = (self.shape[axis] - shift) // f * f - self.size[axis]
        begin = min(max(start - before, 0), last)
        return begin, start - begin
