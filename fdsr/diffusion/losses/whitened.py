"""The norm of the variational bound under coloured noise."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from fdsr.diffusion.losses.loss import ErrorLoss
from fdsr.diffusion.process import GaussianDiffusion


@dataclass(frozen=True)
class WhitenedLoss(ErrorLoss):
    """E mean‖Λ^{−p/2} f(target − output)‖², the norm of the variational bound under coloured noise.

    The same unrestricted minimiser as `SimpleLoss`, which weights the scales by Λ^p against this one; equal for white
    noise.
    """

    def norm(self, error: Tensor, process: GaussianDiffusion) -> Tensor:
        return process.whiten(error).square().mean()
