"""Axes that can be read: plain numbers with room between them. All are called once everything is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, FuncFormatter, MaxNLocator, NullFormatter, NullLocator

# of an axis' length: what a label needs
_ROOM = {"x": 0.105, "y": 0.085}
_STEPS = ((1, 1.5, 2, 3, 4, 5, 7), (1, 2, 5), (1,))
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def log_axis(ax: Axes, which: Literal["x", "y"]) -> None:
    """Logarithmic, labelled 1, 2, 5, 10 and not 10⁰, 10¹."""
    getattr(ax, f"set_{which}scale")("log")
    low, high = sorted(getattr(ax, f"get_{which}lim")())
    if not low > 0:  # nothing was drawn: all of it is missing, or zero
        low, high = getattr(ax, f"set_{which}lim")(1.0, 10.0)
    if high < 3 * low:
        ticks = MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    else:
        decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
        tried = [[m * 10.0**p for p in decades for m in steps] for steps in _STEPS]
        tried += [[10.0**p for p in decades if p % every == 0] for every in (2, 3, 5)]
        room = _ROOM[which] * np.log(high / low)
        inside = [[t for t in ticks if low <= t <= high] for ticks in tried]
        ticks = next((found for found in inside if np.diff(np.log(found)).min(initial=np.inf) >= room), inside[-1])
    show_ticks(ax, which, [t for t in ticks if low <= t <= high])


def show_ticks(ax: Axes, which: Literal["x", "y"], ticks: Sequence[float], labels: Sequence[str] | None = None) -> None:
    """These ticks and no others."""
    getattr(ax, f"set_{which}ticks")(ticks, labels or [f"{tick:g}" for tick in ticks])
    getattr(ax, f"{which}axis").set_minor_locator(NullLocator())


def step_axis(ax: Axes, label: str) -> None:
    """Steps of a training, or images that it has seen."""
    ax.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    ax.xaxis.set_major_formatter(EngFormatter(sep=""))  # 500k, 2M
    ax.set_xlabel(label)


def apart(places: Sequence[float], ratio: float = 1.35) -> list[float]:
    """Of places on a logarithmic axis, those whose labels do not run into each other."""
    kept = list(places[:1])
    for place in places[1:]:
        if place >= ratio * kept[-1]:
            kept.append(place)
    return kept


def wavelength_axis(ax: Axes, unit: str = "km") -> None:
    """Logarithmic, long waves first."""
    log_axis(ax, "x")
    ax.invert_xaxis()
    ax.set_xlabel(f"wavelength ({unit})")


def power_axis(ax: Axes) -> None:
    """Logarithmic over many powers of ten, in letters that every font has."""
    ax.set_yscale("log")
    power = FuncFormatter(lambda value, _: "10" + str(round(np.log10(value))).translate(_SUPERSCRIPTS))
    ax.yaxis.set_major_formatter(power)
    ax.yaxis.set_minor_formatter(NullFormatter())
