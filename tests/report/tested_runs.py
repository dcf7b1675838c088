"""Directories of tested runs, written by what a test writes them with, of random fields."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import xarray as xr

from fdsr.grids import Grid
from fdsr.metrics import FieldMetrics, Task
from fdsr.metrics.results import scores_dataset
from fdsr.records import RunFolder

VARIABLES = ("t2m", "u10")
UNITS = {"t2m": "K", "u10": "m s-1"}
ROWS, COLUMNS, FACTOR = 40, 48, 4


def write_runs(folder: Path) -> list[Path]:
    """bicubic, three seeds of ddpm at two numbers of evaluations in a sweep's layout, and ddgan."""
    found = [write_run(folder / "bicubic", members=1, nfe=0, error=2.0, smooth=True)]
    for seed in range(3):
        for nfe in (8, 32):
            name = f"ddpm-seed={seed}/ddpm-nfe={nfe}"
            axes = {"seed": seed, "nfe": nfe}
            found.append(
                write_run(folder / name, members=4, nfe=nfe, error=1.0 + 1.0 / nfe, seed=seed, method="ddpm", axes=axes)
            )
    return [*found, write_run(folder / "ddgan", members=4, nfe=4, error=1.2)]


def write_run(
    folder: Path,
    members: int,
    nfe: int,
    error: float,
    seed: int = 0,
    smooth: bool = False,
    fingerprint: str = "abc",
    n_times: int = 2,
    method: str | None = None,
    axes: dict[str, object] | None = None,
) -> Path:
    """A run whose forecasts are the truth plus noise of the size `error`; with `axes` a point of a sweep."""
    run, method = RunFolder(folder), method or folder.name
    lat, lon = 60 - 0.5 * np.arange(ROWS), 0.5 * np.arange(COLUMNS)
    rng = torch.Generator().manual_seed(1)
    k = torch.hypot(torch.fft.fftfreq(ROWS)[:, None], torch.fft.rfftfreq(COLUMNS)[None])
    truth = torch.fft.irfft2(
        torch.fft.rfft2(torch.randn((n_times, 2, ROWS, COLUMNS), generator=rng)) / (k + 0.05), s=(ROWS, COLUMNS)
    )
    low = truth.unfold(-2, FACTOR, FACTOR).unfold(-2, FACTOR, FACTOR).mean((-2, -1))
    noise = torch.randn((n_times, members, 2, ROWS, COLUMNS), generator=torch.Generator().manual_seed(2 + seed))
    prediction = truth[:, None] + error * noise
    if smooth:
        prediction = low.repeat_interleave(FACTOR, -2).repeat_interleave(FACTOR, -1)[:, None]
    metrics = FieldMetrics(Task(Grid(lat, lon), VARIABLES, factor=FACTOR, members=members))
    metrics.update(prediction, truth, low)
    facts = {"split": "test", "members": members, "nfe": nfe, "seed": seed, "n_times": n_times,
             "device": "CPU, 1 threads", "commit": "0123456789ab"}  # fmt: skip
    rows = [
        {"method": method, "variable": v, "metric": metric, "value": f"{x:.6g}"} | facts
        for metric, values in metrics.compute(members).items()
        for v, x in values.items()
    ]
    run.table.write(rows)
    run.scores.write(scores_dataset([metrics], UNITS, members, n_times))
    fine = ("variable", "lat", "lon")
    example = xr.Dataset(
        {
            "coarse": (("low_variable", "lat_low", "lon_low"), low[0].numpy()),
            "truth": (fine, truth[0].numpy()),
            "member": (("member", *fine), prediction[0, :2].numpy()),
            "mean": (fine, prediction[0].mean(0).numpy()),
            "spread": (fine, prediction[0].std(0).numpy() if members > 1 else np.zeros(truth[0].shape, np.float32)),
        },
        coords={"lat": lat, "lon": lon, "lat_low": lat.reshape(-1, FACTOR).mean(1), "lon_low": lon.reshape(-1, FACTOR).mean(1),
                "variable": list(VARIABLES), "low_variable": list(VARIABLES), "units": ("variable", list(UNITS.values())),
                "time": np.datetime64("2020-01-01", "ns")},
        attrs={"method": method, "members": members},
    )  # fmt: skip
    run.example.write(example)
    test = {
        "method": method, "started": "2020-01-01T00:00:00+00:00", "commit": "0123456789ab", "fdsr": "0.1.0", "python": "3.11.7",
        "packages": {"torch": "2.15.0"}, "precision": "32-true", "processes": 1, "data_fingerprint": fingerprint, "seed": seed,
        "parameters": 1000, "seconds_per_member": 0.01 + 0.02 * nfe, "nfe": nfe,
    }  # fmt: skip
    if axes is not None:
        run.describe(method, axes)
    config = f"data:\n  init_args: {{source: fields.zarr, factor: {FACTOR}, seed: {seed}}}\nseed_everything: {seed}\n"
    run.begin("test", test, config)
    return folder
