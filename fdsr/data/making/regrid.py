"""From one rectilinear grid to another, by two matrices: one along the rows, one along the columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from fdsr.data.making.sources.axes import is_projected
from fdsr.errors import FdsrError
from fdsr.geometry import FloatArray, cell_edges, is_periodic_longitude


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


def regridding(ds: xr.Dataset, lat: FloatArray, lon: FloatArray, where: str) -> Regridding:
    """How fields of a normalised `ds` come to the cells around `lat` (north first) and `lon` (west to east).

    Along an axis where the source is as fine as the target or finer, cells are averaged by the area they share with the
    target's (first-order conservative); where it is coarser, values are interpolated linearly. Raises FdsrError if the
    source does not reach all of the target.
    """
    have_lat, have_lon = (ds[axis].values.astype(np.float64) for axis in ("lat", "lon"))
    if have_lat.shape == lat.shape and have_lon.shape == lon.shape:
        step = abs(lat[1] - lat[0]) if lat.size > 1 else 1.0
        if np.allclose(have_lat, lat, atol=1e-3 * step) and np.allclose(have_lon, lon, atol=1e-3 * step):
            return Regridding(np.eye(0), np.eye(0), identity=True)
    sphere = not is_projected(ds)
    periodic = sphere and is_periodic_longitude(have_lon)
    rows = _row_matrix(lat, have_lat, sphere)
    columns = _column_matrix(lon, have_lon, periodic, sphere)
    for matrix, axis, have, want in ((rows, "lat", have_lat, lat), (columns, "lon", have_lon, lon)):
        if not np.allclose(matrix.sum(1), 1):
            raise FdsrError(
                f"'{where}' covers {axis} {have.min():g}…{have.max():g}, not all of {want.min():g}…{want.max():g}; "
                "crop the fine grid to what both cover (--crop)"
            )
    return Regridding(rows, columns, identity=False)


def _row_matrix(target: FloatArray, source: FloatArray, sphere: bool) -> FloatArray:
    if _coarser(source, target):
        # beyond the outermost rows (to the poles) the last value holds
        reach = 0.5 * abs(source[1] - source[0]) if source.size > 1 else 0.0
        return _linear(-target, -source, reach)
    if not sphere:
        return _shared(cell_edges(target), cell_edges(source))
    target_edges, source_edges = (np.sin(np.deg2rad(cell_edges(a, -90.0, 90.0))) for a in (target, source))
    return _shared(target_edges, source_edges)


def _column_matrix(target: FloatArray, source: FloatArray, periodic: bool, sphere: bool) -> FloatArray:
    if periodic:
        # three turns of the source, of which the target sees what it needs; turns are folded back into one
        n = source.size
        turns = np.concatenate([source - 360.0, source, source + 360.0])
        shift = 360.0 * np.round((source.mean() - target.mean()) / 360.0)
        matrix = _column_matrix(target + shift, turns, periodic=False, sphere=sphere)
        return matrix.reshape(target.size, 3, n).sum(1)
    if sphere:
        target = target + 360.0 * np.round((source.mean() - target.mean()) / 360.0)
    if _coarser(source, target):
        reach = 0.5 * abs(source[1] - source[0]) if source.size > 1 else 0.0
        return _linear(target, source, reach)
    return _shared(cell_edges(target), cell_edges(source))


def _coarser(source: FloatArray, target: FloatArray) -> bool:
    if source.size < 2 or target.size < 2:
        return False
    return bool(abs(source[1] - source[0]) > 1.001 * abs(target[1] - target[0]))


def _shared(target: FloatArray, source: FloatArray) -> FloatArray:
    """Part of each target cell that each source cell covers, from the cells' edges: (n_target, n_source)."""
    t_low, t_high = np.minimum(target[:-1], target[1:]), np.maximum(target[:-1], target[1:])
    s_low, s_high = np.minimum(source[:-1], source[1:]), np.maximum(source[:-1], source[1:])
    shared = np.minimum(t_high[:, None], s_high) - np.maximum(t_low[:, None], s_low)
    covered: FloatArray = np.clip(shared, 0.0, None) / (t_high - t_low)[:, None]
    return np.where(covered < 1e-12, 0.0, covered)


def _linear(target: FloatArray, source: FloatArray, reach: float) -> FloatArray:
    """Linear interpolation at ascending `target` from ascending `source`; the end values hold up to `reach` beyond."""
    matrix = np.zeros((target.size, source.size))
    inside = (target >= source[0] - reach - 1e-9) & (target <= source[-1] + reach + 1e-9)
    position = np.interp(target, source, np.arange(source.size))
    left = np.clip(np.floor(position).astype(int), 0, source.size - 2)
    part = position - left
    rows = np.arange(target.size)
    matrix[rows, left] = 1 - part
    matrix[rows, left + 1] = part
    return np.asarray(matrix * inside[:, None])
