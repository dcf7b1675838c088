"""The metrics of a pair store's grid and variables."""

from __future__ import annotations

from typing import Any

import numpy as np

from fdsr.data.spec import FieldSpec
from fdsr.errors import FdsrError
from fdsr.geometry import EARTH_RADIUS_KM
from fdsr.metrics import FieldMetrics, read_thresholds

# lengths that the axes of a projection come in, in km
_UNITS_KM = (1.0, 1e-3)


def spec_metrics(spec: FieldSpec, **options: Any) -> FieldMetrics:
    """FieldMetrics of a store's fields, with scores of events for variables whose attribute `thresholds` asks for them."""
    asking = {name: spec.attributes.get(name, {}).get("thresholds") for name in spec.high_channels}
    thresholds = {name: read_thresholds(text) for name, text in asking.items() if text is not None}
    rows, columns, projected = spec_axes(spec)
    return FieldMetrics(rows, columns, spec.high_channels, projected=projected, thresholds=thresholds, **options)


def spec_axes(spec: FieldSpec) -> tuple[np.ndarray, np.ndarray, bool]:
    """Rows and columns of the fine grid in degrees, or in km on a projected grid, and whether it is one.

    A rotated pole is a grid of latitudes and longitudes about another pole, and is scored as one.
    """
    rows, columns = spec.lat.numpy(), spec.lon.numpy()
    if spec.mapping is None or spec.mapping.get("grid_mapping_name") == "rotated_latitude_longitude":
        return rows, columns, False
    scale = _kilometres_per_unit(spec)
    return rows * scale, columns * scale, True


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
    return min(_UNITS_KM, key=lambda unit: abs(np.log(measured / unit)))
