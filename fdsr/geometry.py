"""Geometry of latitude-longitude grids: cell edges, areas and distances. numpy only."""

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


def latitude_weights(latitude: ArrayLike) -> FloatArray:
    """Area of each latitude row, |sin φ_{j+½} − sin φ_{j−½}| at the cell edges (n,); latitude in degrees, any order."""
    edges = np.deg2rad(cell_edges(latitude, -90.0, 90.0))
    return np.abs(np.diff(np.sin(edges)))


def is_periodic_longitude(longitude: ArrayLike) -> bool:
    """Whether evenly spaced longitudes in degrees close the circle: n · Δλ = 360°."""
    lon = np.asarray(longitude, dtype=np.float64)
    if lon.size < 2:
        return False
    step = (lon[-1] - lon[0]) / (lon.size - 1)
    return bool(abs(abs(step) * lon.size - 360.0) < 0.01 * abs(step))


def spacing_km(latitude: ArrayLike, longitude: ArrayLike) -> tuple[float, float]:
    """Grid spacing (dy, dx) in km at the mean latitude of the rows: dy = a Δφ, dx = a cos φ̄ Δλ (angles in radians)."""
    lat, lon = np.asarray(latitude, dtype=np.float64), np.asarray(longitude, dtype=np.float64)
    d_lat = abs(lat[-1] - lat[0]) / (lat.size - 1) if lat.size > 1 else 1.0
    d_lon = abs(lon[-1] - lon[0]) / (lon.size - 1) if lon.size > 1 else 1.0
    dy = EARTH_RADIUS_KM * np.deg2rad(d_lat)
    dx = EARTH_RADIUS_KM * np.cos(np.deg2rad(lat.mean())) * np.deg2rad(d_lon)
    return float(dy), float(dx)
