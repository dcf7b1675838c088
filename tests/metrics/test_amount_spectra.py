"""Spectra of the logarithm of amounts, of variables that have thresholds."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
import xarray as xr
from torch import Tensor

from fdsr.metrics import AmountSpectra, FieldMetrics, SpectralScores, Task, evaluate, spectral_bands

from .fields import plane, synthesise

GRID = plane((40, 48), (2.0, 2.0))


def rain(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Two times of three members (B, M, 1, H, W) and truth (B, 1, H, W), two thirds dry, in mm."""
    fields = np.stack([synthesise(64, -3.0, seed + i)[:40, :48] for i in range(8)])
    wet = torch.from_numpy(np.maximum(np.exp(fields / fields.std()) - 1.5, 0.0)).reshape(2, 4, 1, 40, 48)
    return wet[:, 1:], wet[:, 0]


def test_it_is_the_spectrum_of_the_logarithm() -> None:
    p, y = rain()
    found, expected = AmountSpectra(spectral_bands(GRID), [0.25]), SpectralScores(spectral_bands(GRID))
    found.update(p, y)
    expected.update((p / 0.25).log1p(), (y / 0.25).log1p())
    ours, theirs = found.values(), expected.values()
    for name in ("lsd", "lsd_fine", "melr"):
        assert ours[f"log1p_{name}"] == theirs[name] > 0
    np.testing.assert_array_equal(ours["power"], theirs["power"])
    # amounts in another unit, and a threshold in it, are the same
    metres = AmountSpectra(spectral_bands(GRID), [0.25e-3])
    metres.update(p * 1e-3, y * 1e-3)
    np.testing.assert_allclose(metres.values()["log1p_lsd"], ours["log1p_lsd"], rtol=1e-9)


def test_light_rain_counts_there_and_hardly_in_the_spectrum_of_rain_itself() -> None:
    _, y = rain()
    drizzle = torch.rand(y.shape, generator=torch.Generator().manual_seed(0), dtype=y.dtype) * 0.3
    p = torch.where(y > 0, y, drizzle)[:, None]  # dry points rain a little
    metrics = FieldMetrics(Task(GRID, ["tp"], thresholds={"tp": (0.1, 1.0)}), ["spectral", "amount_spectra"])
    metrics.update(p, y)
    scores = metrics.compute()
    assert scores["log1p_lsd_fine"]["tp"] > 2 * scores["lsd_fine"]["tp"]


def test_a_variable_asks_by_a_threshold_above_zero() -> None:
    p, y = rain()
    task = Task(GRID, ["tp", "t2m", "sf"], thresholds={"tp": (0.0, 0.5, 2.0), "sf": (0.0,)})
    metrics = FieldMetrics(task, "amount_spectra")
    metrics.update(torch.cat([p, p + 280, p], 2), torch.cat([y, y + 280, y], 1))
    assert {name: set(values) for name, values in metrics.compute().items()} == {
        "log1p_lsd": {"tp"}, "log1p_lsd_fine": {"tp"}, "log1p_melr": {"tp"},
    }  # fmt: skip
    assert not list(FieldMetrics(Task(GRID, ["sf"], thresholds={"sf": (0.0,)}), "amount_spectra"))
    assert not list(FieldMetrics(Task(GRID, ["t2m"]), "amount_spectra"))


def test_a_dataset_has_spectra_of_both() -> None:
    p, y = rain()
    coords = {
        "time": pd.date_range("2020-06-01", periods=2, freq="h"),
        "y": 2.0 * np.arange(40),
        "x": 2.0 * np.arange(48),
    }
    truth = xr.DataArray(y[:, 0].numpy(), coords, ("time", "y", "x"), attrs={"units": "mm", "thresholds": "0.1, 1"})
    truth = truth.assign_coords(y=truth.y.assign_attrs(units="km"), x=truth.x.assign_attrs(units="km"))
    members = xr.DataArray(p[:, :, 0].numpy(), coords | {"member": range(3)}, ("time", "member", "y", "x"))
    members = members.assign_coords(y=truth.y, x=truth.x).assign_attrs(units="mm")
    found = evaluate(members.to_dataset(name="tp"), truth.to_dataset(name="tp"))
    assert found.log1p_spectrum.dims == ("variable", "log1p_band", "log1p_ring")
    assert found.log1p_spectrum.attrs["units"] == "km2"
    assert found.spectrum.attrs["units"] == "variable's units squared times km2"
    assert found.log1p_lsd.sel(variable="tp") > 0 and not np.isclose(found.log1p_lsd, found.lsd)
    truth_share = (truth >= 1).mean().item()
    np.testing.assert_allclose(found.frequency_bias.squeeze()[1], (members >= 1).mean().item() / truth_share, rtol=1e-9)
