"""Idealised turbulence on a doubly periodic plane: unlimited fields with known spectra. torch only; always synthetic."""

from fdsr.turbulence.flows import FLOWS, Flow, find_flow
from fdsr.turbulence.plane import SpectralPlane
from fdsr.turbulence.turbulence import Damping, Turbulence

__all__ = ["FLOWS", "Damping", "Flow", "SpectralPlane", "Turbulence", "find_flow"]
