"""One picture of a synthetic source: fields of several runs, and their spectrum beside the cascade's theory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fdsr.drawing.axes import log_axis, power_axis
from fdsr.drawing.png import picture
from fdsr.drawing.style import TRUTH, Look
from fdsr.metrics.spectra import energy_spectrum, rapsd

_RUNS = 3
# of the scalar's spectrum: enough for a smooth mean
_SNAPSHOTS = 200


def draw_synthesis(store: str | Path) -> Path:
    """Draw the last snapshot of the first runs and the mean spectrum to a PNG beside the store; returns its path."""
    path = Path(store).with_suffix(".png")
    with xr.open_zarr(store) as ds:
        runs = min(_RUNS, ds.sizes["time"] // int(ds.attrs["fields_per_run"]))
        with picture(path, 2.9 * runs + 4.2, 3.3) as figure:
            axes = figure.subplots(1, runs + 1, width_ratios=[1.0] * runs + [1.25])
            name = next(iter(set(ds.data_vars) - {"u", "v", "psi", "plane"}))
            _draw_fields(figure, axes[:-1], ds, name)
            _draw_spectra(axes[-1], ds, name)
            figure.suptitle(str(ds.attrs["title"]))
    return path


def _draw_fields(figure: Figure, axes: np.ndarray, ds: xr.Dataset, name: str) -> None:
    each = int(ds.attrs["fields_per_run"])
    last = ds[name].isel(time=[(run + 1) * each - 1 for run in range(len(axes))]).values
    limit = float(np.abs(last).max())
    side = (float(ds.x.min()), float(ds.x.max()), float(ds.y.min()), float(ds.y.max()))
    for run, (ax, field) in enumerate(zip(axes, last, strict=True)):
        image = ax.imshow(field, "RdBu_r", vmin=-limit, vmax=limit, extent=side, interpolation="nearest")
        ax.set(title=f"{name}, run {run}", xlabel="x (km)")
        ax.grid(visible=False)
    axes[0].set_ylabel("y (km)")
    figure.colorbar(image, ax=axes[-1], shrink=0.85, pad=0.02)


def _draw_spectra(ax: Axes, ds: xr.Dataset, name: str) -> None:
    """Power in each shell of wavenumbers, of the scalar and of both components of the velocity, in mean over snapshots."""
    spacing = (abs(float(ds.y[1] - ds.y[0])), abs(float(ds.x[1] - ds.x[0])))
    some = ds.isel(time=slice(None, None, max(1, ds.sizes["time"] // _SNAPSHOTS)))
    length = ds.sizes["x"] * spacing[1]
    # dashed: a surface quasi-geostrophic flow has both spectra alike
    velocity = Look("velocity", 1, dashes="--")
    for label, names, look in ((name, [name], Look(name, 0)), ("velocity", ["u", "v"], velocity)):
        values = torch.from_numpy(np.stack([some[n].values for n in names]))
        wavenumber, density = rapsd(values, spacing, periodic=True)
        # a shell is 1/length wide
        number, shell = wavenumber * length, energy_spectrum(wavenumber, density.mean(1).sum(0)).numpy() / length
        ax.plot(number, shell, label=label, **look.line)
        if label == name:
            start = min(2 * int(np.argmax(shell)) + 1, len(shell) - 1)  # twice the forced wavenumber
            slope = float(ds.attrs["spectral_slope_of_cascade"])
            theory = shell[start] * (number[start:] / number[start]) ** slope
            ax.plot(number[start:], theory, label=f"theory: slope {slope:.2f}", **TRUTH.line | {"lw": 1})
    log_axis(ax, "x")
    power_axis(ax)
    ax.set(xlabel="wavenumber (waves along a side)", title="power a shell, mean over snapshots")
    ax.legend()
