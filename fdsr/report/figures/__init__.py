"""Figures of a study, in the order of the page. One more is one more file, and its name here."""

from fdsr.report.figures.figure import Figure
from fdsr.report.figures.losses import LOSSES
from fdsr.report.figures.quality import QUALITY, QUALITY_BY_VARIABLE
from fdsr.report.figures.ranks import RANKS
from fdsr.report.figures.reliability import RELIABILITY
from fdsr.report.figures.spectra import SPECTRA

FIGURES = (QUALITY, QUALITY_BY_VARIABLE, SPECTRA, RANKS, RELIABILITY, LOSSES)

__all__ = ["FIGURES", "Figure"]
