"""The Gaussian diffusion process: forward marginals, exact posteriors, and the ε, x_0 and v views of one state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fdsr.diffusion.noise import Noise, WhiteNoise
from fdsr.diffusion.schedules import Schedule
from fdsr.diffusion.spectrum import Spectrum

# embeddings of time tell t apart best where it spans hundreds: networks see it as if there were so many steps
NETWORK_STEPS = 1000.0


class Gaussian(NamedTuple):
    """N(mean, var · C) with C the covariance of the process's noise; var is (B, 1, …, 1)."""

    mean: Tensor
    var: Tensor


def _posterior_variance(a_t: Tensor, a_s: Tensor) -> Tensor:
    """β̃ = β_{t|s} (1 − ᾱ_s)/(1 − ᾱ_t): the variance of q(x_s | x_t, x_0)."""
    return (1 - a_t / a_s) * (1 - a_s) / (1 - a_t)


def _step_variance(a_t: Tensor, a_s: Tensor) -> Tensor:
    """β_{t|s} = 1 − ᾱ_t/ᾱ_s, and 0 at s = 0, where the reverse process ends without noise."""
    return torch.where(a_s < 1, 1 - a_t / a_s, torch.zeros_like(a_t))


REVERSE_VARIANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "posterior": _posterior_variance,
    "beta": _step_variance,
}


class GaussianDiffusion(nn.Module):
    """q(x_t | x_0) = N(√ᾱ_t x_0, (1 − ᾱ_t) C), t = 1..T, with its reverse (Ho et al. 2020; C ≠ I: coloured noise).

    schedule: the table of ᾱ. noise: C, white by default. spectrum: what is known of the data, in which coloured noise, weights
    and losses find their basis and the data's power. reverse_variance: "posterior" (β̃) or "beta" (β).

    Fields are (B, ...), `t` and `s` integer tensors (B,); coefficients are computed in float64, cast to the dtype of
    the field and broadcast over its other axes. Raises ValueError for an unknown reverse variance, a `t` that is not
    integer and, where `t` is on the CPU (a check on a GPU would stall it), a `t` out of range.

    >>> from fdsr.diffusion import vp_schedule
    >>> p = GaussianDiffusion(vp_schedule(T=4))
    >>> p.q_sample(torch.zeros(2, 1, 8, 8), torch.tensor([1, 4]), torch.randn(2, 1, 8, 8)).shape
    torch.Size([2, 1, 8, 8])
    """

    alphas_cumprod: Tensor

    def __init__(
        self,
        schedule: Schedule,
        noise: Noise | None = None,
        spectrum: Spectrum | None = None,
        reverse_variance: str = "posterior",
    ) -> None:
        super().__init__()
        if reverse_variance not in REVERSE_VARIANCES:
            raise ValueError(f"reverse_variance must be one of {sorted(REVERSE_VARIANCES)}, not {reverse_variance!r}")
        self.schedule = schedule
        self.noise = WhiteNoise() if noise is None else noise
        self.spectrum = Spectrum() if spectrum is None else spectrum
        self.reverse_variance = reverse_variance
        self.register_buffer("alphas_cumprod", schedule.alphas_cumprod.clone(), persistent=False)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> GaussianDiffusion:
        """Follow to another device, never to another precision: `.bfloat16()` must not round the table."""
        exact = self.alphas_cumprod
        super()._apply(fn, recurse)
        self.alphas_cumprod = exact.to(self.alphas_cumprod.device)
        return self

    @property
    def T(self) -> int:
        """Number of steps."""
        return self.schedule.T

    def alpha_bar(self, t: Tensor) -> Tensor:
        """ᾱ_t, float64, shaped like t; t in 0..T."""
        return self._at(self.alphas_cumprod, t, lowest=0)

    def snr(self, t: Tensor) -> Tensor:
        """Signal-to-noise ratio ᾱ_t / (1 − ᾱ_t), float64, shaped like t; t in 0..T (infinite at 0)."""
        a = self.alpha_bar(t)
        return a / (1 - a)

    def terminal_snr(self) -> float:
        """ᾱ_T · max_k Λ_k/C_k: the signal-to-noise ratio left at t = T in the strongest coefficient of the stored spectrum.

        The sampler starts from pure noise, so this should stay below 0.01. Raises ValueError if the power is not known.
        """
        power = self.spectrum.stored()
        shape = (power.shape[-2], power.shape[-1])
        ratio = self.spectrum.prior(shape) / self.noise.variance(self.spectrum, shape)
        return float(self.schedule.alphas_cumprod[-1] * ratio.max())

    def network_time(self, t: Tensor) -> Tensor:
        """t as networks see it, t · 1000/T: the same noise level is nearly the same number for every T."""
        return t * (NETWORK_STEPS / self.T)

    def colour(self, eta: Tensor) -> Tensor:
        """White η (B, C, H, W) → a draw of the process's noise."""
        return self.noise.colour(eta, self.spectrum)

    def whiten(self, noise: Tensor) -> Tensor:
        """The inverse of `colour`."""
        return self.noise.whiten(noise, self.spectrum)

    def q_sample(self, x_0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε (Ho et al. 2020, eq. 4); `noise` ε has covariance C already."""
        signal, sigma = self.levels(x_0, t)
        return signal * x_0 + sigma * noise

    def posterior(self, x_0: Tensor, x_t: Tensor, t: Tensor, s: Tensor | None = None) -> Gaussian:
        """q(x_s | x_t, x_0) for s < t, by default s = t − 1 (Ho et al. 2020, eqs 6–7, with α_{t|s} = ᾱ_t/ᾱ_s).

        mean = (√ᾱ_s β_{t|s} x_0 + √α_{t|s} (1 − ᾱ_s) x_t) / (1 − ᾱ_t), β_{t|s} = 1 − α_{t|s};
        var  = β_{t|s} (1 − ᾱ_s) / (1 − ᾱ_t), or β_{t|s} under reverse_variance "beta"; it multiplies C.
        At s = 0 the mean is x_0 and var is 0 under either. A general s makes respaced sampling exact.
        """
        s = t - 1 if s is None else s
        a_t, a_s = self._at(self.alphas_cumprod, t), self._at(self.alphas_cumprod, s, lowest=0)
        if t.device.type == "cpu" and s.device.type == "cpu" and bool((s >= t).any()):
            raise ValueError("the posterior q(x_s | x_t, x_0) needs s < t")
        step = a_t / a_s
        from_x_0 = a_s.sqrt() * (1 - step) / (1 - a_t)
        from_x_t = step.sqrt() * (1 - a_s) / (1 - a_t)
        mean = like(from_x_0, x_t) * x_0 + like(from_x_t, x_t) * x_t
        return Gaussian(mean, like(REVERSE_VARIANCES[self.reverse_variance](a_t, a_s), x_t))

    def x_0_from_eps(self, x_t: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """x_0 = (x_t − √(1 − ᾱ_t) ε) / √ᾱ_t."""
        signal, sigma = self.levels(x_t, t)
        return (x_t - sigma * eps) / signal

    def eps_from_x_0(self, x_t: Tensor, t: Tensor, x_0: Tensor) -> Tensor:
        """ε = (x_t − √ᾱ_t x_0) / √(1 − ᾱ_t)."""
        signal, sigma = self.levels(x_t, t)
        return (x_t - signal * x_0) / sigma

    def v(self, x_0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """v = √ᾱ_t ε − √(1 − ᾱ_t) x_0 (Salimans & Ho 2022, §4)."""
        signal, sigma = self.levels(x_0, t)
        return signal * noise - sigma * x_0

    def x_0_from_v(self, x_t: Tensor, t: Tensor, v: Tensor) -> Tensor:
        """x_0 = √ᾱ_t x_t − √(1 − ᾱ_t) v."""
        signal, sigma = self.levels(x_t, t)
        return signal * x_t - sigma * v

    def levels(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """(√ᾱ_t, √(1 − ᾱ_t)) in the dtype of x, to broadcast against it."""
        a = self._at(self.alphas_cumprod, t)
        return like(a.sqrt(), x), like((1 - a).sqrt(), x)

    def _at(self, table: Tensor, t: Tensor, lowest: int = 1) -> Tensor:
        if t.is_floating_point() or t.is_complex() or t.dtype == torch.bool:
            raise ValueError(f"t must be an integer tensor, not {t.dtype}")
        if t.device.type == "cpu" and t.numel() and not (lowest <= int(t.min()) and int(t.max()) <= self.T):
            raise ValueError(f"t must lie in {lowest}..{self.T}, not {int(t.min())}..{int(t.max())}")
        return table[t.long()]


def like(coefficient: Tensor, x: Tensor) -> Tensor:
    """A coefficient (B,) in the dtype of x, shaped to broadcast over the other axes of x (B, ...)."""
    dtype = x.dtype if x.is_floating_point() else torch.float32
    return coefficient.to(dtype).reshape(coefficient.shape + (1,) * (x.ndim - coefficient.ndim))
