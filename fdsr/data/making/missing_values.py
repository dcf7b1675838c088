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


LARGEST = 1e15  # of any variable of weather; marks such as 1e20 and 9.97e36 are beyond it
# where they are the lowest or the highest value of a field, in several places
MARKS = np.array(
    [-999.0, -9999.0, -99999.0, -999999.0, -99.9, -999.9, -9999.9, -9.99e8, -1e10, -32767.0, -32768.0, 9999.0, 99999.0, 999999.0,
     9999.9, 1e10, 32767.0, 65535.0], np.float32,
)  # fmt: skip


def _missing(plane: Plane) -> tuple[NDArray[np.bool_], str]:
    """(which values of a plane are missing, what a mark among them looks like)."""
    finite = np.isfinite(plane)
    values = plane[finite]
    if not values.size:
        return ~finite, ""
    marked = ~finite
    mark = values[np.argmax(np.abs(values))]
    if beyond := bool(abs(mark) >= LARGEST):
        marked |= np.abs(plane) >= LARGEST
        values = values[np.abs(values) < LARGEST]
    lowest, highest = (values.min(), values.max()) if values.size else (mark, mark)
    if found := [v for v in (lowest, highest) if v in MARKS and np.count_nonzero(values == v) > 1]:
        mark = mark if beyond else found[0]
        marked |= np.isin(plane, found)
    elif not beyond:
        return marked, ""
    return marked, f" (marked by {mark:g}, which no attribute _FillValue says)"


def settle(policy: str, fields: Plane, name: str, when: Callable[[int], str], where: str, periodic: bool) -> int:
    """Do to the missing and infinite values of fields (time, H, W) what a policy says; returns how many were filled.

    Marks of missing values that the source's attributes do not say (1e20, −9999) are missing values.

    name, where: the variable and its source. when: the time of a step, in words.

    Raises FdsrError where a whole field is missing, and where the policy refuses, naming variable and time.
    """
    filled, what = 0, f"'{where}': variable '{name}'"
    for i, plane in enumerate(fields):
        missing, mark = _missing(plane)
        if missing.all():
            raise FdsrError(f"{what} is all missing at {when(i)}; leave it or that time out")
        if count := int(missing.sum()):
            said = f"{what} has {count} missing or infinite values{mark} at {when(i)}"
            filled += POLICIES[policy](plane, missing, periodic, said)
    return filled


# in which neighbouring rows have to differ for it to be told which way round they run; in fewer chance decides
MIN_CELLS = 16


def require_straight_rows(plane: Plane, name: str, when: str, where: str) -> None:
    """Raise FdsrError where rows of a field (H, W) run the other way than their neighbours, as a mis-read scan order leaves them.

    That is where two neighbours differ less than half as much once one of them is turned round.
    """
    step, turned = (np.abs(plane[1:] - other) for other in (plane[:-1], plane[:-1, ::-1]))
    known = ~np.isnan(step) & ~np.isnan(turned)
    straight, reverse = (np.where(known, x, 0).sum(1) for x in (step, turned))
    jumps = np.flatnonzero((reverse < 0.5 * straight) & ((known & (step > 0)).sum(1) >= MIN_CELLS))
    if jumps.size == 0:
        return
    rows = [str(i + 1) for i in jumps[::2]]  # a run of them begins with one jump and ends with another
    which = (
        f"row {rows[0]}"
        if len(rows) == 1
        else f"each of the rows {', '.join(rows[:4])}{', …' if len(rows) > 4 else ''}"
    )
    which = "every second row" if jumps.size > len(straight) / 2 else which
    differ = (f"{x[jumps].mean() / plane.shape[1]:.3g}" for x in (straight, reverse))
    raise FdsrError(
        f"'{where}': {which} of '{name}' seems to be reversed at {when}: neighbours differ by {' and by '.join(differ)} with one of them "
        "turned round; write it anew with a tool that knows its scan order (cdo -f nc copy)"
    )
