"""What scores need of a grid: the areas of its cells, its spacing, and how it is cut for spectra."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fdsr.errors import FdsrError
from fdsr.geometry import EARTH_RADIUS_KM, cell_edges, is_periodic_longitude, latitude_weights
from fdsr.metrics.boxes import Band, ZonalBand, latlon_bands, projected_bands, zonal_bands

# spacing may vary by this share of itself before a spectrum over it loses its meaning; Gaussian latitudes vary less
UNEVEN = 0.05


@dataclass(frozen=True)
class Grid:
    """A rectilinear grid: latitudes (H,) and longitudes (W,) in degrees, or y and x in km when `projected`."""

    rows: np.ndarray
    columns: np.ndarray
    projected: bool = False

    def __post_init__(self) -> None:
        if not self.projected and self.columns.ndim == 1:
            # … 359, 0, 1 … is a line too
            object.__setattr__(self, "columns", np.unwrap(self.columns, period=360.0))
        for axis, values in (("row", self.rows), ("column", self.columns)):
            steps = np.diff(values)
            if values.ndim != 1 or values.size == 0 or not np.isfinite(values).all():
                raise FdsrError(f"the {axis} coordinates of a grid must be one line of finite numbers")
            if not ((steps > 0).all() or (steps < 0).all()):
                raise FdsrError(f"the {axis} coordinates of a grid must increase or decrease throughout")

    def weights(self) -> Tensor:
        """Area of the cells: (H,) where the columns are evenly spaced, else (H, W); in an arbitrary unit."""
        rows = np.abs(np.diff(cell_edges(self.rows))) if self.projected else latitude_weights(self.rows)
        if _even(self.columns, 1e-3):
            return torch.from_numpy(rows)
        return torch.from_numpy(rows[:, None] * np.abs(np.diff(cell_edges(self.columns)))[None, :])

    @property
    def periodic(self) -> bool:
        """Whether the columns close the circle of longitude."""
        return not self.projected and _even(self.columns, UNEVEN) and is_periodic_longitude(self.columns)

    @property
    def dy(self) -> float:
        """Spacing of the rows in km."""
        return _step(self.rows) if self.projected else EARTH_RADIUS_KM * np.deg2rad(_step(self.rows))

    @property
    def dx(self) -> np.ndarray:
        """Spacing of the columns in km, row by row (H,); 0 on a pole."""
        if self.projected:
            return np.full(self.rows.size, _step(self.columns))
        cosine = np.where(np.abs(self.rows) >= 90.0, 0.0, np.cos(np.deg2rad(self.rows)))
        return EARTH_RADIUS_KM * np.deg2rad(_step(self.columns)) * cosine

    def bands(self) -> list[Band]:
        """Boxes for spectra; none where the spacing is uneven."""
        if not (_even(self.rows, UNEVEN) and _even(self.columns, UNEVEN)):
            return []
        if self.projected:
            return projected_bands((self.rows.size, self.columns.size), (self.dy, _step(self.columns)))
        return latlon_bands(self.rows, self.columns)

    def zonal_bands(self) -> list[ZonalBand]:
        """Circles of longitude for zonal spectra; none where the columns do not close one."""
        return zonal_bands(self.rows, self.columns) if self.periodic else []


def _step(coordinate: np.ndarray) -> float:
    """Mean spacing; 1 for a single point, as `fdsr.geometry.cell_edges` has it."""
    return float(abs(coordinate[-1] - coordinate[0]) / (coordinate.size - 1)) if coordinate.size > 1 else 1.0


def _even(coordinate: np.ndarray, tolerance: float) -> bool:
    """Whether neighbours are equally far apart to a share `tolerance` of the mean spacing."""
    return bool(np.all(np.abs(np.abs(np.diff(coordinate)) - _step(coordinate)) <= tolerance * _step(coordinate)))
