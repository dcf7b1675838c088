"""Which part of a large field a picture shows."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from fdsr.drawing import maps


def example(truth: np.ndarray) -> xr.Dataset:
    lat, lon = (np.arange(n, dtype=float) for n in truth.shape)
    low = {"lat_low": lat[::4] + 1.5, "lon_low": lon[::4] + 1.5}
    return xr.Dataset(
        {"truth": (("variable", "lat", "lon"), truth[None])}, {"lat": lat, "lon": lon, "variable": ["a"], **low}
    )


def test_the_usual_window_where_something_happens() -> None:
    truth = np.random.default_rng(0).normal(size=(180, 360))
    shown = maps.window(example(truth))
    assert (shown.lat[0], shown.lon[0]) == (round(180 * 0.27 - 32), 360 * 0.8 - 48)
    assert float(shown.lat_low[0]) >= float(shown.lat[0]) - 0.5


@pytest.mark.parametrize("where", [(120, 30), (10, 100), (170, 340)])
def test_a_shower_is_found(where: tuple[int, int]) -> None:
    truth = np.zeros((180, 360))
    truth[where[0] - 4 : where[0] + 4, where[1] - 4 : where[1] + 4] = 5.0
    shown = maps.window(example(truth))
    assert float(shown.truth.max()) == 5.0 and shown.sizes["lat"] == 64 and shown.sizes["lon"] == 96


def test_small_and_empty_fields_are_whole() -> None:
    assert maps.window(example(np.zeros((32, 48)))).sizes["lon"] == 48
    assert maps.window(example(np.full((180, 360), np.nan))).sizes["lat"] == 64
