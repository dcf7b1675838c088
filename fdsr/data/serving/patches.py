"""Which patch a training sample is: a pure function of seed, epoch and sample."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from fdsr.data.serving.augment import require_flips
from fdsr.data.serving.shares import training_share
from fdsr.errors import FdsrError


class PatchKey(NamedTuple):
    """A patch of one time step, in fine cells; its columns may run past the date line of a periodic grid.

    `row` and `column` lie on coarse cells; the shifts, less than a coarse cell, move patch and coarse grid together. Rows
    or columns are reversed after the patch has been cut.
    """

    time: int
    row: int
    column: int
    row_shift: int = 0
    column_shift: int = 0
    flip_rows: bool = False
    flip_columns: bool = False


class PatchSampler(Sampler[PatchKey]):
    """Draws `patches_per_step` patches of every training step in each epoch, in shuffled order.

    Rows are drawn beyond the edges and moved back inside, so that rows near the poles are seen as often as others; corners
    lie on coarse cells. Patch j of step i in epoch e is drawn from (seed, e, i, j) alone, whatever the number of processes,
    and the order from (seed, e) and a process's place: a resumed run sees what an uninterrupted one would have seen.

    Args:
        block: first and one past the last training step.
        shape, patch: rows and columns of the grid and of a patch; a patch as large as the grid is a whole field.
        factor: fine cells per coarse cell.
        periodic: whether columns close the circle.
        patches_per_step: drawn from each step in an epoch.
        seed: root of all draws.
        shift: also draw shifts of the coarse grid.
        roll: begin whole circles of longitude anywhere instead of at column 0 (narrower patches begin anywhere always).
        flips: axes that half of the patches have reversed, of longitude and latitude.
        areas: of the cells of each row (H,): the middle of a patch is drawn in proportion; None: evenly.
        window: about how many steps the shuffled order draws from at any time; None: all of them. Steps come in one after
            the other and each one's patches are spread over the time in which `window` further ones come in, so a cache
            of 2 · window steps decodes each step once, and at a steady rate.
        rank, world_size: this process's place, see `training_share`.

    Raises FdsrError if the patch does not fit the grid or the factor, or a roll is asked for where there is no circle.
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
        roll: bool = False,
        flips: tuple[str, ...] = (),
        areas: NDArray[np.float64] | None = None,
        window: int | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        for size, limit, f, axis in zip(patch, shape, factor, ("rows", "columns"), strict=True):
            if size % f or not 0 < size <= limit:
                raise FdsrError(f"patch has {size} {axis}; give a multiple of the factor {f}, at most {limit}")
        if roll and not periodic:
            raise FdsrError("data.roll needs longitudes that close the circle; set it to false")
        self.block, self.shape, self.patch, self.factor = block, shape, patch, factor
        self.periodic, self.patches_per_step, self.seed, self.shift = periodic, patches_per_step, seed, shift
        self.roll, self.flips, self.window = roll, require_flips(flips), window
        self.rank, self.world_size = rank, world_size
        self._rows = None if areas is None else self._cumulative(areas)
        self.epoch = 0
        self.skip = 0  # samples of the current epoch already used, when a run resumes in its middle

    @property
    def total(self) -> int:
        """Patches that an epoch draws, over all processes, remainder included."""
        return (self.block[1] - self.block[0]) * self.patches_per_step

    def __len__(self) -> int:
        return len(training_share(self.total, self.rank, self.world_size))

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before every epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[PatchKey]:
        epoch, skip, self.skip = self.epoch, self.skip, 0
        key = np.random.SeedSequence([self.seed, epoch]).generate_state(2, np.uint64)
        for sample in self.order(epoch)[skip:]:
            # a counter-based generator: each sample has its own stretch of 2^64 draws
            rng = np.random.Generator(np.random.Philox(key=key, counter=[0, int(sample), 0, 0]))
            yield self._draw(int(sample) // self.patches_per_step, rng.random(6))

    def order(self, epoch: int) -> NDArray[np.int64]:
        """This process's samples of an epoch in their order; sample = step of the block · patches_per_step + patch."""
        p = self.patches_per_step
        steps = np.random.default_rng([self.seed, epoch]).permutation(self.total // p)
        share = training_share(self.total, self.rank, self.world_size)
        place = np.arange(share.start, share.stop)
        samples = steps[place // p] * p + place % p
        rng = np.random.default_rng([self.seed, epoch, 1 + self.rank])
        if self.window is None:
            return samples[rng.permutation(samples.size)]
        return samples[np.argsort(place // p + self.window * rng.random(samples.size), kind="stable")]

    def _draw(self, step: int, u: NDArray[np.float64]) -> PatchKey:
        row, column = self._corner(u[0], u[1])
        shifts = self._shift(row, column, u[2], u[3])
        flip_columns, flip_rows = ("longitude" in self.flips and u[4] < 0.5), ("latitude" in self.flips and u[5] < 0.5)
        return PatchKey(self.block[0] + step, row, column, *shifts, bool(flip_rows), bool(flip_columns))

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
        drawn = u * (rows + 2 * margin + 1) if self._rows is None else np.searchsorted(self._rows, u, side="right")
        row = int(np.clip(np.floor(drawn) - margin, 0, rows))
        if self.periodic and (self.roll or w < self.shape[1]):
            column = int(v * (self.shape[1] // fx))
        else:
            columns, margin = (self.shape[1] - w) // fx, w // (2 * fx)
            column = int(np.clip(np.floor(v * (columns + 2 * margin + 1)) - margin, 0, columns))
        return row * fy, column * fx

    def _cumulative(self, areas: NDArray[np.float64]) -> NDArray[np.float64]:
        """Share of the rows that a patch may begin at, in the order of `_corner`, up to each: by the area at its middle."""
        f, coarse = self.factor[0], areas.reshape(-1, self.factor[0]).sum(1)
        margin = self.patch[0] // (2 * f)
        middle = np.arange(-margin, coarse.size - self.patch[0] // f + margin + 1) + self.patch[0] / (2 * f)
        total = np.cumsum(np.interp(middle, np.arange(coarse.size) + 0.5, coarse))
        return np.asarray(total / total[-1])
