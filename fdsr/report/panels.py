"""The curves of a page: quality against cost, spectra, ranks, and distances of a sweep."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from fdsr.report import svg
from fdsr.report.studies import Entry, Estimate, Study

_WIDE = 6.0  # values that differ by more get a logarithmic axis
_NONE = 0.5  # where a logarithmic axis of network evaluations has its zero


@dataclass(frozen=True)
class Panel:
    """One figure. title: what is drawn. svg: inline markup. alt: the same in words, for those who do not see it."""

    title: str
    svg: str
    alt: str


@dataclass(frozen=True)
class Series:
    """How an entry looks in every figure: methods by colour, their settings by marker and dashes."""

    index: int
    colour: int
    variant: int

    @property
    def line(self) -> dict[str, Any]:
        return {"color": svg.colour(self.colour), "ls": svg.dashes(self.variant), "gid": svg.series(self.index)}

    @property
    def marker(self) -> str:
        return svg.marker(self.colour + self.variant)


def looks(study: Study) -> dict[str, Series]:
    """Label → how it is drawn."""
    methods = list(dict.fromkeys(e.method for e in study.entries))
    seen = dict.fromkeys(methods, 0)
    found = {}
    for index, entry in enumerate(study.entries):
        found[entry.label] = Series(index, methods.index(entry.method), seen[entry.method])
        seen[entry.method] += 1
    return found


# -- quality against cost ----------------------------------------------------------------------------------------------


def cost_panels(study: Study, metric: str, variable: str, ylabel: str, what: str) -> list[Panel]:
    """`metric` against network evaluations, and against seconds where any are known."""
    costs: list[tuple[str, str, Callable[[Entry], float | None]]] = [
        ("network evaluations a member (NFE)", "NFE", lambda e: float(e.nfe)),
        ("seconds a member", "wall time", lambda e: s.value if (s := e.seconds()) else None),
    ]
    panels = []
    for xlabel, name, cost in costs:
        points = [
            (e, x, y)
            for e in study.entries
            if (x := cost(e)) is not None and (y := study.estimate(e, metric, variable)) is not None
        ]
        if points:
            with svg.panel() as (ax, finished):
                _draw_cost(ax, study, points, counts=name == "NFE")
                ax.set_xlabel(xlabel)
                ax.set_ylabel(ylabel)
            alt = "; ".join(f"{e.label}: {y.value:.4g} at {x:.4g}" for e, x, y in points)
            panels.append(Panel(f"{what} against {name}", finished[0], alt))
    return panels


def _draw_cost(ax: Axes, study: Study, points: list[tuple[Entry, float, Estimate]], counts: bool) -> None:
    drawn = looks(study)
    place = (lambda x: x or _NONE) if counts else (lambda x: x)
    # a line joins what differs in its evaluations alone
    lines: dict[tuple[object, ...], list[tuple[float, float, Entry]]] = {}
    for entry, x, y in points:
        others = tuple(sorted((axis, v) for axis, v in entry.runs[0].axes.items() if axis != "nfe"))
        lines.setdefault((entry.method, others), []).append((x, y.value, entry))
    for own in lines.values():
        if len({x for x, _, _ in own}) > 1:
            first = drawn[own[0][2].label]
            own.sort(key=lambda point: point[0])
            ax.plot(
                [place(x) for x, _, _ in own],
                [y for _, y, _ in own],
                color=svg.colour(first.colour),
                lw=1,
                gid=svg.series(first.index),
            )
    for entry, x, y in points:
        look = drawn[entry.label]
        base: dict[str, Any] = {"color": svg.colour(look.colour), "gid": svg.series(look.index)}
        if y.spread is not None:
            ax.plot([place(x)] * 2, [y.value - y.spread, y.value + y.spread], lw=1, **base)
        # hollow: a mean absolute error in the CRPS's place
        face = svg.PAPER if y.single else svg.colour(look.colour)
        ax.plot([place(x)], [y.value], marker=look.marker, ms=5.5, mfc=face, mew=1.2, ls="", zorder=3, **base)
    ax.set_xscale("log")
    xs = sorted({place(x) for _, x, _ in points})
    if counts:
        kept = _apart(xs)
        ax.set_xticks(kept, ["0" if x == _NONE else f"{x:g}" for x in kept])
        ax.xaxis.set_minor_locator(NullLocator())
    else:
        _plain(ax.xaxis)
    ax.set_xlim(xs[0] / 1.6, xs[-1] * 1.6)
    ax.margins(y=0.12)
    ys = [y.value for _, _, y in points]
    if min(ys) > 0 and max(ys) > _WIDE * min(ys):  # interpolation's spectrum would press all others onto the axis
        ax.set_yscale("log")
        _plain(ax.yaxis)


# -- spectra and ranks -------------------------------------------------------------------------------------------------


def spectra_panels(study: Study) -> tuple[list[Panel], list[Panel]]:
    """By wavelength, a panel a variable: the power of the members over the truth's, and the power of both."""
    opened = {e.label: mean_over_seeds(e, "spectrum") for e in study.entries}
    found = {label: band_near_45(ds) for label, ds in opened.items() if ds is not None}
    drawn = looks(study)
    ratios, spectra = [], []
    for name in study.variables if found else ():
        own = {label: ds.sel(variable=name) for label, ds in found.items()}
        latitude = float(next(iter(own.values())).band_latitude)
        where = f"{name} at {latitude:.0f}°" if np.isfinite(latitude) else name
        ratios.append(_ratio_panel(f"{where}: power ratio", own, drawn))
        spectra.append(_spectrum_panel(f"{where}: power", own, drawn))
    return ratios, spectra


def _ratio_panel(title: str, bands: dict[str, xr.Dataset], drawn: dict[str, Series]) -> Panel:
    ratios = {label: power_ratio(ds) for label, ds in bands.items()}
    with svg.panel() as (ax, finished):
        for label, (wavelength, decibel) in ratios.items():
            ax.plot(wavelength, np.maximum(decibel, -25), marker=drawn[label].marker, ms=3.5, **drawn[label].line)
        ax.axhline(0, color=svg.INK, lw=0.8)
        wavelength_axis(ax)
        ax.set_ylim(-25, max(4.0, *(1.1 * float(np.max(d, initial=0.0)) for _, d in ratios.values())))
        ax.set_ylabel("power against truth (dB)")
    alt = "; ".join(f"{label}: {d[-1]:+.1f} dB at {w[-1]:.0f} km" for label, (w, d) in ratios.items() if len(w))
    return Panel(title, finished[0], alt)


def _spectrum_panel(title: str, bands: dict[str, xr.Dataset], drawn: dict[str, Series]) -> Panel:
    first = next(iter(bands.values()))
    keep = np.isfinite(first.wavenumber.values) & (first.wavenumber.values > 0)
    with svg.panel() as (ax, finished):
        for label, ds in bands.items():
            ax.plot(1 / ds.wavenumber.values[keep], ds.spectrum.values[keep], **drawn[label].line)
        ax.plot(
            1 / first.wavenumber.values[keep],
            first.spectrum_reference.values[keep],
            color=svg.INK,
            lw=2.2,
            ls=(0, (1, 1)),
        )
        ax.set_yscale("log")
        ax.yaxis.set_major_formatter(FuncFormatter(_power_of_ten))
        ax.yaxis.set_minor_formatter(NullFormatter())
        wavelength_axis(ax)
        ax.set_ylabel("power density (unit² km²)")
    return Panel(title, finished[0], f"spectra of {', '.join(bands)}, and of the truth (dotted)")


def rank_panels(study: Study) -> list[Panel]:
    """Rank histograms of the ensembles; flat is calibrated, a bowl is too narrow."""
    opened = {e.label: mean_over_seeds(e, "rank_histogram") for e in study.entries if e.members > 1}
    found = {label: ds for label, ds in opened.items() if ds is not None}
    drawn, panels = looks(study), []
    for name in study.variables if found else ():
        highest = 1.0
        with svg.panel(height=2.3) as (ax, finished):
            for label, ds in found.items():
                frequency = ds["rank_histogram"].sel(variable=name).values
                bins = frequency.size
                highest = max(highest, float(np.nanmax(frequency)) * bins)
                # ensembles of different sizes share an axis: the place of the truth among the members, and a flat 1
                line = drawn[label].line
                ax.stairs(frequency * bins, np.linspace(0.0, 1.0, bins + 1), linewidth=1.5, baseline=None, **line)
            ax.axhline(1, color=svg.INK, lw=0.8)
            ax.set_ylim(0, 1.08 * highest)
            ax.set_xlabel("rank of the truth / members")
            ax.set_ylabel("frequency / flat")
        ends = {label: ds["rank_histogram"].sel(variable=name).values for label, ds in found.items()}
        alt = "; ".join(f"{label}: {100 * (f[0] + f[-1]):.0f} % of the truth outside" for label, f in ends.items())
        panels.append(Panel(name, finished[0], alt))
    return panels


def mean_over_seeds(entry: Entry, name: str) -> xr.Dataset | None:
    """The scores of those of the entry's runs that have the score `name`, averaged; None where none has it."""
    found = [ds for run in entry.runs if (ds := run.folder.scores.read()) is not None and name in ds]
    if not found:
        return None
    with xr.set_options(keep_attrs=True):
        return sum(found[1:], start=found[0]) / len(found) if len(found) > 1 else found[0]


def band_near_45(scores: xr.Dataset) -> xr.Dataset:
    """The latitude band nearest to 45° N; the first where bands have no latitude."""
    distance = np.abs(scores.band_latitude.values - 45.0)
    return scores.isel(band=int(np.nanargmin(distance)) if np.isfinite(distance).any() else 0)


def power_ratio(band: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Wavelengths in km and decibels of the scored rings."""
    scored = band.scored.values.astype(bool)
    with np.errstate(divide="ignore", invalid="ignore"):
        decibel = 10 * np.log10(band.spectrum.values / band.spectrum_reference.values)
    return 1 / band.wavenumber.values[scored], decibel[scored]


# -- distances of a sweep ----------------------------------------------------------------------------------------------


def distance_panels(table: Path) -> tuple[list[Panel], list[tuple[str, int]]]:
    """FID(T) of a sweep's fid_vs_steps.csv, against steps and time, and who has which colour.

    Raises FdsrError for a table without distances.
    """
    from fdsr.report import sweep_figures as sweep

    rows, shown, curves = sweep.read_sweep_table(table)
    flat = sweep.flattened(curves)
    panels = []
    keys = list(dict.fromkeys((r["method"], r.get("divergence", "")) for r in rows if r["method"] != sweep.FLOOR))
    colours = {key: svg.colour(i) for i, key in enumerate(keys)}
    for name in shown:
        for against in sweep.AXES:
            with svg.panel() as (ax, finished):
                sweep.draw_distances(ax, rows, name, against, flat, colours, paper=svg.PAPER, ink=svg.INK)
                ax.grid(which="minor", visible=False)
                ax.set_ylabel(sweep.NAMES[name])
            words = "network evaluations (T)" if against == "nfe" else "seconds an image"
            measured = [r for r in rows if r.get(name) and r.get(against)]
            alt = "; ".join(
                f"{r['method']} {r.get('divergence', '')}, {r[against]}: {float(r[name]):.4g}" for r in measured
            )
            panels.append(Panel(f"{sweep.NAMES[name]} against {words}", finished[0], alt))
    return panels, [(" ".join(filter(None, key)), i % svg.SERIES) for i, key in enumerate(keys)]


# -- axes --------------------------------------------------------------------------------------------------------------


def wavelength_axis(ax: Axes) -> None:
    """Logarithmic, long waves first, with ticks that do not run into each other; call it once everything is drawn."""
    ax.set_xscale("log")
    low, high = ax.get_xlim()
    steps = (1, 2, 5) if high > 12 * low else (1, 1.5, 2, 3, 4, 5, 7)
    ticks = _apart([m * 10.0**p for p in range(-6, 9) for m in steps if low <= m * 10.0**p <= high])
    ax.set_xticks(ticks, [f"{t:g}" for t in ticks])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.invert_xaxis()
    ax.set_xlabel("wavelength (km)")


def _apart(places: Sequence[float], ratio: float = 1.35) -> list[float]:
    """Those of the ticks that do not run into each other."""
    kept = list(places[:1])
    for place in places[1:]:
        if place >= ratio * kept[-1]:
            kept.append(place)
    return kept


def _plain(axis: Any) -> None:
    """1, 2, 5, 10 and not 10⁰, 10¹."""
    axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    low, high = sorted(axis.get_view_interval())
    axis.set_minor_locator(LogLocator(subs=(2, 5)) if high < 200 * max(low, 1e-12) else NullLocator())
    axis.set_minor_formatter(FuncFormatter(lambda x, _: f"{x:g}"))


def _power_of_ten(value: float, _: object) -> str:
    exponent = round(np.log10(value))
    return "10" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
