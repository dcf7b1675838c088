"""A model as a diagnostic model: tensors and coordinates in and out, the same members as a dataset gives."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import numpy as np
import pytest
import torch
import xarray as xr

from fdsr.errors import FdsrError
from fdsr.modules import DownscalingModule
from fdsr.modules.diagnostic import Diagnostic
from fdsr.modules.model import Model


def test_the_members_of_a_dataset(build: Callable[..., DownscalingModule], source_data: xr.Dataset) -> None:
    model = Model(build("FourierDDPMModule"), "cpu")
    low = source_data[["t2m", "u10"]].isel(time=slice(3)).coarsen(latitude=4, longitude=4).mean()
    low = low.assign({n: low[n].assign_attrs(source_data[n].attrs) for n in low})
    expected = model.downscale(low, members=2, seed=3)
    found = Diagnostic(model, members=2, seed=3, names={"u10": "u10m"})
    coords = found.input_coords()
    assert list(coords) == ["batch", "variable", "lat", "lon"] and coords["variable"].tolist() == ["t2m", "u10m"]
    fixed = {name: coords[name] for name in ("variable", "lat", "lon")}
    # the third time as the first one and a lead of twelve hours
    given = OrderedDict(time=low.time.values[:1], lead_time=np.array([0, 6, 12], "timedelta64[h]"), **fixed)
    x = torch.from_numpy(low.to_array().transpose("time", "variable", ...).values)[None]
    y, out = found(x, given)
    assert list(out) == ["time", "lead_time", "sample", "variable", "lat", "lon"]
    assert tuple(y.shape) == tuple(v.size for v in out.values()) == (1, 3, 2, 2, 24, 48)
    assert out["variable"].tolist() == ["t2m", "u10m"] and found.output_coords(given).keys() == out.keys()
    np.testing.assert_allclose(out["lat"], expected.latitude)
    np.testing.assert_allclose(out["lon"], expected.longitude, atol=1e-9)
    np.testing.assert_allclose(
        y[0], expected.to_array().transpose("time", "member", "variable", ...), rtol=1e-5, atol=1e-5
    )
    for changes, words in (
        ({"variable": np.array(["u10m", "t2m"])}, "coordinate 'variable' is u10m, t2m; the model takes t2m, u10m"),
        ({"lat": given["lat"] + 1}, r"coordinate 'lat' is 76\.0 … -74\.0 \(6\); the model takes 75"),
    ):
        with pytest.raises(FdsrError, match=words):
            found(x, OrderedDict(given | changes))
    with pytest.raises(FdsrError, match="last dimensions are lat, lon, variable; they must be variable, lat, lon"):
        found.output_coords(OrderedDict(lat=fixed["lat"], lon=fixed["lon"], variable=fixed["variable"]))
    assert found.to("cpu") is found
