"""From one rectilinear grid to another, by two matrices: one along the rows, one along the columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fdsr.errors import FdsrError
from fdsr.grids import Grid
from fdsr.grids.cells import FloatArray, cell_edges, mean_step


@dataclass(frozen=True)
class Regridding:
    """fine (..., H, W) ↦ rows @ fine @ columnsᵀ; identity leaves fields untouched."""

    rows: FloatArray  # (h, H), each row sums to one
    columns: FloatArray  # (w, W)
    identity: bool

    def __call__(self, field: NDArray) -> NDArray[np.float32]:
        """Fields (..., H, W) on the target grid (..., h, w), float32.

        Where values are missing (NaN) those present make up the cell; a cell that sees none is missing.
        """
        if self.identity:
            return np.asarray(field, dtype=np.float32)
        present = ~np.isnan(field)
        if present.all():
            return self._apply(np.asarray(field, dtype=np.float64)).astype(np.float32)
        total, share = self._apply(np.where(present, field, 0.0)), self._apply(present.astype(np.float64))
        return np.divide(total, share, out=np.full_like(total, np.nan), where=share > 1e-9).astype(np.float32)

    def _apply(self, field: FloatArray) -> FloatArray:
        # along one axis at a time, so that every product is small and its order of summation fixed
        out = np.einsum("hH,...HW->...hW", self.rows, field)
        return np.asarray(np.einsum("wW,...hW->...hw", self.columns, out))


def regridding(source: Grid, target: Grid, where: str) -> Regridding:
    """How fields of `source`, which `where` holds, come to the cells of `target`; both north first and west to east.

    Along an axis where the source is as fine as the target or finer, cells are averaged by the area they share with the
    target's (first-order conservative); where it is coarser, values are interpolated linearly. Raises FdsrError if the
    source has another projection, or does not reach all of the target.
    """
    if not source.projected_as(target):
        other = (
            target.projection if source.projection != target.projection else "another one (pole, parallels or meridian)"
        )
        raise FdsrError(f"'{where}' lies on {source.projection}, not on {other}; regrid it to that first")
    source = source.in_units(target.units)
    if source.lies_on(target, 1e-3):
        return Regridding(np.eye(0), np.eye(0), identity=True)
    rows, columns = _row_matrix(target, source), _column_matrix(target, source)
    for matrix, axis, have, want in zip(
        (rows, columns), target.names, (source.rows, source.columns), (target.rows, target.columns), strict=True
    ):
        if not np.allclose(matrix.sum(1), 1):
            raise FdsrError(
                f"'{where}' covers {axis} {have.min():g}…{have.max():g}, not all of {want.min():g}…{want.max():g}; "
                "crop the fine grid to what both cover (--crop)"
            )
    return Regridding(rows, columns, identity=False)


def _row_matrix(target: Grid, source: Grid) -> FloatArray:
    if _coarser(source.rows, target.rows):
        # beyond the outermost rows (to the poles) the last value holds
        return _linear(-target.rows, -source.rows)
    edges = source.row_edges.copy()
    if source.spherical:
        # the outermost of Gaussian rows reach to the poles, though not by half their spacing
        reach = np.deg2rad(mean_step(source.rows))
        edges[[0, -1]] = [np.sign(e) if np.arccos(abs(e)) < reach else e for e in edges[[0, -1]]]
    return _shared(target.row_edges, edges)


def _column_matrix(target: Grid, source: Grid) -> FloatArray:
    have, want = source.columns, target.columns
    if source.spherical:
        want = want + 360.0 * np.round((have.mean() - want.mean()) / 360.0)
    if not source.periodic:
        return _along_columns(want, have)
    # three turns of the source, of which the target sees what it needs; turns are folded back into one
    turns = np.concatenate([have - 360.0, have, have + 360.0])
    return _along_columns(want, turns).reshape(want.size, 3, have.size).sum(1)


def _along_columns(target: FloatArray, source: FloatArray) -> FloatArray:
    return _linear(target, source) if _coarser(source, target) else _shared(cell_edges(target), cell_edges(source))


def _coarser(source: FloatArray, target: FloatArray) -> bool:
    return min(source.size, target.size) > 1 and mean_step(source) > 1.001 * mean_step(target)


def _shared(target: FloatArray, source: FloatArray) -> FloatArray:
    """Part of each target cell that each source cell covers, from the cells' edges: (n_target, n_source)."""
    t_low, t_high = np.minimum(target[:-1], target[1:]), np.maximum(target[:-1], target[1:])
    s_low, s_high = np.minimum(source[:-1], source[1:]), np.maximum(source[:-1], source[1:])
    shared = np.minimum(t_high[:, None], s_high) - np.maximum(t_low[:, None], s_low)
    covered: FloatArray = np.clip(shared, 0.0, None) / (t_high - t_low)[:, None]
    return np.where(covered < 1e-12, 0.0, covered)


def _linear(target: FloatArray, source: FloatArray) -> FloatArray:
    """Linear interpolation at ascending `target` from ascending `source`; the end values hold half a cell beyond."""
    reach = 0.5 * mean_step(source)
    matrix = np.zeros((target.size, source.size))
    inside = (target >= source[0] - reach - 1e-9) & (target <= source[-1] + reach + 1e-9)
    position = np.interp(target, source, np.arange(source.size))
    left = np.clip(np.floor(position).astype(int), 0, source.size - 2)
    part = position - left
    rows = np.arange(target.size)
    matrix[rows, left] = 1 - part
    matrix[rows, left + 1] = part
    return np.asarray(matrix * inside[:, None])
