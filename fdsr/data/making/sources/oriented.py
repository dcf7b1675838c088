"""Opening a gridded source in one orientation: what reads coarse fields alone and what prepares pairs both start here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import xarray as xr

from fdsr.data.making.sources import crop_region, normalise_axes, open_raw, require_variables

__all__ = ["crop_region", "normalise_axes", "open_source", "require_variables"]


def open_source(path: str, storage_options: Mapping[str, Any] | None = None) -> xr.Dataset:
    """Open a Zarr, NetCDF or GRIB source lazily and rename its axes to time, lat, lon.

    Latitude is put north first and longitude ascending. Raises FdsrError if the path is missing or unreadable, or an
    axis cannot be found.
    """
    return normalise_axes(open_raw(path, storage_options), path)
