"""The two grids of a pair: the fine one of the source, and the coarse one of its blocks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from fdsr.data.coarsen import block_means, rows_kept
from fdsr.data.making.sources.axes import PROJECTION, is_projected
from fdsr.errors import FdsrError
from fdsr.geometry import FloatArray, is_periodic_longitude, latitude_weights


@dataclass(frozen=True)
class PairGrid:
    """Fine rows and columns, and what follows from them and the factor.

    On a latitude-longitude grid `lat` and `lon` are degrees, north first and west to east. On a projected grid they are y
    and x in the source's unit, `mapping` holds the CF grid mapping, and `latitude`, `longitude` (H, W) the true places.
    """

    lat: FloatArray  # (H,)
    lon: FloatArray  # (W,)
    row_weights: FloatArray  # (H,) areas of the cells of a row, up to a factor
    factor: tuple[int, int]
    dropped: int = 0
    mapping: dict[str, Any] | None = None
    axis_attributes: dict[str, dict[str, Any]] = field(default_factory=dict)
    latitude: NDArray | None = None
    longitude: NDArray | None = None

    @property
    def names(self) -> tuple[str, str]:
        """What the axes are called in a store."""
        return ("y", "x") if self.mapping is not None else ("lat", "lon")

    @property
    def shape(self) -> tuple[int, int]:
        return self.lat.size, self.lon.size

    @property
    def low_shape(self) -> tuple[int, int]:
        return self.lat.size // self.factor[0], self.lon.size // self.factor[1]

    @property
    def lat_low(self) -> FloatArray:
        return block_means(self.lat, self.factor[0])

    @property
    def lon_low(self) -> FloatArray:
        return block_means(self.lon, self.factor[1])

    @property
    def periodic(self) -> bool:
        return self.mapping is None and is_periodic_longitude(self.lon)


def pair_grid(ds: xr.Dataset, factor: tuple[int, int]) -> PairGrid:
    """Grids of a normalised, cropped source. Raises FdsrError if the factor does not divide an axis.

    Cells of a projected grid count as equally large: exact for equal-area projections, and within a coarse cell true to
    the change of the map scale across it for others. A rotated pole's cells have the areas of latitudes.
    """
    lat, lon = ds.lat.values.astype(np.float64), ds.lon.values.astype(np.float64)
    fy, fx = factor
    rows, dropped = rows_kept(lat, fy)
    if lon.size % fx:
        raise FdsrError(
            f"the longitude axis has {lon.size} columns, not divisible by the factor {fx}; crop it "
            f"(--crop LAT_MIN,LAT_MAX,LON_MIN,LON_MAX) to a multiple, for instance {lon.size // fx * fx} columns"
        )
    if not is_projected(ds):
        # areas come from the whole axis, so that the cell of a pole stays a cap when its neighbour row is dropped
        return PairGrid(lat[:rows], lon, latitude_weights(lat)[:rows], factor, dropped)
    mapping = dict(ds[PROJECTION].attrs)
    rotated = mapping.get("grid_mapping_name") == "rotated_latitude_longitude"
    plane = {n: ds[n].transpose("lat", "lon").values.astype(np.float64) for n in ("latitude", "longitude")}
    return PairGrid(
        lat,
        lon,
        latitude_weights(lat) if rotated else np.ones(lat.size),
        factor,
        mapping=mapping,
        axis_attributes={axis: dict(ds[axis].attrs) for axis in ("lat", "lon")},
        latitude=plane["latitude"],
        longitude=plane["longitude"],
    )
