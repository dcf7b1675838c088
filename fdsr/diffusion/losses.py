"""Training losses: small callables loss(predict, x_0, t, process, parametrisation, draw) → scalar.

predict(x_t, t): the network's raw output, in `parametrisation`. x_0: clean fields (B, C, H, W). t: integers (B,) in
1..T. draw() → white η ~ N(0, I) like x_0; the process colours it. Each loss is the mean over a batch of what it
names; the difference is taken in the dtype of x_0, so that a network under autocast is compared in float32.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from fdsr.diffusion.parametrisation import Parametrisation
from fdsr.diffusion.power import bin_average
from fdsr.diffusion.process import GaussianDiffusion
from fdsr.diffusion.transforms import Transform
from fdsr.diffusion.weights import SpectralWeight, cached_weight

Predictor = Callable[[Tensor, Tensor], Tensor]
Draw = Callable[[], Tensor]


class Loss(Protocol):
    def __call__(
        self,
        predict: Predictor,
        x_0: Tensor,
        t: Tensor,
        process: GaussianDiffusion,
        parametrisation: Parametrisation,
        draw: Draw,
    ) -> Tensor: ...


class Noised(NamedTuple):
    """A noised batch and what the network should say of it, both (B, C, H, W)."""

    x_t: Tensor
    target: Tensor


def noised(x_0: Tensor, t: Tensor, process: GaussianDiffusion, parametrisation: Parametrisation, eta: Tensor) -> Noised:
    """x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) C^½ η and the parametrised target."""
    noise = process.noise.colour(eta)
    return Noised(process.q_sample(x_0, t, noise), parametrisation.target(process, x_0, noise, t))


class _ErrorLoss(ABC):
    """A norm of the error, target − output (B, C, H, W), on one draw of noise."""

    @abstractmethod
    def norm(self, error: Tensor, process: GaussianDiffusion) -> Tensor: ...

    def __call__(
        self,
        predict: Predictor,
        x_0: Tensor,
        t: Tensor,
        process: GaussianDiffusion,
        parametrisation: Parametrisation,
        draw: Draw,
    ) -> Tensor:
        x_t, target = noised(x_0, t, process, parametrisation, draw())
        return self.norm(target - predict(x_t, t), process)


@dataclass(frozen=True)
class SimpleLoss(_ErrorLoss):
    """E mean‖target − output‖² (Ho et al. 2020, eq. 14, for ε), the mean over `draws` draws of noise a sample.

    All draws share one call of `predict`, on a batch of draws · B: first the B of the first draw. With two it costs what
    `FourierReferenceLoss` costs, and is the same in distribution. Raises ValueError unless draws >= 1.
    """

    draws: int = 1

    def __post_init__(self) -> None:
        if self.draws < 1:
            raise ValueError(f"draws must be at least 1, not {self.draws}")

    def __call__(
        self,
        predict: Predictor,
        x_0: Tensor,
        t: Tensor,
        process: GaussianDiffusion,
        parametrisation: Parametrisation,
        draw: Draw,
    ) -> Tensor:
        copies = [noised(x_0, t, process, parametrisation, draw()) for _ in range(self.draws)]
        x_t, target = (torch.cat(parts) for parts in zip(*copies, strict=True))
        return self.norm(target - predict(x_t, t.repeat(self.draws)), process)

    def norm(self, error: Tensor, process: GaussianDiffusion) -> Tensor:
        return error.square().mean()


@dataclass(frozen=True)
class FourierReferenceLoss:
    """Fourier diffusion as first proposed: half the sum of a loss in space and one in coefficients, on two draws.

    With ε_x, ε_f ~ N(0, I), x^x = √ᾱ x_0 + √(1−ᾱ) ε_x and x^f = √ᾱ x_0 + √(1−ᾱ) f⁻¹(ε_f),

        L = ½ mean‖ε_x − ε_θ(x^x)‖² + ½ mean‖ε_f − f(ε_θ(x^f))‖².

    Parseval: f is orthogonal, so ‖ε_f − f(ε_θ)‖ = ‖f⁻¹(ε_f) − ε_θ‖, and f⁻¹(ε_f) ~ N(0, I). The second term is
    therefore `SimpleLoss` on the draw f⁻¹(ε_f), gradient included, and the whole is DDPM with two noise draws a
    sample: a less noisy gradient for twice the network evaluations. Compare it with DDPM at equal evaluations. Half
    the sum, so that learning rates mean the same. Other parametrisations replace ε and ε_θ by target and output.

    Both terms share one call of `predict`, on a batch of 2B: first the B of space, then the B of coefficients.
    """

    transform: Transform

    def __call__(
        self,
        predict: Predictor,
        x_0: Tensor,
        t: Tensor,
        process: GaussianDiffusion,
        parametrisation: Parametrisation,
        draw: Draw,
    ) -> Tensor:
        in_space = noised(x_0, t, process, parametrisation, draw())
        in_coefficients = noised(x_0, t, process, parametrisation, self.transform.inverse(draw()))
        output = predict(torch.cat([in_space.x_t, in_coefficients.x_t]), torch.cat([t, t]))
        output_x, output_f = output.chunk(2)
        loss_x = (in_space.target - output_x).square().mean()
        loss_f = (self.transform.forward(in_coefficients.target) - self.transform.forward(output_f)).square().mean()
        return 0.5 * (loss_x + loss_f)


@dataclass(frozen=True)
class SpectralWeightedLoss(_ErrorLoss):
    """E mean‖W f(target − output)‖², W a function of wavenumber of mean square 1 (`PowerLawWeight` and kin).

    W is positive and knows neither ε nor x_0: the unrestricted minimiser is still E[target | x_t], and W only decides
    on which scales a network of finite capacity spends itself.
    """

    transform: Transform
    weight: SpectralWeight

    def norm(self, error: Tensor, process: GaussianDiffusion) -> Tensor:
        c = self.transform.forward(error)
        w: Tensor = cached_weight(self.weight, self.transform, (c.shape[-2], c.shape[-1]), c.dtype, c.device)
        return (w * c).square().mean()


@dataclass(frozen=True)
class WhitenedLoss(_ErrorLoss):
    """E mean‖Λ^{−p/2} f(target − output)‖², the norm of the variational bound under coloured noise.

    The same unrestricted minimiser as `SimpleLoss`, which weights the scales by Λ^p against this one; equal for white
    noise.
    """

    def norm(self, error: Tensor, process: GaussianDiffusion) -> Tensor:
        return process.noise.whiten(error).square().mean()


def charbonnier(d: Tensor, epsilon: float) -> Tensor:
    """√(d² + ε²) − ε: d²/(2ε) near 0, |d| − ε far from it (Charbonnier et al. 1994)."""
    return torch.sqrt(d.square() + epsilon**2) - epsilon


def absolute(d: Tensor, epsilon: float) -> Tensor:
    """|d|, with the gradient 0 at d = 0; needs no ε."""
    return d.abs()


PENALTIES: dict[str, Callable[[Tensor, float], Tensor]] = {"charbonnier": charbonnier, "l1": absolute}


@dataclass(frozen=True)
class RobustSpectralLoss(_ErrorLoss):
    """E mean ρ(d) over the coefficients d of f(target − output), ρ one of `PENALTIES`: `charbonnier` or `l1`.

    **The sampler is biased**: the minimiser is no longer the conditional mean that every sampler here takes it for but,
    coefficient by coefficient, the median (`l1`, or epsilon → 0) or something between median and mean (`charbonnier`;
    the mean as epsilon → ∞). Where a coefficient's posterior is skewed, samples come out shifted towards its bulk.

    Raises ValueError unless epsilon > 0 and the penalty is known.
    """

    transform: Transform
    epsilon: float = 1e-3
    penalty: str = "charbonnier"

    def __post_init__(self) -> None:
        if not self.epsilon > 0:
            raise ValueError(f"epsilon must be positive, not {self.epsilon}")
        if self.penalty not in PENALTIES:
            raise ValueError(f"penalty '{self.penalty}' is unknown; choose one of {', '.join(PENALTIES)}")

    def norm(self, error: Tensor, process: GaussianDiffusion) -> Tensor:
        return PENALTIES[self.penalty](self.transform.forward(error), self.epsilon).mean()


@dataclass(frozen=True)
class SpectrumNormLoss:
    """`SimpleLoss` + strength · E mean_b min(SNR_t, 1) (ln(P̂_b + floor) − ln(P_b + floor))² (after Singh 2019).

    P_b and P̂_b are the mean squared coefficients of x_0 and of x̂_0 in wavenumber bin b, one for each sample and
    channel. Power is averaged over a bin *before* the logarithm: ln|c|² of a single Gaussian coefficient has variance
    π²/2. The weight min(SNR_t, 1) silences times at which x̂_0 is rightly smooth. A regulariser, which moves the
    minimum: report `strength`.

    bins: number of bins of equal width (`bin_average`). floor: in units of the target's mean power, about 1.
    Raises ValueError unless strength >= 0, bins >= 1 and floor > 0.
    """

    transform: Transform
    strength: float = 0.01
    bins: int = 16
    floor: float = 1e-6

    def __post_init__(self) -> None:
        if self.strength < 0 or self.bins < 1 or not self.floor > 0:
            raise ValueError("SpectrumNormLoss needs strength >= 0, bins >= 1 and floor > 0")

    def __call__(
        self,
        predict: Predictor,
        x_0: Tensor,
        t: Tensor,
        process: GaussianDiffusion,
        parametrisation: Parametrisation,
        draw: Draw,
    ) -> Tensor:
        x_t, target = noised(x_0, t, process, parametrisation, draw())
        output = predict(x_t, t).to(x_t.dtype)
        x_0_hat = parametrisation.to_x_0(process, output, x_t, t)
        difference = self._log_power(x_0_hat) - self._log_power(x_0)  # (B, C, b)
        weight = process.snr(t).clamp(max=1).to(difference.dtype)
        penalty = (weight[:, None, None] * difference.square()).mean()
        return (target - output).square().mean() + self.strength * penalty

    def _log_power(self, x: Tensor) -> Tensor:
        """ln(mean power + floor) in each bin, (B, C, H, W) → (B, C, b)."""
        average = bin_average(self.transform, (x.shape[-2], x.shape[-1]), self.bins, x.device)
        power = self.transform.forward(x).square().flatten(-2)
        with torch.autocast(x.device.type, enabled=False):
            return (power @ average.to(power.dtype) + self.floor).log()


LOSSES: dict[str, type] = {
    "simple": SimpleLoss,
    "reference": FourierReferenceLoss,
    "weighted": SpectralWeightedLoss,
    "whitened": WhitenedLoss,
    "robust": RobustSpectralLoss,
    "spectrum_norm": SpectrumNormLoss,
}
