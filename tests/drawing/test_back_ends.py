"""One drawing, two back ends: colours are the palette's in a file and the style sheet's on a page; ticks can be read."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.image import imread

from fdsr.drawing import svg
from fdsr.drawing.axes import log_axis, wavelength_axis
from fdsr.drawing.png import save_panels
from fdsr.drawing.style import PALETTE, Panel, make_looks

LOOKS = make_looks({"a, slow": "a", "a, fast": "a", "b": "b"})


def draw(ax: Axes) -> None:
    for i, look in enumerate(LOOKS.values()):
        ax.plot([1, 2], [i, i], **look.line | {"lw": 4})
        ax.plot([2], [i], **look.mark)


def test_a_drawing_looks_the_same_in_a_file_and_on_a_page(tmp_path: Path) -> None:
    panel = Panel("three", draw, "three lines", LOOKS.values())
    pixels = imread(save_panels([[panel]], tmp_path / "a.png"))[..., :3]
    found = {tuple(p) for p in (pixels.reshape(-1, 3) * 255).round().astype(int)}
    own = [tuple(round(255 * c) for c in to_rgb(light)) for light, _ in PALETTE]
    assert {i for i, colour in enumerate(own) if colour in found} == {0, 1}
    markup = svg.inline(panel)
    assert set(re.findall(r"var\(--c(\d+)\)", markup)) == {"0", "1"}
    assert [markup.count(f'class="s s{i}"') for i in range(4)] == [2, 2, 2, 0]
    assert not re.search(r"#[0-9a-f]{6}\b", markup) and "var(--ink)" in markup


def test_settings_of_a_method_share_its_colour_alone() -> None:
    slow, fast, other = LOOKS.values()
    assert slow.colour == fast.colour != other.colour
    assert slow.marker != fast.marker and slow.dashes != fast.dashes
    assert make_looks({"b": "b"}, order=["a", "b"])["b"].colour == 1


@pytest.mark.parametrize(("low", "high"), [(70, 130), (220, 1400), (0.3, 1.4), (1, 1000), (0.0018, 3.0), (1e-6, 1e6)])
@pytest.mark.parametrize("which", ["x", "y"])
def test_logarithmic_ticks_are_plain_and_apart(low: float, high: float, which: str) -> None:
    ax = Figure().subplots()
    ax.plot([low, high], [low, high])
    log_axis(ax, which)  # type: ignore[arg-type]
    axis = getattr(ax, f"{which}axis")
    ticks = axis.get_majorticklocs()
    assert 2 <= len(ticks) <= 12 and len(axis.get_minorticklocs()) == 0
    assert [float(t.get_text()) for t in axis.get_majorticklabels()] == pytest.approx(list(ticks))
    span = np.log(ax.get_xlim()[1] / ax.get_xlim()[0]) if which == "x" else np.log(ax.get_ylim()[1] / ax.get_ylim()[0])
    assert all(np.log(b / a) > 0.05 * span for a, b in pairwise(ticks))


def test_wavelengths_fall() -> None:
    ax = Figure().subplots()
    ax.plot([1000, 20], [1, 2])
    wavelength_axis(ax)
    left, right = ax.get_xlim()
    assert left > 1000 > 20 > right and ax.get_xlabel() == "wavelength (km)"
