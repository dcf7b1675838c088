"""One time's ensemble as a dataset: what the pictures show."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from fdsr.data.field_spec import FieldSpec
from fdsr.data.interpolate import HALO
from fdsr.modules.downscaling import Ensemble


def example_dataset(spec: FieldSpec, ensemble: Ensemble, method: str) -> xr.Dataset:
    """The first time of `ensemble`: coarse field, truth, two members, mean and spread, as `fdsr.drawing.maps` draws them.

    Missing where the truth is.
    """
    prediction = ensemble["prediction"][0].float().cpu()
    prediction = prediction.masked_fill(ensemble["truth"][0].isnan().cpu(), torch.nan)
    spread = prediction.std(0) if prediction.shape[0] > 1 else prediction.new_zeros(prediction.shape[1:])

    def values(x: Tensor) -> np.ndarray:
        return np.asarray(x.float().cpu().numpy())

    fine, coarse = ("variable", "lat", "lon"), ("low_variable", "lat_low", "lon_low")
    return xr.Dataset(
        {
            "coarse": (coarse, values(ensemble["low"][0, :, HALO:-HALO, HALO:-HALO])),
            "truth": (fine, values(ensemble["truth"][0])),
            "member": (("member", *fine), values(prediction[:2])),
            "mean": (fine, values(prediction.mean(0))),
            "spread": (fine, values(spread)),
        },
        coords={
            "lat": spec.grid.rows,
            "lon": spec.grid.columns,
            "lat_low": spec.low_grid.rows,
            "lon_low": spec.low_grid.columns,
            "variable": spec.high_channels,
            "low_variable": spec.low_channels,
            "units": ("variable", [spec.attributes.get(n, {}).get("units", "1") for n in spec.high_channels]),
            "time": np.datetime64(int(ensemble["time"][0]), "s").astype("datetime64[ns]"),
        },
        attrs={"method": method, "members": prediction.shape[0], "projected": int(spec.grid.projected)},
    )
