"""One look for every figure: colours, markers and dashes of series; letters, lines and background of axes."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

# of series, on light and on dark; one more begins again
PALETTE = (
    ("#1f6fb2", "#6cb4f0"), ("#d1570a", "#ff9a52"), ("#2a8a3c", "#6fce7f"), ("#b8325e", "#ff86a8"), ("#6f4fb3", "#b79cf5"),
    ("#8a5a2b", "#d3a377"), ("#0b8a8f", "#4fd0d4"), ("#9a7d00", "#e6c94a"), ("#5b6b7b", "#a9b8c6"), ("#c832a8", "#f58fe0"),
    ("#33418f", "#95a3ff"), ("#8f2a1c", "#ff7466"), ("#6b8e00", "#b9de3c"), ("#c98298", "#e6b9c8"),
)  # fmt: skip
FIELDS, SPREAD = "viridis", "magma"  # colours of maps
SIZE = (3.6, 2.7)  # inches of a panel: as wide as a telephone, so that its text is as large as the page's
_MARKERS = "osD^vPX*<>"
_DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))


def settings(colours: Sequence[str], ink: str, faint: str, paper: str) -> dict[Any, Any]:
    """matplotlib's settings for series of these colours, and text, grid and background of the others."""
    return {
        "axes.prop_cycle": cycler(color=colours), "text.color": ink, "axes.edgecolor": ink, "axes.labelcolor": ink, "xtick.color": ink,
        "ytick.color": ink, "grid.color": faint, "figure.facecolor": paper, "axes.facecolor": "none", "font.size": 8.5,
        "axes.titlesize": "medium", "figure.titlesize": "large", "axes.linewidth": 0.6, "xtick.major.width": 0.6, "ytick.major.width": 0.6,
        "xtick.minor.width": 0.4, "ytick.minor.width": 0.4, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
        "axes.grid.which": "major", "grid.linewidth": 0.5, "axes.axisbelow": True, "lines.linewidth": 1.5, "lines.markersize": 3.5,
        "legend.frameon": False,
    }  # fmt: skip


def ink() -> str:
    """The colour of text, in a file or on the page."""
    return str(matplotlib.rcParams["text.color"])


def paper() -> str:
    """The colour behind everything, of which hollow marks are filled."""
    return str(matplotlib.rcParams["figure.facecolor"])


@dataclass(frozen=True)
class Look:
    """How one series is drawn.

    label: its name in legends. colour: its place in the palette; None is that of text. marker, dashes: "" for no marks, no line.
    index: the number by which the page hides it; None if it is never hidden. hollow: whether its marks are.
    """

    label: str
    colour: int | None = None
    marker: str = ""
    dashes: Any = "-"
    width: float = 1.5
    index: int | None = None
    hollow: bool = False

    @property
    def line(self) -> dict[str, Any]:
        """For `Axes.plot`, without marks."""
        return {"ls": self.dashes, "lw": self.width} | self.tint

    @property
    def mark(self) -> dict[str, Any]:
        """For `Axes.plot`: marks alone."""
        face = paper() if self.hollow else self.tint["color"]
        return {"marker": self.marker, "ms": 5.5, "mfc": face, "mew": 1.2, "ls": "", "zorder": 3} | self.tint

    @property
    def tint(self) -> dict[str, Any]:
        """Colour, and the group by which the page finds it."""
        gid = {} if self.index is None else {"gid": f"series{self.index}"}
        return {"color": ink() if self.colour is None else f"C{self.colour}"} | gid

    @property
    def sample(self) -> Line2D:
        """A line and a mark, for a legend."""
        return Line2D([], [], label=self.label, **self.mark | self.line | {"ms": 4.5})


TRUTH = Look("truth", dashes=(0, (1, 1)), width=2.2)


@dataclass(frozen=True)
class Panel:
    """One diagram. title: what is drawn. draw: puts it on empty axes. alt: the same in words. looks: of what is drawn, for a legend.

    height: in inches.
    """

    title: str
    draw: Callable[[Axes], None]
    alt: str
    looks: Iterable[Look]
    height: float = SIZE[1]


def dashes(number: int) -> Any:
    return _DASHES[number % len(_DASHES)]


def make_looks(groups: Mapping[str, Hashable], order: Iterable[Hashable] = ()) -> dict[str, Look]:
    """Label → its look: a colour for each group, and in a group other markers and dashes for each label.

    Args:
        groups: label → its group.
        order: groups whose colours come first.
    """
    colours = list(dict.fromkeys([*order, *groups.values()]))
    seen = dict.fromkeys(colours, 0)
    found = {}
    for index, (label, group) in enumerate(groups.items()):
        colour, variant = colours.index(group), seen[group]
        marker = _MARKERS[(colour + variant) % len(_MARKERS)]
        found[label] = Look(label, colour % len(PALETTE), marker, dashes(variant), index=index)
        seen[group] += 1
    return found
