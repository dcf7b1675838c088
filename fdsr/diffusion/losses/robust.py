"""Robust norms of the coefficients of the error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from fdsr.diffusion.losses.loss import ErrorLoss
from fdsr.diffusion.process import GaussianDiffusion


def charbonnier(d: Tensor, epsilon: float) -> Tensor:
    """√(d² + ε²) − ε: d²/(2ε) near 0, |d| − ε far from it (Charbonnier et al. 1994)."""
    return torch.sqrt(d.square() + epsilon**2) - epsilon


def absolute(d: Tensor, epsilon: float) -> Tensor:
    """|d|, with the gradient 0 at d = 0; needs no ε."""
    return d.abs()


PENALTIES: dict[str, Callable[[Tensor, float], Tensor]] = {"charbonnier": charbonnier, "l1": absolute}


@dataclass(frozen=True)
class RobustSpectralLoss(ErrorLoss):
    """E mean ρ(d) over the coefficients d of f(target − output), ρ one of `PENALTIES`: `charbonnier` or `l1`.

    **The sampler is biased**: the minimiser is no longer the conditional mean that every sampler here takes it for but,
    coefficient by coefficient, the median (`l1`, or epsilon → 0) or something between median and mean (`charbonnier`;
    the mean as epsilon → ∞). Where a coefficient's posterior is skewed, samples come out shifted towards its bulk.

    Raises ValueError unless epsilon > 0 and the penalty is known.

    Args:
        epsilon: where the Charbonnier penalty turns from square to absolute value.
        penalty: ρ, Charbonnier's or the absolute value.
    """

    epsilon: float = 1e-3
    penalty: Literal["charbonnier", "l1"] = "charbonnier"

    def __post_init__(self) -> None:
        if not self.epsilon > 0:
            raise ValueError(f"epsilon must be positive, not {self.epsilon}")
        if self.penalty not in PENALTIES:
            raise ValueError(f"penalty '{self.penalty}' is unknown; choose one of {', '.join(PENALTIES)}")

    def norm(self, error: Tensor, process: GaussianDiffusion) -> Tensor:
        return PENALTIES[self.penalty](process.spectrum.transform.forward(error), self.epsilon).mean()
