"""Figures, and images side by side, as PNG files."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from einops import rearrange
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.image import imsave
from numpy.typing import NDArray

from fdsr.atomic import written_whole
from fdsr.drawing.style import PALETTE, SIZE, Panel, settings

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


def save_panels(rows: Sequence[Sequence[Panel]], path: Path) -> Path:
    """Panels in rows, long rows broken, and at their right the names of all that is drawn; returns `path`."""
    lines = [row[i : i + _COLUMNS] for row in rows for i in range(0, len(row), _COLUMNS)]
    columns, heights = max(map(len, lines)), [max(panel.height for panel in line) for line in lines]
    looks = list(dict.fromkeys(look for row in rows for panel in row for look in panel.looks))
    width = SIZE[0] * columns + 0.6 + 0.066 * max(len(look.label) for look in looks)
    with picture(path, width, max(sum(heights), 0.2 + _LEGEND * len(looks))) as figure:
        axes = figure.subplots(len(lines), columns, squeeze=False, height_ratios=heights)
        for places, line in zip(axes, lines, strict=True):
            for ax, panel in zip(places, line, strict=False):
                panel.draw(ax)
                ax.set_title(panel.title)
            for ax in places[len(line) :]:
                ax.set_visible(False)
        figure.legend(handles=[look.sample for look in looks], loc="outside right upper")
    return path


def write_grid(path: Path, images: NDArray[np.uint8], margin: int = 2) -> Path:
    """Write images (N, C, H, W), C 1 or 3, as a near-square grid on white; returns `path`."""
    n, _, height, width = images.shape
    columns = math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    tiles = np.full((rows * columns, 3, height + margin, width + margin), 255, np.uint8)
    tiles[:n, :, margin:, margin:] = images
    canvas = rearrange(tiles, "(r c) rgb h w -> (r h) (c w) rgb", r=rows)
    with written_whole(path) as partial:
        imsave(partial, np.pad(canvas, ((0, margin), (0, margin), (0, 0)), constant_values=255), format="png")
    return path
