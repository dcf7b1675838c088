"""The page of the study of real fields, its tables and pictures, from the runs of real_fields.yaml or real_fields_cpu.yaml.

    python experiments/real_fields.py RUNS --output experiments/results/real_fields

Beside what `fdsr report` writes: `intervals.csv`, every score with its spread over seeds and the interval in which it lies for 95 % of
the test sets that are drawn again from this one's blocks (tiles of rain and of the ERA5 sample, days of temperature, years of heights,
runs of turbulence, times of others);
`against.csv`, differences from the regression dressed in noise, the same blocks drawn for both; `summary.md`, method by kind of field;
`rain_members.png`, `rain_rainfarm.png` and those of `rain_x8`, members beside the truth. What is not finished is left out.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import xarray as xr
from matplotlib.colors import LogNorm
from numpy.typing import NDArray

from fdsr.atomic import write_text
from fdsr.drawing.png import picture
from fdsr.metrics.blocks import drawn_again
from fdsr.metrics.spectra import half_power_density, make_rings, ring_mean
from fdsr.records import RunFolder, Table
from fdsr.report.compare import report

DRAWS = 200
AGAINST = "regression_dressed"
REFERENCE = "bicubic"  # whose mean absolute error the CRPS is divided by
# what is drawn together: days, years, runs of 24 fields whose times count them, times of others; tiles where that is but one
PERIODS = {"temperature": "D", "era5_sample": "D", "heights": "Y", "turbulence": "24s"}
# pictures of members of rain: file's name after the data, and methods
SHOWN = {
    "members": ("ddpm_spectral", "two_stages", "onepass", "regression_gaussian_dressed"),
    "rainfarm": ("rainfarm",),
}
TILE = 64  # points a side, where tiles are drawn
WINDOW = 128  # rows and columns of a picture of rain

Found = dict[tuple[str, str], NDArray]  # (score, variable) → all blocks, then every draw


class Tested(NamedTuple):
    """A run whose test kept its blocks."""

    data: str
    method: str
    seed: str
    folder: RunFolder


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--output", type=Path, default=Path("experiments/results/real_fields"))
    arguments = parser.parse_args(argv)
    arguments.output.mkdir(parents=True, exist_ok=True)
    tested = list(finished(arguments.runs))
    found = {(t.data, t.method, t.seed): drawn(t) for t in tested}
    rows, differences = intervals(found), against(found)
    Table(arguments.output / "intervals.csv").write(rows)
    if differences:
        Table(arguments.output / "against.csv").write(differences)
    table = summary(rows, tested)
    write_text(arguments.output / "summary.md", table)
    print(table)
    for data in ("rain", "rain_x8"):
        for name, methods in SHOWN.items():
            draw_members([t for t in tested if t.data == data], methods, arguments.output / f"{data}_{name}.png")
    report([arguments.runs], arguments.output)


def finished(runs: Path) -> Iterator[Tested]:
    for folder in RunFolder.below(runs):
        point = folder.point
        if folder.table.exists() and folder.blocks.exists() and point:
            axes = point["axes"]
            yield Tested(str(axes["data"]), str(point["method"]), str(axes["seed"]), folder)


def drawn(tested: Tested) -> Found:
    """Scores of all blocks, and of blocks drawn again; of one data set the same draws for every method and seed."""
    blocks = tested.folder.blocks.read()
    assert blocks is not None
    times = blocks.time.values.astype("datetime64[s]")
    periods = times.astype(f"datetime64[{PERIODS.get(tested.data, 's')}]")
    tiles = blocks.row.values * 1e4 + blocks.column.values
    whole, draws = drawn_again(blocks, tiles if np.unique(periods).size == 1 else periods, DRAWS)
    found = {(s, v): np.concatenate([[x], draws[s][v]]) for s, named in whole.items() for v, x in named.items()}
    example, thresholds = tested.folder.example.read(), json.loads(blocks.attrs["task"])["thresholds"]
    if np.unique(times).size == 1 and example is not None:  # which is all that was tested
        for i, variable in enumerate(example["variable"].values):
            if least := min((t for t in thresholds.get(variable, ()) if t > 0), default=0.0):
                fields = (example[name].isel(variable=i).values.astype(float) / least for name in ("truth", "member"))
                spectra = tile_spectra(*(np.log1p(x.clip(0)) for x in fields))
                found |= {(f"log1p_lsd_fine_{TILE}_{name}", variable): x for name, x in spectra.items()}
    return found


def tile_spectra(truth: NDArray, members: NDArray, side: int = TILE, draws: int = DRAWS) -> dict[str, NDArray]:
    """Log-spectral distance at fine scales, of all tiles and of tiles drawn again: (1 + draws,) each, dB.

    `pooled`: of the mean power of all tiles, which the few with most of it rule. `each`: mean over tiles with something in them of each
    one's own, member by member, which asks that every place has its texture; chance alone leaves some of it.

    truth (H, W), members (M, H, W), cut into tiles of side × side points; wavenumbers in cycles a point, since tiles differ little in
    their spacing. A tile's spectrum is that of `fdsr.metrics.spectra`. Something: more than 1 (θ, before the logarithm) at 5 % of it.
    """
    rings = make_rings((side, side), (1.0, 1.0))
    fine = rings.scored & (rings.wavenumber > rings.wavenumber[rings.scored].max() / 2)

    def tiles(fields: NDArray) -> NDArray:
        """(M, H, W) → (M, tiles, side, side)."""
        height, width = (n // side * side for n in fields.shape[1:])
        cut = fields[:, :height, :width].reshape(len(fields), height // side, side, width // side, side)
        return cut.transpose(0, 1, 3, 2, 4).reshape(len(fields), -1, side, side)

    def power(fields: NDArray) -> NDArray:
        density = half_power_density(torch.from_numpy(tiles(fields)), (1.0, 1.0))
        return np.maximum(ring_mean(density, rings).numpy()[..., fine], np.finfo(float).tiny)

    mine, true = power(members), power(truth[None])[0]
    n = len(true)
    counts = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=draws)  # the same for every method
    weights = np.concatenate([np.ones((1, n)), counts])
    pooled = 10 * np.log10((weights @ mine.mean(0)) / (weights @ true))
    own = np.sqrt(np.square(10 * np.log10(mine / true)).mean(-1)).mean(0)
    wet = weights * ((tiles(truth[None])[0] > np.log1p(1)).mean((1, 2)) > 0.05)
    return {"pooled": np.sqrt(np.square(pooled).mean(1)), "each": wet @ own / wet.sum(1)}


Results = dict[tuple[str, str, str], Found]


def entries(found: Results) -> dict[tuple[str, str], list[Found]]:
    """(data, method) → its seeds."""
    out: dict[tuple[str, str], list[Found]] = {}
    for (data, method, _), values in found.items():
        out.setdefault((data, method), []).append(values)
    return out


def in_all(seeds: list[Found]) -> list[tuple[str, str]]:
    """The scores that every seed has."""
    return [key for key in seeds[0] if all(key in own for own in seeds)]


def intervals(found: Results) -> list[dict[str, Any]]:
    """A row a score, the mean over seeds; `crps_relative` is of the fair CRPS, or of one member's absolute error."""
    rows = []
    for (data, method), seeds in entries(found).items():
        reference = found.get((data, REFERENCE, "0"))
        for score, variable in in_all(seeds):
            if reference is not None and score == "crps":
                with np.errstate(divide="ignore", invalid="ignore"):  # draws of dry tiles alone
                    relative = [own["crps", variable] / reference["mae", variable] for own in seeds]
                rows.append(
                    {"data": data, "method": method, "variable": variable, "score": "crps_relative"}
                    | interval(relative)
                )
            values = [own[score, variable] for own in seeds]
            if np.isfinite(values[0][0]):
                rows.append({"data": data, "method": method, "variable": variable, "score": score} | interval(values))
    return rows


def interval(values: list[NDArray]) -> dict[str, Any]:
    """Mean over seeds, 2.5 and 97.5 % of it over draws of blocks, deviation over seeds."""
    mean = np.mean(values, axis=0)
    low, high = np.nanquantile(mean[1:], [0.025, 0.975])
    spread = f"{np.std([v[0] for v in values], ddof=1):.4g}" if len(values) > 1 else ""
    return {
        "value": f"{mean[0]:.6g}",
        "low": f"{low:.6g}",
        "high": f"{high:.6g}",
        "seeds": len(values),
        "seed_spread": spread,
    }


def against(found: Results) -> list[dict[str, Any]]:
    """Every ensemble less the dressed regression, paired by draws of blocks."""
    rows, every = [], entries(found)
    for (data, method), seeds in every.items():
        base = every.get((data, AGAINST))
        if base is None or method == AGAINST:
            continue
        for score, variable in in_all(seeds):
            if (score, variable) not in base[0] or not score.startswith(("crps", "brier", "fss", "rmse", "log1p")):
                continue
            mine, theirs = (np.mean([own[score, variable] for own in side], axis=0) for side in (seeds, base))
            if np.isfinite(difference := mine - theirs)[0]:
                row = {"data": data, "method": method, "against": AGAINST, "variable": variable, "score": score}
                rows.append(row | interval([difference]) | {"seeds": f"{len(seeds)} and {len(base)}"})
    return rows


def summary(rows: list[dict[str, Any]], tested: list[Tested]) -> str:
    """Method by kind of field: CRPS over bicubic's absolute error with its interval, spread over skill, log-spectral distance at fine
    scales, and how many seeds."""
    kinds = list(dict.fromkeys(t.data for t in tested))
    methods = list(dict.fromkeys(t.method for t in tested))
    lines = ["| method | " + " | ".join(kinds) + " |", "| --- |" + " --- |" * len(kinds)]
    for method in methods:
        cells = []
        for data in kinds:
            own = [r for r in rows if (r["data"], r["method"], r["score"]) == (data, method, "crps_relative")]
            if not own:
                cells.append("")
                continue
            # of several variables the mean, and the means of their intervals' ends
            value, low, high = (np.mean([float(r[name]) for r in own]) for name in ("value", "low", "high"))
            spectra = [spectral(t.folder) for t in tested if (t.data, t.method) == (data, method)]
            spread = [
                float(r["value"])
                for r in rows
                if (r["data"], r["method"], r["score"]) == (data, method, "spread_skill")
            ]
            said = f"{np.mean(spread):.2f}" if spread and np.mean(spread) > 0 else "–"
            cells.append(f"{value:.3f} ({low:.3f}–{high:.3f}) · {said} · {np.mean(spectra):.2f} dB · {own[0]['seeds']}")
        lines.append(f"| `{method}` | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def spectral(folder: RunFolder) -> float:
    """Log-spectral distance at fine scales, mean over variables; of rain that of its logarithm."""
    rows = folder.table.read()
    named = [r for r in rows if r["metric"] == "log1p_lsd_fine"] or [r for r in rows if r["metric"] == "lsd_fine"]
    return float(np.mean([float(r["value"]) for r in named])) if named else float("nan")


def draw_members(tested: list[Tested], methods: Sequence[str], path: Path) -> None:
    """Coarse field, truth and two members of each method in the window with most rain, on one logarithmic scale; dry is white."""
    examples = {t.method: ds for t in tested if t.seed == "0" and (ds := t.folder.example.read()) is not None}
    shown = [name for name in methods if name in examples]
    if not shown:
        return
    first = examples[shown[0]]
    rain = first.truth.isel(variable=0).values
    height, width = (min(n, WINDOW) for n in rain.shape)
    tops, lefts = (range(0, n - side + 1, WINDOW // 2) for n, side in zip(rain.shape, (height, width), strict=True))
    wet = {(r, c): (rain[r : r + height, c : c + width] > 0.1).mean() for r in tops for c in lefts}
    top, left = max(wet, key=lambda place: wet[place])
    scale = LogNorm(0.1, max(1.0, float(np.quantile(rain[top : top + height, left : left + width], 0.999))))

    def cut(field: xr.DataArray) -> NDArray:
        factor = rain.shape[0] // field.shape[0]
        whole = field.values.repeat(factor, 0).repeat(factor, 1)
        window = whole[top : top + height, left : left + width]
        return np.where(window >= scale.vmin, window, np.nan)

    with picture(path, 9.0, 2.3 * len(shown) + 0.5) as figure:
        axes = figure.subplots(len(shown), 4, squeeze=False)
        for row, name in zip(axes, shown, strict=True):
            ds = examples[name]
            members = [ds.member.isel(member=i, variable=0) for i in range(min(2, ds.sizes["member"]))]
            fields = [ds.coarse.isel(low_variable=0), ds.truth.isel(variable=0), *members]
            for ax, field in zip(row, fields, strict=False):
                image = ax.imshow(cut(field), "turbo", norm=scale, interpolation="nearest")
                ax.set(xticks=[], yticks=[])
                ax.grid(False)
            row[0].set_ylabel(name)
        for ax, what in zip(axes[0], ("coarse", "truth", "member 1", "member 2"), strict=True):
            ax.set_title(what)
        figure.colorbar(image, ax=axes[:, -1], shrink=0.6, label=f"rain, {first.units.values[0]}")
    print(f"figure: {path}")


if __name__ == "__main__":
    main()
