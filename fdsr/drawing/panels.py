"""What a back end is given: panels, each of which knows how to draw itself on axes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.axes import Axes

from fdsr.drawing.style import SIZE


@dataclass(frozen=True)
class Panel:
    """One diagram. title: what is drawn. draw: puts it on empty axes. alt: the same in words. height: in inches."""

    title: str
    draw: Callable[[Axes], None]
    alt: str
    height: float = SIZE[1]
