"""The squared error of DDPM."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fdsr.diffusion.losses.loss import Denoising, ErrorLoss
from fdsr.diffusion.process import GaussianDiffusion


@dataclass(frozen=True)
class SimpleLoss(ErrorLoss):
    """E mean‖target − output‖² (Ho et al. 2020, eq. 14, for ε), the mean over `draws` draws of noise a sample.

    All draws share one call of `predict`, on a batch of draws · B: first the B of the first draw. With two it costs what
    `FourierReferenceLoss` costs, and is the same in distribution. Raises ValueError unless draws >= 1.

    Args:
        draws: draws of noise a sample and step of training, each of which costs a network evaluation.
    """

    draws: int = 1

    def __post_init__(self) -> None:
        if self.draws < 1:
            raise ValueError(f"draws must be at least 1, not {self.draws}")

    def __call__(self, task: Denoising) -> Tensor:
        copies = [task.noised() for _ in range(self.draws)]
        x_t, target = (torch.cat(parts) for parts in zip(*copies, strict=True))
        return self.norm(target - task.predict(x_t, task.t.repeat(self.draws)), task.process)

    def norm(self, error: Tensor, process: GaussianDiffusion) -> Tensor:
        return error.square().mean()
