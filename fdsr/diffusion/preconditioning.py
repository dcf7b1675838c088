"""What is known before any training: the part of the denoiser's work that the network is spared.

The best denoiser of a Gaussian prior N(0, fᵀ Λ f) under noise of power C is a Wiener filter, coefficient by coefficient,

    E[x_0 | x_t] = f⁻¹ W f x_t,  W_k(t) = √ᾱ_t Λ_k / (ᾱ_t Λ_k + (1 − ᾱ_t) C_k),

and a preconditioned network predicts what the filter leaves: x̂_0 = f⁻¹ W f x_t − √(1 − ᾱ_t) F(x_t, t), with F its raw output.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor

from fdsr.diffusion.losses.loss import Predictor
from fdsr.diffusion.parametrisation import Parametrisation
from fdsr.diffusion.process import GaussianDiffusion


class Preconditioning(ABC):
    """How a network's raw output becomes a prediction in `parametrisation`: a fixed part that needs no weights, and its own."""

    @abstractmethod
    def wrap(self, network: Predictor, process: GaussianDiffusion, parametrisation: Parametrisation) -> Predictor:
        """The predictor that losses and samplers see: (x_t (B, C, H, W), t (B,)) → output of the parametrisation."""


@dataclass(frozen=True)
class NoPreconditioning(Preconditioning):
    """The network predicts everything."""

    def wrap(self, network: Predictor, process: GaussianDiffusion, parametrisation: Parametrisation) -> Predictor:
        return network


class Skip(Preconditioning):
    """x̂_0 = skip(x_t) − √(1 − ᾱ_t) F, whatever the parametrisation, which then only says what errors count for.

    At F = 0 every sampler draws from the prior that the skip is exact for.
    """

    @abstractmethod
    def skip(self, process: GaussianDiffusion, x_t: Tensor, t: Tensor) -> Tensor:
        """The prior's estimate of x_0 (B, C, H, W)."""

    def wrap(self, network: Predictor, process: GaussianDiffusion, parametrisation: Parametrisation) -> Predictor:
        def predict(x_t: Tensor, t: Tensor) -> Tensor:
            _, sigma = process.levels(x_t, t)
            x_0 = self.skip(process, x_t, t) - sigma * network(x_t, t)
            return parametrisation.target(process, x_0, process.eps_from_x_0(x_t, t, x_0), t)

        return predict


@dataclass(frozen=True)
class ScalarPreconditioning(Skip):
    """One filter for all wavenumbers, that of white data of unit variance: W = √ᾱ_t.

    The c_skip and c_out of Karras et al. 2022 (EDM, table 1) for σ_data = 1. With v-prediction it is `NoPreconditioning`: there
    x̂_0 = √ᾱ_t x_t − √(1 − ᾱ_t) v by definition.
    """

    def skip(self, process: GaussianDiffusion, x_t: Tensor, t: Tensor) -> Tensor:
        signal, _ = process.levels(x_t, t)
        return signal * x_t


@dataclass(frozen=True)
class SpectralPreconditioning(Skip):
    """The Wiener filter of the target's own spectrum about its mean m, by wavenumber and channel: m + f⁻¹ W f (x_t − √ᾱ_t m).

    Residuals of weather fields have m = 0; of images both are the training images', see `data.spectrum`.
    With coloured noise of exponent 1, or a Λ that is constant, it is `ScalarPreconditioning`. Needs data whose power is known.
    """

    def skip(self, process: GaussianDiffusion, x_t: Tensor, t: Tensor) -> Tensor:
        spectrum, noise = process.spectrum, process.noise
        shape = (x_t.shape[-2], x_t.shape[-1])
        # Λ over C is all that W depends on
        ratio = spectrum.remember(
            ("power over noise", noise, shape), x_t, lambda: spectrum.prior(shape) / noise.variance(spectrum, shape)
        )
        signal, sigma = process.levels(x_t, t)
        gain = signal * ratio / (signal.square() * ratio + sigma.square())
        if (about := spectrum.mean) is None:
            return spectrum.transform.inverse(gain * spectrum.transform.forward(x_t))
        mean = spectrum.remember("mean", x_t, lambda: about)
        return mean + spectrum.transform.inverse(gain * spectrum.transform.forward(x_t - signal * mean))
