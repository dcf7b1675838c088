"""What becomes of missing values: one small function a policy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from fdsr.errors import FdsrError


def refuse(fields: NDArray[np.float32], name: str, when: Callable[[int], str], where: str, periodic: bool) -> int:
    """Raise FdsrError at the first missing or infinite value of fields (time, H, W), naming variable and time."""
    for i, plane in enumerate(fields):
        missing = ~np.isfinite(plane)
        if missing.all():
            raise FdsrError(f"'{where}': variable '{name}' is all missing at {when(i)}; leave it or that time out")
        if missing.any():
            raise FdsrError(
                f"'{where}': variable '{name}' has {int(missing.sum())} missing or infinite values at {when(i)}; "
                "fill them (--missing fill takes the nearest value), mask them (--missing mask), or leave that time out"
            )
    return 0


def fill(fields: NDArray[np.float32], name: str, when: Callable[[int], str], where: str, periodic: bool) -> int:
    """Give every missing value of fields (time, H, W), in place, the nearest value in grid points; returns how many.

    Columns of a periodic grid close the circle. Raises FdsrError where a whole field is missing.
    """
    filled = 0
    for i, plane in enumerate(fields):
        missing = ~np.isfinite(plane)
        if not missing.any():
            continue
        if missing.all():
            raise FdsrError(f"'{where}': variable '{name}' is all missing at {when(i)}; leave it or that time out")
        margin = plane.shape[1] // 2 if periodic else 0
        wide = np.pad(missing, ((0, 0), (margin, margin)), mode="wrap")
        rows, columns = distance_transform_edt(wide, return_distances=False, return_indices=True)
        inner = slice(margin, margin + plane.shape[1])
        nearest = plane[rows[:, inner], (columns[:, inner] - margin) % plane.shape[1]]
        fields[i] = np.where(missing, nearest, plane)
        filled += int(missing.sum())
    return filled


def mask(fields: NDArray[np.float32], name: str, when: Callable[[int], str], where: str, periodic: bool) -> int:
    """Leave missing values of fields (time, H, W) missing, infinite ones too: NaN, in place. Nothing is filled.

    Raises FdsrError where a whole field is missing.
    """
    fields[~np.isfinite(fields)] = np.nan
    for i, plane in enumerate(fields):
        if np.isnan(plane).all():
            raise FdsrError(f"'{where}': variable '{name}' is all missing at {when(i)}; leave it or that time out")
    return 0


POLICIES: dict[str, Callable[[NDArray[np.float32], str, Callable[[int], str], str, bool], int]] = {
    "error": refuse,
    "fill": fill,
    "mask": mask,
}
