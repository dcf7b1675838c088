"""Area-conservative coarsening on the sphere."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fdsr.errors import FdsrError
from fdsr.geometry import FloatArray


def rows_kept(latitude: FloatArray, factor: int) -> tuple[int, int]:
    """(rows used, rows dropped) of a north-first latitude axis under the pole rule.

    A pole-to-pole axis of k·factor + 1 rows loses its southernmost row (ERA5 has 181 or 721). Any other remainder is an
    error.
    """
    n = latitude.size
    remainder = n % factor
    if remainder == 0:
        return n, 0
    pole_to_pole = abs(abs(latitude[0]) - 90) < 1e-6 and abs(abs(latitude[-1]) - 90) < 1e-6
    if remainder == 1 and pole_to_pole:
        return n - 1, 1
    raise FdsrError(
        f"the latitude axis has {n} rows, not divisible by the factor {factor}; "
        f"crop it (--crop LAT_MIN,LAT_MAX,LON_MIN,LON_MAX) to a multiple, for instance {n - remainder} rows"
    )


def coarsen(field: NDArray, row_weights: FloatArray, factor: tuple[int, int]) -> NDArray[np.float32]:
    """Mean over blocks of factor cells, weighted by cell area: (..., H, W) to (..., H/f_y, W/f_x), float32.

    `row_weights` (H,) are the areas of the rows' cells, so that the coarse field, weighted by the sums of these, has the
    fine field's global mean exactly (to rounding). Sums run in one fixed order: no thread count changes a bit.

    Where values are missing (NaN) the mean is that of the present ones; a block without any is missing.
    """
    fy, fx = factor
    *lead, h, w = field.shape
    present = ~np.isnan(field)
    if not present.all():
        area = row_weights[:, None] * present
        total, share = (
            np.asarray(x).reshape(*lead, h // fy, fy, w // fx, fx).sum((-3, -1), dtype=np.float64)
            for x in (np.where(present, field, 0) * area, area)
        )
        return np.divide(total, share, out=np.full_like(total, np.nan), where=share > 0).astype(np.float32)
    weights = row_weights.reshape(h // fy, fy)
    weights = weights / weights.sum(axis=1, keepdims=True)
    means = np.asarray(field).reshape(*lead, h // fy, fy, w // fx, fx).mean(axis=-1, dtype=np.float64)
    return np.asarray((means * weights[:, :, None]).sum(axis=-2), dtype=np.float32)


def block_means(axis: FloatArray, factor: int) -> FloatArray:
    """Centres of blocks of `factor` evenly spaced points."""
    return axis.reshape(-1, factor).mean(axis=1)
