"""Figures as PNG files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

from fdsr.atomic import written_whole
from fdsr.drawing.style import PALETTE, SIZE, Look, Panel, settings

DPI = 100
_SETTINGS = settings([light for light, _ in PALETTE], ink="#1c2430", faint="#e3e7ec", paper="#ffffff")
_COLUMNS = 4
_LEGEND = 0.16  # inches of a line


@contextmanager
def picture(path: Path, width: float, height: float) -> Iterator[Figure]:
    """A figure of that size in inches to draw on; once it is drawn it is written, whole or not at all."""
    with rc_context(_SETTINGS):
        figure = Figure((width, height), layout="constrained")
        yield figure
        with written_whole(path) as partial:
            figure.savefig(partial, dpi=DPI, format="png")


def save_panels(rows: Sequence[Sequence[Panel]], looks: Mapping[str, Look], path: Path) -> Path:
    """Panels in rows, long rows broken, and at their right the names of all that is drawn; returns `path`."""
    lines = [row[i : i + _COLUMNS] for row in rows for i in range(0, len(row), _COLUMNS)]
    columns = max(map(len, lines))
    heights = [max(panel.height for panel in line) for line in lines]
    longest = max(map(len, looks))
    width, height = SIZE[0] * columns + 0.6 + 0.066 * longest, max(sum(heights), 0.2 + _LEGEND * len(looks))
    with picture(path, width, height) as figure:
        axes = figure.subplots(len(lines), columns, squeeze=False, height_ratios=heights)
        for ax in axes.flat:
            ax.set_visible(False)
        for places, line in zip(axes, lines, strict=True):
            for ax, panel in zip(places, line, strict=False):
                ax.set_visible(True)
                panel.draw(ax)
                ax.set_title(panel.title)
        drawn = {artist.get_gid() for ax in axes.flat for artist in ax.get_children()}
        named = [look.sample(label) for label, look in looks.items() if look.tint.get("gid") in drawn]
        figure.legend(handles=named, loc="outside right upper")
    return path
