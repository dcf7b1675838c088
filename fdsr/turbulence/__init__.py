"""Idealised turbulence on a doubly periodic plane: unlimited fields with known spectra. torch only; always synthetic."""

from fdsr.turbulence.flows import FLOWS, Flow, find_flow
from fdsr.turbulence.forcing import RingForcing
from fdsr.turbulence.plane import SpectralPlane
from fdsr.turbulence.stepping import rk4_step
from fdsr.turbulence.turbulence import NO_DAMPING, Damping, Turbulence

__all__ = [
    "FLOWS",
    "NO_DAMPING",
    "Damping",
    "Flow",
    "RingForcing",
    "SpectralPlane",
    "Turbulence",
    "find_flow",
    "rk4_step",
]
