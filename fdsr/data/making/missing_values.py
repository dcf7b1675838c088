"""What becomes of missing values: one small function a policy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from fdsr.errors import FdsrError

Plane = NDArray[np.float32]


def refuse(plane: Plane, missing: NDArray[np.bool_], periodic: bool, said: str) -> int:
    """Raise FdsrError."""
    raise FdsrError(
        f"{said}; fill them (--missing fill takes the nearest value), mask them (--missing mask), or leave that time out"
    )


def fill(plane: Plane, missing: NDArray[np.bool_], periodic: bool, said: str) -> int:
    """Give every missing value the nearest one in grid points; columns of a periodic grid close the circle."""
    margin = plane.shape[1] // 2 if periodic else 0
    wide = np.pad(missing, ((0, 0), (margin, margin)), mode="wrap")
    rows, columns = distance_transform_edt(wide, return_distances=False, return_indices=True)
    inner = slice(margin, margin + plane.shape[1])
    nearest = plane[rows[:, inner], (columns[:, inner] - margin) % plane.shape[1]]
    plane[missing] = nearest[missing]
    return int(missing.sum())


def mask(plane: Plane, missing: NDArray[np.bool_], periodic: bool, said: str) -> int:
    """Leave missing values missing, infinite ones too: NaN."""
    plane[missing] = np.nan
    return 0


# of a field (H, W), in place, where it misses some values; returns how many were filled
POLICIES: dict[str, Callable[[Plane, NDArray[np.bool_], bool, str], int]] = {
    "error": refuse,
    "fill": fill,
    "mask": mask,
}


def settle(policy: str, fields: Plane, name: str, when: Callable[[int], str], where: str, periodic: bool) -> int:
    """Do to the missing and infinite values of fields (time, H, W) what a policy says; returns how many were filled.

    name, where: the variable and its source. when: the time of a step, in words.

    Raises FdsrError where a whole field is missing, and where the policy refuses, naming variable and time.
    """
    filled, what = 0, f"'{where}': variable '{name}'"
    for i, plane in enumerate(fields):
        missing = ~np.isfinite(plane)
        if missing.all():
            raise FdsrError(f"{what} is all missing at {when(i)}; leave it or that time out")
        if count := int(missing.sum()):
            said = f"{what} has {count} missing or infinite values at {when(i)}"
            filled += POLICIES[policy](plane, missing, periodic, said)
    return filled
