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


def latitude_edges(latitude: ArrayLike) -> FloatArray:
    """sin φ at the edges of latitude rows (n + 1,), in degrees, any order: differences of it are areas on the sphere."""
    return np.sin(np.deg2rad(cell_edges(latitude, -90.0, 90.0)))


def block_means(axis: FloatArray, factor: int) -> FloatArray:
    """Centres of blocks of `factor` evenly spaced points."""
    return axis.reshape(-1, factor).mean(axis=1)


def mean_step(axis: FloatArray) -> float:
    """Mean spacing, positive; 1 for a single point, as `cell_edges` has it."""
    return float(abs(axis[-1] - axis[0]) / (axis.size - 1)) if axis.size > 1 else 1.0


def is_even(axis: FloatArray, tolerance: float) -> bool:
    """Whether neighbours are equally far apart to a share `tolerance` of the mean spacing."""
    step = mean_step(axis)
    return bool(np.all(np.abs(np.abs(np.diff(axis)) - step) <= tolerance * step))


def closes_circle(longitude: FloatArray) -> bool:
    """Whether evenly spaced longitudes in degrees close the circle: n · Δλ = 360°."""
    step = mean_step(longitude)
    return longitude.size > 1 and bool(abs(step * longitude.size - 360.0) < 0.01 * step)
