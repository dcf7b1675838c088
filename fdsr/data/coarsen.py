"""Area-conservative coarsening."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fdsr.grids.cells import FloatArray


def coarsen(field: NDArray, row_areas: FloatArray, factor: tuple[int, int]) -> NDArray[np.float32]:
    """Mean over blocks of factor cells, weighted by cell area: (..., H, W) to (..., H/f_y, W/f_x), float32.

    `row_areas` (H,) are the areas of the rows' cells, so that the coarse field, weighted by the sums of these, has the
    fine field's global mean exactly (to rounding). Sums run in one fixed order: no thread count changes a bit.

    Where values are missing (NaN) the mean is that of the present ones; a block without any is missing.
    """
    fy, fx = factor
    *lead, h, w = field.shape
    present = ~np.isnan(field)
    if not present.all():
        area = row_areas[:, None] * present
        total, share = (
            np.asarray(x).reshape(*lead, h // fy, fy, w // fx, fx).sum((-3, -1), dtype=np.float64)
            for x in (np.where(present, field, 0) * area, area)
        )
        return np.divide(total, share, out=np.full_like(total, np.nan), where=share > 0).astype(np.float32)
    weights = row_areas.reshape(h // fy, fy)
    weights = weights / weights.sum(axis=1, keepdims=True)
    means = np.asarray(field).reshape(*lead, h // fy, fy, w // fx, fx).mean(axis=-1, dtype=np.float64)
    return np.asarray((means * weights[:, :, None]).sum(axis=-2), dtype=np.float32)
