"""Figures of a sweep's fid_vs_steps.csv: distance against T and against time, training curves, samples.

Beside the table lie `curves.csv` (distances during training) and `samples/` (pictures), as `fdsr sweep` writes them; what is not
there is not drawn.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

import matplotlib

matplotlib.use("Agg")  # no display where runs are made

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.image import imread
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, StrMethodFormatter

from fdsr import maps
from fdsr.errors import FdsrError

Row = dict[str, str]
Key = tuple[str, str]  # method, divergence

FLOOR = "test_images"
AXES = ("nfe", "seconds_per_image")
NAMES = {"fid": "FID", "fid_test": "FID to the test images", "kid": "KID", "classifier_frechet": "classifier_frechet"}
# of the last quarter of training: a curve that still falls by more is not flat
_FLAT = 0.05


def draw_sweep(table: Path, output: Path) -> list[Path]:
    """Draw every figure that the table allows and print where they are. Raises FdsrError for a table without distances."""
    rows, shown, curves = read_sweep_table(table)
    generated = [r for r in rows if r["method"] != FLOOR]
    flat = flattened(curves)
    paths = [_draw_distances(rows, name, flat, output / f"{name}_vs_steps.png") for name in shown]
    paths += [_draw_curves(curves, output / "training_curves.png")] if curves else []
    paths += _draw_samples(generated, table.parent / "samples", shown, output)
    for path in paths:
        print(f"figure: {path}")
    return paths


def read_sweep_table(table: Path) -> tuple[list[Row], list[str], list[Row]]:
    """Rows of the table, the names of the distances that it has, and the curves beside it.

    Raises FdsrError for a table without distances.
    """
    rows = _read(table, ("method", "T", "nfe", "seconds_per_image", "classifier_frechet"))
    generated = [r for r in rows if r["method"] != FLOOR]
    shown = [name for name in ("fid", "classifier_frechet") if any(_number(r, name) is not None for r in generated)]
    if not shown:
        raise FdsrError(f"'{table}' has no distance yet; finish a point of the sweep first")
    curves = _read(table.parent / "curves.csv", ()) if (table.parent / "curves.csv").is_file() else []
    return rows, shown, curves


def flattened(curves: list[Row]) -> set[tuple[str, ...]]:
    """(method, divergence, T, seed) of the trainings whose distance fell by less than 5 % in their last quarter.

    Compared are the lowest of the measurements in that quarter and the last one before it, so that noise makes a training look
    unfinished rather than finished; one with fewer than four measurements shows nothing.
    """
    found = set()
    for (key, _), points in _grouped(curves, lambda c: (_training(c), c["metric"])).items():
        steps = [(float(p["step"]), float(p["value"])) for p in points]
        end = max(step for step, _ in steps)
        before = [value for step, value in steps if step <= 0.75 * end]
        late = [value for step, value in steps if step > 0.75 * end]
        if len(steps) >= 4 and before and min(late) > (1 - _FLAT) * before[-1]:
            found.add(key)
    return found


def _draw_distances(rows: list[Row], name: str, flat: set[tuple[str, ...]], path: Path) -> Path:
    """Two panels: against network evaluations and against seconds an image; a line through the means over seeds."""
    measured = [r for r in rows if r["method"] != FLOOR and _number(r, name) is not None]
    keys: list[Key] = list(dict.fromkeys((r["method"], r.get("divergence", "")) for r in measured))
    colours = {key: f"C{i % 10}" for i, key in enumerate(keys)}
    fig, axes = plt.subplots(1, 2, figsize=(11, 4.6), sharey=True, layout="constrained")
    for ax, against in zip(axes, AXES, strict=True):
        styles = draw_distances(ax, rows, name, against, flat, colours)
        ax.tick_params(which="both", labelsize=8)
    axes[0].set_xlabel("network evaluations an image (T, where trained at T)")
    axes[0].set_ylabel(f"{NAMES[name]} to the training images")
    handles = [Line2D([], [], color=c, marker="o", ms=4, label=_label(k)) for k, c in colours.items()]
    handles += [Line2D([], [], color="0.4", ls=style, label=label) for label, style in styles.items() if label]
    handles += [Line2D([], [], color="0.4", ls="", marker="o", mfc="white", ms=5, label="not shown to have converged")]
    fig.legend(handles=handles, loc="outside right upper", fontsize=8, frameon=False)
    return _save(fig, path)


def draw_distances(
    ax: Axes,
    rows: list[Row],
    name: str,
    against: str,
    flat: set[tuple[str, ...]],
    colours: dict[Key, str],
    paper: str = "white",
    ink: str = "k",
) -> dict[str, str]:
    """Distance `name` against one of AXES: a line through the means over seeds for every method and number of images.

    Points are filled where the training is among `flat`. Returns numbers of images, in words → line style.
    """
    measured = [r for r in rows if r["method"] != FLOOR and _number(r, name) is not None]
    # compared are equal numbers of images only, so each line has its own
    lines = _grouped(measured, lambda r: (r["method"], r.get("divergence", ""), _counts(r)))
    counts = sorted(measured, key=lambda r: -int(r.get("n_generated") or 0))
    styles = dict(zip(dict.fromkeys(map(_counts, counts)), ("-", "--", ":", "-."), strict=False))
    for key, points in lines.items():
        _draw_line(ax, points, against, name, colours[key[:2]], styles.get(key[2], "-"), flat, paper)
    for row in (r for r in rows if r["method"] == FLOOR and _number(r, name) is not None):
        ax.axhline(float(row[name]), color=ink, lw=0.8, ls=":")
        where = (0.995, float(row[name]))
        ax.annotate("test images", where, xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=7)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.grid(which="both", alpha=0.25)
    _plain_numbers(ax)
    if against == "nfe":
        steps = sorted({int(r["nfe"]) for r in measured})
        ax.set_xticks(_spread(steps), [str(s) for s in _spread(steps)])
        ax.set_xticks([], minor=True)
        ax.set_xlabel("network evaluations an image")
    else:
        devices = ", ".join(dict.fromkeys(r.get("device", "") for r in measured))
        ax.set_xlabel(f"seconds an image ({devices})")
    return styles


def _counts(row: Row) -> str:
    """How many images were compared, in words; nothing where the table does not say."""
    generated, reference = (int(row.get(name) or 0) for name in ("n_generated", "n_reference"))
    return f"{generated:,} images" * bool(generated) + f" with {reference:,}" * bool(reference)


def _draw_line(
    ax: Axes, points: list[Row], against: str, name: str, colour: str, style: str, flat: set, paper: str
) -> None:
    by_place = _grouped(points, lambda r: (r["T"], r["nfe"]))
    means = sorted(
        (fmean(float(r[against]) for r in group), fmean(float(r[name]) for r in group)) for group in by_place.values()
    )
    ax.plot(*zip(*means, strict=True), color=colour, ls=style, lw=1.2)
    for row in points:
        filled = colour if _training(row) in flat else paper
        ax.plot(float(row[against]), float(row[name]), "o", ms=5, color=colour, mfc=filled, zorder=3)


def _draw_curves(curves: list[Row], path: Path) -> Path:
    """Distances during training, a panel for each; a line for each training."""
    panels = _grouped(curves, lambda c: c["metric"])
    # tests that share a training share its curve: it is drawn once
    trainings: dict[tuple[Any, ...], tuple[str, ...]] = {}
    for training, points in _grouped(curves, _training).items():
        trainings.setdefault(tuple((p["metric"], p["step"], p["value"]) for p in points), training)
    styles: dict[tuple[str, ...], dict[str, Any]] = {
        training: {"color": f"C{i % 10}", "ls": ("-", "--", ":", "-.")[i // 10 % 4]}
        for i, training in enumerate(trainings.values())
    }
    fig, axes = plt.subplots(
        1, len(panels), figsize=(6.5 * len(panels) + 2.5, 4.6), squeeze=False, layout="constrained"
    )
    for ax, (metric, lines) in zip(axes[0], panels.items(), strict=True):
        against = "images_seen" if all(c["images_seen"] for c in lines) else "step"
        for training, points in _grouped([c for c in lines if _training(c) in styles], _training).items():
            ax.plot(
                [float(p[against]) for p in points], [float(p["value"]) for p in points], marker=".", **styles[training]
            )
        ax.set_yscale("log")
        _plain_numbers(ax)
        ax.tick_params(which="both", labelsize=8)
        ax.grid(which="both", alpha=0.25)
        ax.set_xlabel("images seen in training" if against == "images_seen" else "training steps")
        counts = ", ".join(dict.fromkeys(c["n_generated"] for c in lines))
        ax.set_ylabel(f"{NAMES[metric]} of {counts} images")
    handles = [
        Line2D([], [], marker=".", label=_training_label(training), **style) for training, style in styles.items()
    ]
    fig.legend(handles=handles, loc="outside right upper", fontsize=7, frameon=False)
    return _save(fig, path)


def sampled(table: Path) -> Iterator[tuple[str, dict[str, float], Path]]:
    """What the table's pictures show, in order: title, distances, and the picture."""
    rows, shown, _ = read_sweep_table(table)
    for row in _joined(rows):
        path = table.parent / "samples" / f"{_sample_name(row)}.png"
        if row["method"] != FLOOR and path.is_file():
            steps = (f"T = {row['T']}" if row["T"] == row["nfe"] else f"T = {row['T']}, {row['nfe']} steps") + (
                f", seed {row['seed']}" if row["seed"] else ""
            )
            values = {name: value for name in shown if (value := _number(row, name)) is not None}
            yield f"{_label((row['method'], row['divergence']))}, {steps}", values, path


def _draw_samples(rows: list[Row], folder: Path, shown: list[str], output: Path) -> Iterator[Path]:
    """A figure a method, of its first seed: a row a divergence, a column a number of evaluations."""
    seeds = {r["method"]: r["seed"] for r in reversed(rows)}
    found = [(r, folder / f"{_sample_name(r)}.png") for r in _joined(rows) if r["seed"] == seeds[r["method"]]]
    found = [(r, path) for r, path in found if path.is_file()]
    for (method,), group in _grouped(found, lambda pair: (pair[0]["method"],)).items():
        divergences = list(dict.fromkeys(r["divergence"] for r, _ in group))
        places = sorted({(int(r["nfe"]), int(r["T"] or 0)) for r, _ in group})
        fig, axes = plt.subplots(
            len(divergences), len(places), figsize=(2.6 * len(places) + 0.4, 2.95 * len(divergences) + 0.4),
            squeeze=False, layout="constrained",
        )  # fmt: skip
        for ax in axes.flat:
            ax.set_axis_off()
        for row, path in group:
            ax = axes[divergences.index(row["divergence"])][places.index((int(row["nfe"]), int(row["T"] or 0)))]
            ax.imshow(imread(path), interpolation="nearest")
            values = [f"{NAMES[name]} {float(row[name]):.3g}" for name in shown if row[name]]
            steps = f"T = {row['T']}" if row["T"] == row["nfe"] else f"T = {row['T']}, {row['nfe']} steps"
            ax.set_title("\n".join([_label((method, row["divergence"])) + f", {steps}", *values]), fontsize=8)
        yield _save(fig, output / f"samples_{method}.png".replace("+", "p"))


def _joined(rows: list[Row]) -> list[Row]:
    """Rows of the same images made one: each distance is that of the first row which has it."""
    groups = _grouped(rows, lambda r: (r["method"], _sample_name(r))).values()
    return [{name: next((r[name] for r in group if r[name]), "") for name in group[0]} for group in groups]


# -- small things ------------------------------------------------------------------------------------------------------


def _read(path: Path, needed: tuple[str, ...]) -> list[Row]:
    if not path.is_file():
        raise FdsrError(f"'{path}' does not exist; 'fdsr sweep' writes it")
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
    missing = [name for name in needed if name not in (reader.fieldnames or ())]
    if missing:
        raise FdsrError(f"'{path}' has no column '{missing[0]}'; it is not a fid_vs_steps.csv")
    return rows


def _number(row: Row, name: str) -> float | None:
    return float(row[name]) if row.get(name) else None


def _grouped(items: list[Any], key: Callable[[Any], Any]) -> dict[Any, list[Any]]:
    """Items by key, both in the order of their appearance."""
    groups: dict[Any, list[Any]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def _training(row: Row) -> tuple[str, ...]:
    return row["method"], row.get("divergence", ""), row.get("T", ""), row.get("seed", "")


def _training_label(training: tuple[str, ...]) -> str:
    method, divergence, steps, seed = training
    return f"{_label((method, divergence))}, T = {steps}" + (f", seed {seed}" if seed else "")


def _label(key: Key) -> str:
    return " ".join(part for part in key if part)


def _sample_name(row: Row) -> str:
    parts = [row["method"], *([row["divergence"]] if row["divergence"] else [])]
    return "-".join([*parts, *(f"{k}{row[k]}" for k in ("T", "nfe", "seed") if row[k])])


def _plain_numbers(ax: Axes) -> None:
    """1, 2, 5, 10 and not 10⁰, 10¹ on a logarithmic axis of distances."""
    ax.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
    for axis_format in (ax.yaxis.set_major_formatter, ax.yaxis.set_minor_formatter):
        axis_format(StrMethodFormatter("{x:g}"))


def _spread(steps: list[int]) -> list[int]:
    """Those of the ticks that do not run into each other."""
    kept = steps[:1]
    for step in steps[1:]:
        if step >= 1.3 * kept[-1]:
            kept.append(step)
    return kept


def _save(fig: plt.Figure, path: Path) -> Path:
    maps.save_png(fig, path)
    plt.close(fig)
    return path
