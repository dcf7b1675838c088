"""Figures as SVG that takes its colours from the page around it, so that one drawing serves light and dark."""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib

matplotlib.use("Agg")  # no display where reports are made

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

SERIES = 14  # colours that the page's style sheet has
INK, FAINT, PAPER = "#010203", "#040506", "#070809"  # stand for its text, its lines and its background
SIZE = (3.6, 2.7)  # inches of a panel: as wide as a telephone, so that its text is as large as the page's
_MARKERS = "osD^vPX*<>"
_DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))
_STYLE: Any = {
    "svg.fonttype": "none", "font.size": 8.5, "axes.edgecolor": INK, "axes.labelcolor": INK, "text.color": INK, "xtick.color": INK,
    "ytick.color": INK, "axes.linewidth": 0.6, "xtick.major.width": 0.6, "ytick.major.width": 0.6, "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4, "axes.spines.top": False, "axes.spines.right": False, "grid.color": FAINT, "grid.linewidth": 0.5,
    "axes.facecolor": "none", "figure.facecolor": "none", "savefig.facecolor": "none", "lines.linewidth": 1.5,
    "axes.axisbelow": True, "legend.frameon": False,
}  # fmt: skip
_ids = itertools.count()


def colour(i: int) -> str:
    """Of series `i`; the page's palette repeats."""
    return f"#a0b0{i % SERIES:02x}"


def marker(i: int) -> str:
    return _MARKERS[i % len(_MARKERS)]


def dashes(i: int) -> Any:
    return _DASHES[i % len(_DASHES)]


def series(i: int) -> str:
    """The group id by which the page finds, and hides, what belongs to series `i`."""
    return f"series{i}"


@contextmanager
def panel(width: float = SIZE[0], height: float = SIZE[1]) -> Iterator[tuple[Axes, list[str]]]:
    """Axes to draw on, and a list that holds the finished SVG afterwards."""
    finished: list[str] = []
    with plt.rc_context(_STYLE):
        figure = plt.figure(figsize=(width, height), layout="constrained")
        try:
            ax = figure.subplots()
            ax.grid(which="major")
            yield ax, finished
            finished.append(to_svg(figure))
        finally:
            plt.close(figure)


def to_svg(figure: Figure) -> str:
    """Inline SVG: colours by style-sheet variables, text as text, no fixed size and no address of any kind."""
    # ids must differ between figures of a page: what one that is hidden defines cannot be used by another
    with plt.rc_context(_STYLE | {"svg.hashsalt": f"fdsr{next(_ids)}"}):
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :].strip()
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.S)
    head, rest = text.split(">", 1)
    box = re.search(r'viewBox="([^"]*)"', head)
    assert box is not None  # matplotlib always writes one
    # a style element would hold for the whole page; the page's own style sheet says the same of figures alone
    rest = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", rest, flags=re.S)
    rest = re.sub(r'<g id="series(\d+)">', r'<g class="s s\1">', rest)
    rest = re.sub(r'<g id="(?![mp][0-9a-f]{10}")[^"]*">', "<g>", rest)
    rest = rest.replace("xlink:href", "href")
    rest = re.sub(r"font-family: [^;]*; ", "", rest)  # the page's
    rest = re.sub(r"\s*\n\s*", " ", rest)
    for sentinel, variable in ((INK, "--ink"), (FAINT, "--faint"), (PAPER, "--paper")):
        rest = rest.replace(sentinel, f"var({variable})")
    rest = re.sub(r"#a0b0([0-9a-f]{2})", lambda m: f"var(--c{int(m[1], 16)})", rest)
    return f'<svg viewBox="{box[1]}" aria-hidden="true">{rest.strip()}'
