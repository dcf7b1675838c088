"""Cells along one axis: edges, areas, blocks, and whether they are even or close a circle. numpy only."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

EARTH_RADIUS_KM = 6371.0

FloatArray = NDArray[np.float64]


def cell_edges(centres: ArrayLike, lower: float = -np.inf, upper: float = np.inf) -> FloatArray:
    """Edges of the cells around `centres` (n,), halfway between neighbours and clipped to [lower, upper]: (n + 1,).

    A row on the pole itself (|φ| = 90°, as in ERA5) thus gets half a cell, the polar cap. A single centre gets unit width.
    """
    c = np.asarray(centres, dtype=np.float64)
    if c.size == 1:
        return np.clip(np.array([c[0] - 0.5, c[0] + 0.5]), lower, upper)
    middle = 0.5 * (c[1:] + c[:-1])
    edges = np.concatenate([[c[0] - (middle[0] - c[0])], middle, [c[-1] + (c[-1] - middle[-1])]])
    return np.clip(edges, lower, upper)


def block_means(axis: FloatArray, factor: int) -> FloatArray:
    """Centres of blocks of `factor` evenly spaced points."""
    return axis.reshape(-1, factor).mean(axis=1)


def divided(n: int, factor: int) -> FloatArray:
    """Where the middles of `factor` parts of each of n cells lie, counted in cells: (n · factor,)."""
    return np.repeat(np.arange(n, dtype=np.float64), factor) + np.tile((np.arange(factor) + 0.5) / factor - 0.5, n)


def at_shares(axis: FloatArray, shares: FloatArray, step: float) -> FloatArray:
    """The coordinate at `shares`, positions between and beyond the cells of `axis` along its first dimension, linearly.

    `step` is the spacing where there is a single cell.
    """
    if len(axis) == 1:
        return np.asarray(axis + step * shares)
    first = np.floor(shares).astype(np.int64).clip(0, len(axis) - 2)
    share = (shares - first).reshape(-1, *[1] * (axis.ndim - 1))
    return np.asarray(axis[first] + share * (axis[first + 1] - axis[first]))


def places_at_shares(
    latitude: FloatArray | None, longitude: FloatArray | None, rows: FloatArray, columns: FloatArray
) -> tuple[FloatArray | None, FloatArray | None]:
    """True places (H, W) in degrees between those of the cells (h, w), as `at_shares`; None where these are not known."""
    if latitude is None or longitude is None:
        return None, None
    lat, lon = np.deg2rad(latitude), np.deg2rad(longitude)
    # as points in space: no seam at the date line, no singular pole
    space = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)
    x, y, z = np.moveaxis(at_shares(at_shares(space, rows, 0.0).swapaxes(0, 1), columns, 0.0).swapaxes(0, 1), -1, 0)
    return np.rad2deg(np.arctan2(z, np.hypot(x, y))), np.rad2deg(np.arctan2(y, x))


def mean_step(axis: FloatArray) -> float:
    """Mean spacing, positive; 1 for a single point, as `cell_edges` has it."""
    return float(abs(axis[-1] - axis[0]) / (axis.size - 1)) if axis.size > 1 else 1.0


def rounding(axis: FloatArray) -> float:
    """How far coordinates may be apart for no more than being kept in single precision."""
    return 2 * float(np.spacing(np.float32(np.abs(axis).max(initial=0.0))))


def is_even(axis: FloatArray, tolerance: float) -> bool:
    """Whether neighbours are equally far apart, to a share `tolerance` of the mean spacing or as single precision allows."""
    step = mean_step(axis)
    return bool(np.all(np.abs(np.abs(np.diff(axis)) - step) <= tolerance * step + rounding(axis)))


def positions(have: FloatArray, want: FloatArray, circle: bool, tolerance: float) -> NDArray[np.int64] | None:
    """Index into `have` of each of `want`, no two the same; None if one is farther than `tolerance` spacings of `want`.

    On a `circle` of degrees, 359 and −1 are one place.
    """
    keys = np.mod(have, 360.0) + np.array([[-360.0], [0.0], [360.0]]) if circle else have[None]
    order = np.argsort(keys, axis=None, kind="stable")
    line, sought = keys.ravel()[order], np.mod(want, 360.0) if circle else want
    right = np.searchsorted(line, sought).clip(0, line.size - 1)
    left = (right - 1).clip(0)
    near = np.where(np.abs(line[left] - sought) < np.abs(line[right] - sought), left, right)
    index = order[near] % have.size
    close = np.abs(line[near] - sought) <= tolerance * mean_step(want) + rounding(want)
    return index if close.all() and np.unique(index).size == index.size else None


def around_circle(longitude: FloatArray) -> tuple[NDArray[np.int64], FloatArray]:
    """(positions, values) of longitudes in degrees from west to east, each place once, beginning east of the widest gap.

    The values increase, and are those given but for whole turns: 358, 359, 0, 1 become 358, 359, 360, 361.
    """
    apart = np.abs(np.diff(longitude))
    apart = apart[apart > rounding(longitude)]
    # of a fine grid of a small part its spacing is less than a thousandth of a degree
    finest = 0.1 * float(np.median(apart)) if apart.size else np.inf
    slack = min(1e-3 * 360.0 / max(longitude.size, 360), finest) + rounding(longitude)
    first = longitude[0] if longitude.size < 2 or np.median(np.diff(longitude)) > 0 else longitude[-1]
    east = np.mod(longitude - first + slack, 360.0) - slack
    order = np.argsort(np.round(east / slack), kind="stable")  # of equal places the first comes first
    order = order[np.diff(east[order], prepend=-np.inf) > slack]
    gaps = np.diff(east[order], append=360.0)
    # where no gap is wider than the others the first value stays the first
    widest = int(gaps.argmax()) + 1 if gaps.max() > 1.01 * np.median(gaps) + slack else 0
    order = np.roll(order, -widest)
    given = longitude[order]
    turned = given[0] + np.mod(east[order] - east[order[0]], 360.0)
    return order, given + 360.0 * np.round((turned - given) / 360.0)
