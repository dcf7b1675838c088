"""A tiny world for the tests: a gridded source, its pair-store configuration, small models, and reference formulas."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

from fdsr.data import PrepareConfig

SPLIT = {"train": 10, "val": 2, "test": 3}
TINY_UNET = {"width": 8, "multipliers": [1, 2], "groups": 4}
TWO_STEPS: dict[str, Any] = {"class_path": "DPMSolverPP", "init_args": {"steps": 2}}
TINY_DDGAN: dict[str, Any] = {
    "backbone_args": TINY_UNET, "discriminator_args": {"width": 8, "multipliers": [1, 2]}, "latent_dim": 4, "timesteps": 2,
}  # fmt: skip


def latitudes(rows: int, poles: bool = False) -> np.ndarray:
    """North-first global rows: cell-centred, or with a row on each pole."""
    return np.linspace(90, -90, rows) if poles else 90 - 180 / rows * (np.arange(rows) + 0.5)


def latitude_weights(latitude: np.ndarray) -> np.ndarray:
    """Areas of latitude rows (n,) on the unit sphere, ∫ cos φ dφ between the middles of neighbours, a pole's row to the pole."""
    middles = 0.5 * (latitude[1:] + latitude[:-1])
    ends = [1.5 * latitude[i] - 0.5 * latitude[j] for i, j in ((0, 1), (-1, -2))]
    edges = np.concatenate([ends[:1], middles, ends[1:]]).clip(-90, 90)
    return np.abs(np.diff(np.sin(np.deg2rad(edges))))


def smooth_field(rng: np.random.Generator, shape: Sequence[int]) -> np.ndarray:
    """Random fields (..., H, W) of unit variance with a red spectrum, periodic in both axes."""
    k = np.hypot(np.fft.fftfreq(shape[-2])[:, None], np.fft.rfftfreq(shape[-1])[None, :])
    field = np.fft.irfft2(np.fft.rfft2(rng.standard_normal(shape)) / (k**2 + 0.1**2), s=tuple(shape[-2:]))
    return field / field.std()


def make_source(
    times: int = 18,
    rows: int = 24,
    columns: int = 48,
    poles: bool = False,
    variables: Sequence[str] = ("t2m", "u10"),
    seed: int = 0,
) -> xr.Dataset:
    """Hourly smooth fields on a global grid with CF coordinates, and a static orography."""
    rng = np.random.default_rng(seed)
    lat, lon = latitudes(rows, poles), 360 / columns * np.arange(columns)
    scales = {
        "t2m": (280.0, 10.0, "K"),
        "u10": (1.0, 5.0, "m s-1"),
        "msl": (1.01e5, 800.0, "Pa"),
        "tp": (0.0, 1e-3, "m"),
    }
    ds = xr.Dataset(
        coords={
            "time": np.datetime64("2020-01-01T00", "ns") + np.arange(times) * np.timedelta64(6, "h"),
            "latitude": ("latitude", lat, {"standard_name": "latitude", "units": "degrees_north"}),
            "longitude": ("longitude", lon, {"standard_name": "longitude", "units": "degrees_east"}),
        }
    )
    for name in variables:
        offset, scale, units = scales[name]
        values = offset + scale * smooth_field(rng, (times, rows, columns))
        values = np.maximum(values, 0) if name == "tp" else values
        ds[name] = (("time", "latitude", "longitude"), values.astype(np.float32), {"units": units, "long_name": name})
    relief = 500 * smooth_field(rng, (rows, columns)).astype(np.float32)
    ds["orography"] = (("latitude", "longitude"), relief, {"units": "m"})
    return ds.assign_attrs(attribution="Made by a test.")


def rain_source(
    times: int = 18, rows: int = 32, columns: int = 48, dry: float = 0.8, missing: bool = False, seed: int = 0
) -> xr.Dataset:
    """Rain rates on a region of 0.1° cells: about `dry` of the points are exactly 0, others log-normal from 0.1 mm/h on, and with
    `missing` a corner that no radar sees, which cuts through coarse cells."""
    field = smooth_field(np.random.default_rng(seed), (times, rows, columns))
    field -= np.quantile(field, dry)
    rain = np.where(field > 0, 0.1 * np.exp(2.5 * field), 0.0).astype(np.float32)
    if missing:
        rain[:, : rows // 3, : columns // 4 + 1] = np.nan
    return xr.Dataset(
        {"rain": (("time", "lat", "lon"), rain, {"units": "mm h-1", "thresholds": "0.1, 1"})},
        coords={
            "time": np.datetime64("2020-06-01T00", "ns") + np.arange(times) * np.timedelta64(1, "h"),
            "lat": ("lat", 40 - 0.1 * np.arange(rows), {"units": "degrees_north"}),
            "lon": ("lon", 250 + 0.1 * np.arange(columns), {"units": "degrees_east"}),
        },
    )


def projected(rows: int = 24, columns: int = 32, mapping: bool = True) -> xr.Dataset:
    """A Lambert-like regional grid, south first: 25 km cells, true places in two-dimensional coordinates."""
    y, x = 25e3 * np.arange(rows), 25e3 * np.arange(columns)
    plain = make_source(rows=rows, columns=columns)
    ds = plain.rename(latitude="y", longitude="x").drop_vars(["y", "x"])
    latitude = 45 + y[:, None] / 111e3 + 0 * x
    longitude = 5 + x / (111e3 * np.cos(np.deg2rad(latitude)))
    ds = ds.assign_coords(
        y=("y", y, {"standard_name": "projection_y_coordinate", "units": "m"}),
        x=("x", x, {"standard_name": "projection_x_coordinate", "units": "m"}),
        lat=(("y", "x"), latitude, {"standard_name": "latitude"}),
        lon=(("y", "x"), longitude, {"standard_name": "longitude"}),
    )
    if not mapping:
        return ds
    ds["lcc"] = ((), 0, {"grid_mapping_name": "lambert_conformal_conic", "standard_parallel": [45.0, 50.0]})
    for name in ("t2m", "u10", "orography"):
        ds[name].attrs["grid_mapping"] = "lcc"
    return ds


def write_source(ds: xr.Dataset, path: Path) -> str:
    ds.to_zarr(path, zarr_format=3, consolidated=False)
    return str(path)


def pair_config(source: str, **changes: Any) -> PrepareConfig:
    """The configuration that the tests' pair stores share, with changes."""
    values: dict[str, Any] = {
        "variables": ["t2m", "u10"],
        "factor": (4, 4),
        "split": SPLIT,
        "gap": 1,
        "static": ["orography"],
    }
    return PrepareConfig(source=source, **(values | changes))


def run_config(source: str, method: str = "FourierDDPMModule", **changes: Any) -> dict[str, Any]:
    """A configuration file's content: `method` on the tiny source; changes reach into sections by `section__key`."""
    network = {"backbone": "unet", "backbone_args": dict(TINY_UNET), "warmup_steps": 2}
    arguments: dict[str, dict[str, Any]] = {
        "FourierDDPMModule": network | {"sampler": copy.deepcopy(TWO_STEPS), "members": 2},
        "DDPMModule": network | {"sampler": copy.deepcopy(TWO_STEPS), "members": 2},
        "DDGANModule": copy.deepcopy(TINY_DDGAN) | {"members": 2},
        "RegressionModule": network | {"backbone_args": TINY_UNET | {"time_embedding": False}},
    }
    config: dict[str, Any] = {
        "seed_everything": 0,
        "data": {
            "class_path": "fdsr.data.WeatherDataModule",
            "init_args": {
                "source": source, "variables": ["t2m", "u10"], "static": ["orography"], "factor": 4, "split": dict(SPLIT),
                "gap": 1, "patch": [8, 16], "batch_size": 4, "patches_per_step": 4,
            },
        },
        "model": {"class_path": f"fdsr.modules.{method}", "init_args": dict(arguments.get(method, {}))},
        "trainer": {"max_steps": 3, "accelerator": "cpu", "log_every_n_steps": 1, "enable_progress_bar": False},
    }  # fmt: skip
    for key, value in changes.items():
        section, _, name = key.partition("__")
        place = config[section]["init_args"] if section in ("data", "model") else config.setdefault(section, {})
        place[name] = value
    return config


def interpolation_matrix(n: int, factor: int, method: str, periodic: bool) -> np.ndarray:
    """W (n·factor, n) with fine = W @ coarse along one axis: cell-centred, edges wrapped or repeated.

    Bicubic is Keys' convolution kernel with a = −0.75, as PyTorch and OpenCV have it.
    """

    def cubic(x: float, a: float = -0.75) -> float:
        x = abs(x)
        if x <= 1:
            return (a + 2) * x**3 - (a + 3) * x**2 + 1
        return a * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0

    kernel = cubic if method == "bicubic" else lambda x: max(0.0, 1 - abs(x))
    if method == "nearest":
        return np.repeat(np.eye(n), factor, axis=0)
    matrix = np.zeros((n * factor, n))
    for i in range(n * factor):
        centre = (i + 0.5) / factor - 0.5
        for j in range(int(np.floor(centre)) - 1, int(np.floor(centre)) + 3):
            matrix[i, j % n if periodic else min(max(j, 0), n - 1)] += kernel(centre - j)
    return matrix


def interpolate(low: np.ndarray, factor: tuple[int, int], method: str, periodic: bool) -> np.ndarray:
    """Coarse fields (..., h, w) on the fine grid, by `interpolation_matrix` along both axes."""
    rows = interpolation_matrix(low.shape[-2], factor[0], method, periodic=False)
    columns = interpolation_matrix(low.shape[-1], factor[1], method, periodic)
    return np.einsum("ai,...ij,bj->...ab", rows, low.astype(np.float64), columns)


def randomise(module: torch.nn.Module, scale: float = 0.1, seed: int = 0) -> None:
    """Give every parameter a random value: networks start with an output of zero, which would hide much."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(scale * torch.randn(p.shape, generator=rng))
