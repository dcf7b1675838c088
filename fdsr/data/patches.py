"""Which patch a training sample is: a pure function of (seed, epoch, index)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from torch.utils.data import Sampler

from fdsr.errors import FdsrError


class PatchKey(NamedTuple):
    """A patch of one time step, in fine cells; its columns may run past the date line of a periodic grid.

    `row` and `column` lie on coarse cells; the shifts, less than a coarse cell, move patch and coarse grid together.
    """

    time: int
    row: int
    column: int
    row_shift: int = 0
    column_shift: int = 0


class PatchSampler(Sampler[PatchKey]):
    """Draws `patches_per_step` patches of every training step in each epoch, in shuffled order.

    Rows are drawn beyond the edges and moved back inside, so that rows near the poles are seen as often as others; corners
    lie on coarse cells. Epoch e, sample i is the same whatever happened before: a resumed run sees what an uninterrupted
    one would have seen. Under several processes every rank takes its stride of the same order, all equally many.
    """

    def __init__(
        self,
        block: tuple[int, int],
        shape: tuple[int, int],
        patch: tuple[int, int],
        factor: tuple[int, int],
        periodic: bool,
        patches_per_step: int,
        seed: int,
        shift: bool = False,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        for size, limit, f, axis in zip(patch, shape, factor, ("rows", "columns"), strict=True):
            if size % f or not 0 < size <= limit:
                raise FdsrError(
                    f"patch has {size} {axis}; it must be a multiple of the factor {f} and at most the grid's {limit}"
                )
        self.block, self.shape, self.patch, self.factor = block, shape, patch, factor
        self.periodic, self.patches_per_step, self.seed, self.shift = periodic, patches_per_step, seed, shift
        self.rank, self.world_size = rank, world_size
        self.epoch = 0
        self.skip = 0  # samples of the current epoch already used, when a run resumes in its middle

    def __len__(self) -> int:
        return (self.block[1] - self.block[0]) * self.patches_per_step // self.world_size

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before every epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[PatchKey]:
        n = len(self) * self.world_size
        steps = self.block[1] - self.block[0]
        rng = np.random.default_rng([self.seed, self.epoch])
        order = rng.permutation(steps * self.patches_per_step)[:n]
        positions, shifts = rng.random((n, 2)), rng.random((n, 2))
        skip, self.skip = self.skip, 0
        for i in range(self.rank + skip * self.world_size, n, self.world_size):
            row, column = self._corner(*positions[i])
            yield PatchKey(self.block[0] + int(order[i]) % steps, row, column, *self._shift(row, column, *shifts[i]))

    def _shift(self, row: int, column: int, u: float, v: float) -> tuple[int, int]:
        if not self.shift:
            return 0, 0
        rows, columns = int(u * self.factor[0]), int(v * self.factor[1])
        if not self.periodic:
            columns = min(columns, self.shape[1] - self.patch[1] - column)
        return min(rows, self.shape[0] - self.patch[0] - row), columns

    def _corner(self, u: float, v: float) -> tuple[int, int]:
        (h, w), (fy, fx) = self.patch, self.factor
        rows, margin = (self.shape[0] - h) // fy, h // (2 * fy)
        row = int(np.clip(np.floor(u * (rows + 2 * margin + 1)) - margin, 0, rows))
        if self.periodic:
            column = int(v * (self.shape[1] // fx))
        else:
            columns, margin = (self.shape[1] - w) // fx, w // (2 * fx)
            column = int(np.clip(np.floor(v * (columns + 2 * margin + 1)) - margin, 0, columns))
        return row * fy, column * fx
