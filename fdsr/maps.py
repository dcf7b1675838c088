"""Maps of one time's fields: coarse field, truth, members, mean and spread, one row of panels a variable.

What is drawn is an xarray Dataset with variables `coarse` (low_variable, lat_low, lon_low), `truth`, `mean` and `spread`
(variable, lat, lon), `member` (member, variable, lat, lon) and coordinates `units` (variable) and `time`, and the size of the
ensemble in its attribute `members`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fdsr.atomic import written_whole

WINDOW = (64, 96)  # points shown of a larger grid, so that single cells stay visible


def panels(ds: xr.Dataset) -> list[str]:
    """What stands in a row; a single prediction has neither mean nor spread."""
    if int(ds.attrs["members"]) == 1:
        return ["coarse", "truth", "prediction"]
    return ["coarse", "truth", "member 1", "member 2", "mean", "spread"]


def window(ds: xr.Dataset) -> xr.Dataset:
    """`ds` in a window of the middle latitudes, north for a global grid; all of a small one."""

    def cut(n: int, size: int, centre: float) -> slice:
        start = int(np.clip(round(n * centre - size / 2), 0, max(0, n - size)))
        return slice(start, min(n, start + size))

    ds = ds.isel(lat=cut(ds.sizes["lat"], WINDOW[0], 0.27), lon=cut(ds.sizes["lon"], WINDOW[1], 0.8))
    west, east, south, north = extent(ds)
    return ds.isel(
        lat_low=np.flatnonzero((ds.lat_low > south) & (ds.lat_low < north)),
        lon_low=np.flatnonzero((ds.lon_low > west) & (ds.lon_low < east)),
    )


def extent(ds: xr.Dataset) -> tuple[float, float, float, float]:
    """West, east, south, north in degrees, or in the unit of a projected grid."""
    return float(ds.lon.min()), float(ds.lon.max()), float(ds.lat.min()), float(ds.lat.max())


def title(ds: xr.Dataset, what: str) -> str:
    """`what`, the time and the window, in words."""
    west, east, south, north = extent(ds)
    when = np.datetime_as_string(ds.time.values, unit="m").replace("T", " ")
    if ds.attrs.get("projected"):
        return f"{what}, {when} UTC, y {south:g} to {north:g}, x {west:g} to {east:g}"
    return f"{what}, {when} UTC, {south:g}° to {north:g}°N, {west:g}° to {east:g}°E"


def draw_maps(fig: Figure, axes: np.ndarray, ds: xr.Dataset) -> None:
    """Draw `ds` on the first columns of `axes` (variables, ≥ panels)."""
    for i, name in enumerate(str(v) for v in ds.variable.values):
        fields = ds.sel(variable=name)
        maps = {
            "coarse": ds.coarse.sel(low_variable=name) if name in ds.low_variable else None,
            "truth": fields.truth,
            "prediction": fields["mean"],
            "member 1": fields.member[0],
            "member 2": fields.member[-1],
            "mean": fields["mean"],
            "spread": fields.spread,
        }
        low, high = (float(np.nanquantile(fields.truth, q)) for q in (0.005, 0.995))
        for ax, panel in zip(axes[i], panels(ds), strict=False):
            _draw(fig, ax, maps[panel], panel, (low, high), extent(ds))
            if i == 0:
                ax.set_title(panel)
        axes[i][0].set_ylabel(f"{name} ({fields.units.item()})")


def _draw(
    fig: Figure,
    ax: Axes,
    field: xr.DataArray | None,
    panel: str,
    limits: tuple[float, float],
    edges: tuple[float, float, float, float],
) -> None:
    if field is None:  # a variable without a coarse counterpart
        ax.set_axis_off()
        return
    spread = panel == "spread"
    low, high = (0.0, float(np.quantile(field, 0.995)) or 1.0) if spread else limits
    image = ax.imshow(field.values, extent=edges, aspect="auto", interpolation="nearest",
                      cmap="magma" if spread else "viridis", vmin=low, vmax=high)  # fmt: skip
    ax.set_xticks([])
    ax.set_yticks([])
    if panel in ("truth", "spread", "prediction"):
        fig.colorbar(image, ax=ax, shrink=0.85, pad=0.01)


def save_png(fig: Figure, path: Path) -> Path:
    """Write the figure, whole or not at all."""
    with written_whole(path) as partial:
        fig.savefig(partial, dpi=80, format="png")
    return path
