"""Squared error weighted by wavenumber."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from fdsr.diffusion.losses.loss import ErrorLoss
from fdsr.diffusion.process import GaussianDiffusion
from fdsr.diffusion.weights import PowerLawWeight, SpectralWeight


@dataclass(frozen=True)
class SpectralWeightedLoss(ErrorLoss):
    """E mean‖W f(target − output)‖², W a function of wavenumber of mean square 1 (`PowerLawWeight` and kin).

    W is positive and knows neither ε nor x_0: the unrestricted minimiser is still E[target | x_t], and W only decides
    on which scales a network of finite capacity spends itself.

    Args:
        weight: W, a function of wavenumber.
    """

    weight: SpectralWeight = PowerLawWeight()

    def norm(self, error: Tensor, process: GaussianDiffusion) -> Tensor:
        spectrum = process.spectrum
        c = spectrum.transform.forward(error)
        shape = (c.shape[-2], c.shape[-1])
        w = spectrum.remember((self.weight, shape), c, lambda: self.weight(spectrum, shape))
        return (w * c).square().mean()
