"""Maps as small pictures on one grid and one scale of colours, so that one can be laid upon the other."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import xarray as xr
from matplotlib import colormaps
from PIL import Image

from fdsr.drawing import maps
from fdsr.drawing.style import FIELDS
from fdsr.report.studies import Study


def make_atlas(study: Study) -> dict[str, Any] | None:
    """The maps of a study's first test time, as the page's script reads them. None where no run kept an example.

    `layers`: label of a method → variable → [name, number of the picture] from coarse to true, of its first seed; `pictures`, of which
    those that several methods have in common (coarse field, truth) are there once; `scales`: variable → ends and unit of its colours,
    the same for all methods; `caption`: time and window; `ratio`: width over height.
    """
    pictures: dict[str, int] = {}
    layers: dict[str, dict[str, list[tuple[str, int]]]] = {}
    scales: dict[str, tuple[float, float, str]] = {}
    frame: dict[str, Any] = {}
    for entry in study.entries:
        example = next((ds for run in entry.runs if (ds := run.folder.example.read()) is not None), None)
        if example is None:
            continue
        ds = maps.window(example)
        frame = frame or {"caption": maps.title(ds, "First test time"), "ratio": ds.sizes["lon"] / ds.sizes["lat"]}
        layers[entry.label] = {}
        for name in map(str, ds.variable.values):
            own = ds.sel(variable=name)
            low, high, _ = scales.setdefault(name, (*maps.limits(own.truth), str(own.units.item())))
            layers[entry.label][name] = [
                (title, pictures.setdefault(picture(_on_fine_grid(field, own), low, high), len(pictures)))
                for title, field in maps.fields(example, own).items()
            ]
    ends = {name: [f"{low:.4g}", f"{high:.4g}", unit] for name, (low, high, unit) in scales.items()}
    return frame | {"pictures": list(pictures), "layers": layers, "scales": ends} if layers else None


def picture(field: np.ndarray, low: float, high: float) -> str:
    """A field (H, W) as a PNG in a data URI, a pixel a cell; missing values are transparent."""
    span = high - low if high > low else 1.0
    index = np.clip(np.nan_to_num((field - low) / span) * 254, 0, 254).round().astype(np.uint8)
    index[~np.isfinite(field)] = 255
    image = Image.fromarray(index)
    image.putpalette(_palette())
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True, transparency=255)
    return data_uri(stream.getvalue())


def data_uri(content: bytes) -> str:
    """Of a PNG."""
    return "data:image/png;base64," + base64.b64encode(content).decode()


def gradient() -> str:
    """The colours as a CSS gradient, for the scale beside the maps."""
    stops = (colormaps[FIELDS](x)[:3] for x in np.linspace(0, 1, 9))
    return (
        "linear-gradient(to right," + ",".join("#" + "".join(f"{round(255 * c):02x}" for c in s) for s in stops) + ")"
    )


def _palette() -> list[int]:
    colours = (255 * colormaps[FIELDS](np.linspace(0, 1, 255))[:, :3]).round().astype(int)
    return [*colours.ravel().tolist(), 0, 0, 0]


def _on_fine_grid(field: xr.DataArray, fine: xr.Dataset) -> np.ndarray:
    """(lat, lon) of `fine`: where the field is coarse, each place has the value of the cell that it lies in."""
    if "lat_low" not in field.dims:
        return field.values
    axes = ((fine[axis].values, field[f"{axis}_low"].values) for axis in ("lat", "lon"))
    return field.values[np.ix_(*(np.abs(places[:, None] - cells).argmin(axis=1) for places, cells in axes))]
