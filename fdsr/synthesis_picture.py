"""One picture of a synthetic source: fields of several runs, and their spectrum beside the cascade's theory."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
import xarray as xr
from matplotlib.axes import Axes

from fdsr.maps import save_png
from fdsr.metrics.spectra import half_power_density, make_rings, ring_mean

_RUNS = 3
# of the scalar's spectrum: enough for a smooth mean
_SNAPSHOTS = 200


def draw_synthesis(store: str | Path) -> Path:
    """Draw the last snapshot of the first runs and the mean spectrum to a PNG beside the store; returns its path."""
    store = Path(store)
    with xr.open_zarr(store) as ds:
        name = next(iter(set(ds.data_vars) - {"u", "v", "psi", "plane"}))
        each = int(ds.attrs["fields_per_run"])
        runs = min(_RUNS, ds.sizes["time"] // each)
        fig, axes = plt.subplots(1, runs + 1, figsize=(3.1 * runs + 4.2, 3.5), layout="constrained",
                                 gridspec_kw={"width_ratios": [1.0] * runs + [1.25]})  # fmt: skip
        last = ds[name].isel(time=[(run + 1) * each - 1 for run in range(runs)]).values
        limit = float(np.abs(last).max())
        side = (float(ds.x.min()), float(ds.x.max()), float(ds.y.min()), float(ds.y.max()))
        for run, (ax, field) in enumerate(zip(axes, last, strict=False)):
            ax.imshow(field, cmap="RdBu_r", vmin=-limit, vmax=limit, extent=side, interpolation="nearest")
            ax.set_title(f"{name}, run {run}", fontsize=9)
            ax.set_xlabel("km", fontsize=8)
            ax.tick_params(labelsize=7)
        _draw_spectra(axes[-1], ds, name)
        fig.suptitle(str(ds.attrs["title"]), fontsize=10)
    path = save_png(fig, store.with_suffix(".png"))
    plt.close(fig)
    return path


def _draw_spectra(ax: Axes, ds: xr.Dataset, name: str) -> None:
    """Power in each shell of wavenumbers, of the scalar and of both components of the velocity, in mean over snapshots."""
    spacing = (abs(float(ds.y[1] - ds.y[0])), abs(float(ds.x[1] - ds.x[0])))
    rings = make_rings((ds.sizes["y"], ds.sizes["x"]), spacing, periodic=True)
    some = ds.isel(time=slice(None, None, max(1, ds.sizes["time"] // _SNAPSHOTS)))
    length = ds.sizes["x"] * spacing[1]
    number = rings.wavenumber * length
    for label, names in ((name, [name]), ("velocity", ["u", "v"])):
        values = torch.from_numpy(np.stack([some[n].values for n in names]))
        density = ring_mean(half_power_density(values, spacing, periodic=True), rings).mean(1).sum(0)
        # modes of a shell of width 1/length
        shell = density.numpy() * 2 * np.pi * rings.wavenumber / length
        # dashed: a surface quasi-geostrophic flow has both spectra alike
        ax.loglog(number, shell, "-" if label == name else "--", label=label)
        if label == name:
            start = min(2 * int(np.argmax(shell)) + 1, len(shell) - 1)  # twice the forced wavenumber
            slope = float(ds.attrs["spectral_slope_of_cascade"])
            ax.loglog(number[start:], shell[start] * (number[start:] / number[start]) ** slope, "k:", lw=1,
                      label=f"theory: slope {slope:.2f}")  # fmt: skip
    ax.set_xlabel("wavenumber (waves along a side)", fontsize=8)
    ax.set_title("power a shell, mean over snapshots", fontsize=9)
    ax.grid(which="both", alpha=0.25)
    ax.legend(fontsize=8, frameon=False)
    ax.tick_params(labelsize=7)
