"""Opening a gridded source in one orientation: what reads coarse fields alone and what prepares pairs both start here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import xarray as xr

from fdsr.data.making.sources.opening import open_raw
from fdsr.grids.axes import normalise_axes


def open_source(path: str, storage_options: Mapping[str, Any] | None = None) -> xr.Dataset:
    """Open a Zarr, NetCDF or GRIB source lazily and rename its axes to time, row, column.

    Rows are put north first and columns west to east. Raises FdsrError if the path is missing or unreadable, or an axis
    cannot be found.
    """
    return normalise_axes(open_raw(path, storage_options), path)
