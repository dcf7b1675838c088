"""The metrics of a pair store's grid and variables."""

from __future__ import annotations

from typing import Any

import numpy as np

from fdsr.data.field_spec import FieldSpec
from fdsr.errors import FdsrError
from fdsr.geometry import EARTH_RADIUS_KM
from fdsr.metrics import FieldMetrics, read_thresholds
from fdsr.metrics.registry import MetricNames

_UNITS = {1.0: "km", 1e-3: "m"}  # lengths that the axes of a projection come in, in km


def spec_metrics(spec: FieldSpec, metrics: MetricNames | None, members: int | None = None) -> FieldMetrics:
    """FieldMetrics of a store's fields, with scores of events for variables whose attribute `thresholds` asks for them."""
    asking = {name: spec.attributes.get(name, {}).get("thresholds") for name in spec.high_channels}
    thresholds = {name: read_thresholds(text) for name, text in asking.items() if text is not None}
    rows, columns, projected = spec_axes(spec)
    return FieldMetrics(
        rows, columns, spec.high_channels, spec.factor,
        low_names=spec.low_channels, members=members, projected=projected, thresholds=thresholds, metrics=metrics,
    )  # fmt: skip


def spec_axes(spec: FieldSpec) -> tuple[np.ndarray, np.ndarray, bool]:
    """Rows and columns of the fine grid in degrees, or in km on a projected grid, and whether it is one.

    A rotated pole is a grid of latitudes and longitudes about another pole, and is scored as one.
    """
    rows, columns = spec.lat.numpy(), spec.lon.numpy()
    if not spec.projected or _rotated(spec):
        return rows, columns, False
    scale = _kilometres_per_unit(spec)
    return rows * scale, columns * scale, True


def horizontal_coordinates(spec: FieldSpec) -> dict[str, Any]:
    """CF coordinates of the fine grid, as xarray takes them: lat and lon, or y, x, crs, latitude and longitude."""
    degrees = {
        "lat": {"standard_name": "latitude", "units": "degrees_north"},
        "lon": {"standard_name": "longitude", "units": "degrees_east"},
    }
    if spec.mapping is None or spec.latitude is None or spec.longitude is None:
        return {
            name: (name, values.numpy(), degrees[name] | {"axis": axis})
            for name, values, axis in (("lat", spec.lat, "Y"), ("lon", spec.lon, "X"))
        }
    if _rotated(spec):
        names, units = ("grid_latitude", "grid_longitude"), "degrees"
    else:
        names, units = ("projection_y_coordinate", "projection_x_coordinate"), _UNITS[_kilometres_per_unit(spec)]
    found: dict[str, Any] = {
        axis: (axis, values.numpy(), {"standard_name": name, "units": units, "axis": axis.upper()})
        for axis, values, name in zip(("y", "x"), (spec.lat, spec.lon), names, strict=True)
    }
    return found | {
        "crs": ((), np.int32(0), spec.mapping),
        "latitude": (("y", "x"), spec.latitude.numpy(), degrees["lat"]),
        "longitude": (("y", "x"), spec.longitude.numpy(), degrees["lon"]),
    }


def _rotated(spec: FieldSpec) -> bool:
    return spec.mapping is not None and spec.mapping.get("grid_mapping_name") == "rotated_latitude_longitude"


def _kilometres_per_unit(spec: FieldSpec) -> float:
    """Metres or kilometres: what fits the true places of the first and the last row."""
    assert spec.latitude is not None and spec.longitude is not None
    if spec.lat.numel() < 2:
        raise FdsrError("a projected grid of a single row has no spacing to score spectra with")
    lat, lon = (np.deg2rad(x[[0, -1], 0].double().numpy()) for x in (spec.latitude, spec.longitude))
    # haversine
    a = np.sin((lat[1] - lat[0]) / 2) ** 2 + np.cos(lat[0]) * np.cos(lat[1]) * np.sin((lon[1] - lon[0]) / 2) ** 2
    distance = 2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(a))
    measured = distance / abs(float(spec.lat[-1] - spec.lat[0]))
    return min(_UNITS, key=lambda unit: abs(np.log(measured / unit)))
