"""At which scales does a forward process bury its data first? Signal-to-noise ratio by wavelength, measured on held-out fields.

    python experiments/signal_to_noise.py RUN... --output FIGURE.png

RUN: folders of trainings of fields, whose noise differs. Signal and noise are what a training step takes, the codec's targets of the
test block and draws of the module's own noise: mean squares of DCT-II coefficients in rings of wavenumbers, their ratio at the
time where the signal has half of the variance. Draws a figure and writes a table of the same name beside it.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor

from fdsr.data import WeatherDataModule
from fdsr.diffusion import Cosine
from fdsr.drawing.axes import log_axis
from fdsr.drawing.png import picture
from fdsr.drawing.style import ink, make_looks
from fdsr.modules import load_module
from fdsr.records import RunFolder, Table

RINGS = 24
EDGE = 5e-5  # rings begin at the lowest wavenumbers, in cycles per point, that a wide field has


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--output", type=Path, default=Path("signal_to_noise.png"))
    options = parser.parse_args(argv)
    torch.manual_seed(0)
    rows = [row for run in options.runs for row in measure(RunFolder(run))]
    table = Table(options.output.with_suffix(".csv"))
    table.write(rows)
    draw(rows, options.output)
    print(f"figure: {options.output}\ntable:  {table}")


def measure(run: RunFolder) -> list[dict[str, Any]]:
    """A row for each variable and ring."""
    module = load_module(run.last_checkpoint)
    method = run.record.read()["fit"]["method"]
    data = WeatherDataModule(**yaml.safe_load(run.config())["data"]["init_args"])
    data.prepare_data()
    data.setup("test")
    signal, noise = [], []
    with torch.no_grad():
        for batch in data.test_dataloader():
            target = module.codec.to_target(module.codec.truth(batch), module.codec.encode(batch))
            signal.append(Cosine().forward(target).square().double())
            draw = module.process.colour(torch.randn_like(target))
            noise.append(Cosine().forward(draw).square().double())
    shape = target.shape[-2:]
    wavenumber = Cosine().wavenumber(shape)
    of_signal, of_noise = (_in_rings(torch.cat(x).mean(0), wavenumber) for x in (signal, noise))
    centres = _in_rings(wavenumber[None].double(), wavenumber)[0]
    rows = []
    for variable, s, n in zip(data.spec.high_channels, of_signal, of_noise, strict=True):
        rows += [
            {"run": run.name, "method": method, "variable": variable, "points_per_wave": f"{1 / k:.4g}",
             "signal_to_noise": f"{ratio:.5g}"}
            for k, ratio in zip(centres.tolist(), (s / n).tolist(), strict=True) if np.isfinite(ratio)
        ]  # fmt: skip
    return rows


def _in_rings(power: Tensor, wavenumber: Tensor) -> Tensor:
    """(C, H, W) → (C, rings): means over rings of equal width in the logarithm of the wavenumber, without the mean field."""
    inside = wavenumber > 0
    lowest, highest = float(wavenumber[inside].min()), float(wavenumber.max())
    edges = torch.logspace(np.log10(lowest) - EDGE, np.log10(highest) + EDGE, RINGS + 1, dtype=torch.float64)
    ring = torch.bucketize(wavenumber.double(), edges) - 1
    return torch.stack([power[:, inside & (ring == i)].mean(1) for i in range(RINGS)], dim=1)


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """One panel a variable: flat where every scale is buried together."""
    variables = list(dict.fromkeys(row["variable"] for row in rows))
    looks = make_looks({row["method"]: row["method"] for row in rows})
    with picture(path, 3.6 * len(variables), 3.2) as figure:
        axes = figure.subplots(1, len(variables), sharey=True, squeeze=False)[0]
        for ax, variable in zip(axes, variables, strict=True):
            for method, look in looks.items():
                own = [r for r in rows if (r["method"], r["variable"]) == (method, variable)]
                x, y = ([float(r[name]) for r in own] for name in ("points_per_wave", "signal_to_noise"))
                ax.plot(x, y, label=method, **look.line)
            ax.axhline(1, color=ink(), lw=0.8)
            ax.set_yscale("log")
            log_axis(ax, "x")
            ax.invert_xaxis()
            ax.set(title=variable, xlabel="points a wave")
        axes[0].set_ylabel("signal / noise at half of the variance")
        axes[-1].legend()


if __name__ == "__main__":
    main()
