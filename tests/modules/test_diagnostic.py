"""A model as a diagnostic model: tensors and coordinates in and out, the same members as a dataset gives."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pytest
import torch
import xarray as xr

from fdsr.errors import FdsrError
from fdsr.modules import DownscalingModule
from fdsr.modules.diagnostic import Diagnostic
from fdsr.modules.model import Model


@runtime_checkable
class DiagnosticModel(Protocol):
    """earth2studio 0.19, models/dx/base.py."""

    def __call__(self, x: torch.Tensor, coords: OrderedDict) -> tuple[torch.Tensor, OrderedDict]: ...
    def input_coords(self) -> OrderedDict: ...
    def output_coords(self, input_coords: OrderedDict) -> OrderedDict: ...
    def to(self, device: Any) -> DiagnosticModel: ...


def test_the_members_of_a_dataset(build: Callable[..., DownscalingModule], source_data: xr.Dataset) -> None:
    model = Model(build("FourierDDPMModule"), "cpu")
    low = source_data[["t2m", "u10"]].isel(time=slice(3)).coarsen(latitude=4, longitude=4).mean()
    low = low.assign({n: low[n].assign_attrs(source_data[n].attrs) for n in low})
    expected = model.downscale(low, members=2, seed=3)
    found = Diagnostic(model, members=2, seed=3, names={"u10": "u10m"})
    coords = found.input_coords()
    assert isinstance(found, DiagnosticModel) and next(iter(found.output_coords(coords))) == "batch"
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
        with pytest.raises(ValueError, match=words) as no:  # as the interface has it
            found(x, OrderedDict(given | changes))
        assert isinstance(no.value, FdsrError)
    with pytest.raises(ValueError, match=r"the tensor is of \(3, 2, 6, 12\), its coordinates of \(1, 3, 2, 6, 12\)"):
        found(x[0], given)
    with pytest.raises(ValueError, match="last dimensions are lat, lon, variable; they must be variable, lat, lon"):
        found.output_coords(OrderedDict(lat=fixed["lat"], lon=fixed["lon"], variable=fixed["variable"]))
    assert found.to("cpu") is found


def test_a_deterministic_model_has_one_sample(build: Callable[..., DownscalingModule], source_data: xr.Dataset) -> None:
    found = Diagnostic(Model(build("RegressionModule"), "cpu"))
    coords = OrderedDict(list(found.input_coords().items())[1:])
    low = source_data[["t2m", "u10"]].isel(time=0).coarsen(latitude=4, longitude=4).mean()
    y, out = found(torch.from_numpy(low.to_array().values), coords)
    assert tuple(y.shape) == tuple(v.size for v in out.values()) == (1, 2, 24, 48)


def test_without_further_dimensions_and_in_other_units(
    build: Callable[..., DownscalingModule], source_data: xr.Dataset
) -> None:
    """Tensors tell no units: they are the model's unless it is said, on the way in and out."""
    model = Model(build("FourierDDPMModule"), "cpu")
    low = source_data[["t2m", "u10"]].isel(time=0, drop=True).coarsen(latitude=4, longitude=4).mean()
    x = torch.from_numpy(low.to_array().values)
    kelvin, celsius = Diagnostic(model, members=2), Diagnostic(model, members=2, units={"t2m": "degC"})
    fixed = OrderedDict(list(kelvin.input_coords().items())[1:])
    warm, coords = kelvin(x, fixed)
    assert list(coords) == ["sample", "variable", "lat", "lon"] and tuple(warm.shape) == (2, 2, 24, 48)
    any_number, coords = kelvin(x[None], kelvin.input_coords())
    assert torch.equal(any_number[0], warm) and list(coords)[:2] == ["batch", "sample"]
    cold = celsius(x - torch.tensor([273.15, 0])[:, None, None], fixed)[0]
    torch.testing.assert_close(cold + torch.tensor([273.15, 0])[:, None, None], warm, rtol=1e-4, atol=1e-3)
