"""Maps of one time's fields: coarse field, truth, members, mean and spread, one row of panels a variable.

What is drawn is an xarray Dataset with variables `coarse` (low_variable, lat_low, lon_low), `truth`, `mean` and `spread`
(variable, lat, lon), `member` (member, variable, lat, lon) and coordinates `units` (variable) and `time`, and the size of the
ensemble in its attribute `members`.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from fdsr.drawing.style import FIELDS, SPREAD

WINDOW = (64, 96)  # points shown of a larger grid, so that single cells stay visible
_FLAT = 0.1  # of the whole field's deviation: less, and a window shows nothing
_WIDTH = 2.3  # inches of a map


def window(ds: xr.Dataset) -> xr.Dataset:
    """`ds` in a window of the middle latitudes, north for a global grid; all of a small one.

    Where nothing happens there, as with rain, in the window in which the truth varies most.
    """
    ds = _cut(ds, 0.27, 0.8) if _varies(_cut(ds, 0.27, 0.8)) > _FLAT * _varies(ds) else _liveliest(ds)
    west, east, south, north = _extent(ds)
    return ds.isel(
        lat_low=np.flatnonzero((ds.lat_low > south) & (ds.lat_low < north)),
        lon_low=np.flatnonzero((ds.lon_low > west) & (ds.lon_low < east)),
    )


def _cut(ds: xr.Dataset, row: float, column: float) -> xr.Dataset:
    """The window about a place, given as fractions of the grid."""

    def cut(n: int, size: int, centre: float) -> slice:
        start = int(np.clip(round(n * centre - size / 2), 0, max(0, n - size)))
        return slice(start, min(n, start + size))

    return ds.isel(lat=cut(ds.sizes["lat"], WINDOW[0], row), lon=cut(ds.sizes["lon"], WINDOW[1], column))


def _varies(ds: xr.Dataset) -> float:
    """The truth's standard deviation, of the first variable; 0 where all is missing."""
    return float(ds.truth.isel(variable=0).std().fillna(0))


def _liveliest(ds: xr.Dataset) -> xr.Dataset:
    rows, columns = (max(1, ds.sizes[axis] // size) for axis, size in zip(("lat", "lon"), WINDOW, strict=True))
    places = [((i + 0.5) / rows, (j + 0.5) / columns) for i in range(rows) for j in range(columns)]
    return max((_cut(ds, *place) for place in places), key=_varies)


def title(ds: xr.Dataset, what: str) -> str:
    """`what`, the time and the window, in words."""
    west, east, south, north = _extent(ds)
    when = np.datetime_as_string(ds.time.values, unit="m").replace("T", " ")
    if ds.attrs.get("projected"):
        return f"{what}, {when} UTC, y {south:.4g} to {north:.4g}, x {west:.4g} to {east:.4g}"
    return f"{what}, {when} UTC, {south:g}° to {north:g}°N, {west:g}° to {east:g}°E"


def fields(ds: xr.Dataset, own: xr.Dataset) -> dict[str, xr.DataArray]:
    """What there is of one variable, from coarse to true, all on one scale; a single prediction has neither members nor mean.

    Args:
        ds: has the coarse field.
        own: that variable's fields, of the whole grid or of a window.
    """
    name = str(own.variable.item())
    found = {"coarse": ds.coarse.sel(low_variable=name)} if name in ds.low_variable else {}
    if int(ds.attrs["members"]) == 1:
        found["prediction"] = own["mean"]
    else:
        found["ensemble mean"] = own["mean"]
        found |= {f"member {i + 1}": member for i, member in enumerate(own.member)}
    return found | {"truth": own.truth}


def limits(truth: xr.DataArray) -> tuple[float, float]:
    """Ends of the scale of colours of everything that is compared with `truth`."""
    low, high = (float(np.nanquantile(truth, q)) for q in (0.005, 0.995))
    return low, high


def size(ds: xr.Dataset, more: int = 0) -> tuple[float, float]:
    """Width and height in inches of a figure of `ds`, with `more` columns besides."""
    height = _WIDTH * ds.sizes["lat"] / ds.sizes["lon"] + 0.25
    return (_WIDTH + 0.3) * (len(_columns(ds)) + more) + 0.4, height * ds.sizes["variable"] + 0.6


def draw_maps(figure: Figure, ds: xr.Dataset, what: str, more: int = 0) -> np.ndarray:
    """Draw all of `ds` under a title that begins with `what`; gives `more` empty axes at the end of each variable's row."""
    columns, names = _columns(ds), [str(v) for v in ds.variable.values]
    axes = figure.subplots(len(names), len(columns) + more, squeeze=False)
    for row, name in zip(axes, names, strict=True):
        own = ds.sel(variable=name)
        unit = "" if own.units.item() == "1" else str(own.units.item())
        found, scale = fields(ds, own) | {"spread": own.spread}, limits(own.truth)
        row[0].set_ylabel(name)
        for ax, column in zip(row, columns, strict=False):
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(column in found)
            if column not in found:  # a variable without a coarse counterpart
                continue
            spread = column == "spread"
            low, high = (0.0, float(np.nanquantile(own.spread, 0.995)) or 1.0) if spread else scale
            colours = SPREAD if spread else FIELDS
            image = ax.imshow(
                found[column], colours, vmin=low, vmax=high, extent=_extent(ds), aspect="auto", interpolation="nearest"
            )
            if column in ("prediction", "ensemble mean", "spread"):  # the last of a scale
                figure.colorbar(image, ax=ax, shrink=0.85, pad=0.01, label=unit)
    for ax, column in zip(axes[0], columns, strict=False):
        ax.set_title(column)
    figure.suptitle(title(ds, what))
    return axes[:, len(columns) :]


def _columns(ds: xr.Dataset) -> list[str]:
    if int(ds.attrs["members"]) == 1:
        return ["coarse", "truth", "prediction"]
    return ["coarse", "truth", "member 1", "member 2", "ensemble mean", "spread"]


def _extent(ds: xr.Dataset) -> tuple[float, float, float, float]:
    """West, east, south, north in degrees, or in the unit of a projected grid."""
    return float(ds.lon.min()), float(ds.lon.max()), float(ds.lat.min()), float(ds.lat.max())
