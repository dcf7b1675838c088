"""The one home for grids: axes and their names, cells and their areas, spacing, periodicity, projections."""

from fdsr.grids.grid import Grid

__all__ = ["Grid"]
