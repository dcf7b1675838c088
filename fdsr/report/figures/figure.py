"""What a figure of a study is; each of them is drawn in a file of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fdsr.drawing.style import Panel
from fdsr.report.studies import Study

Rows = Sequence[Sequence[Panel]]


@dataclass(frozen=True)
class Figure:
    """A figure on the page, and in a file.

    Args:
        heading, note: above it on the page.
        rows: its panels, of which the page and the file make rows; none where there is nothing to draw.
        file: the PNG's name without its ending; none without one.
        alone: whether the file is drawn of a single run, too.
        folded: whether the page shows the heading, and the rest when it is asked for.
    """

    heading: str
    note: str
    rows: Callable[[Study], Rows]
    file: str = ""
    alone: bool = False
    folded: bool = False
