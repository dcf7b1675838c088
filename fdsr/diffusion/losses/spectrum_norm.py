"""Squared error and a regulariser of the power in wavenumber bins."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fdsr.diffusion.losses.loss import Denoising, Loss
from fdsr.diffusion.power import bin_average
from fdsr.diffusion.transforms import Transform


@dataclass(frozen=True)
class SpectrumNormLoss(Loss):
    """`SimpleLoss` + strength · E mean_b min(SNR_t, 1) (ln(P̂_b + floor) − ln(P_b + floor))² (after Singh 2019).

    P_b and P̂_b are the mean squared coefficients of x_0 and of x̂_0 in wavenumber bin b, one for each sample and
    channel. Power is averaged over a bin *before* the logarithm: ln|c|² of a single Gaussian coefficient has variance
    π²/2. The weight min(SNR_t, 1) silences times at which x̂_0 is rightly smooth. A regulariser, which moves the
    minimum: report `strength`.

    Raises ValueError unless strength >= 0, bins >= 1 and floor > 0.

    Args:
        strength: weight of the regulariser beside the squared error.
        bins: number of wavenumber bins of equal width (`bin_average`).
        floor: added to power, in units of the target's mean power, which is about 1.
    """

    strength: float = 0.01
    bins: int = 16
    floor: float = 1e-6

    def __post_init__(self) -> None:
        if self.strength < 0 or self.bins < 1 or not self.floor > 0:
            raise ValueError("SpectrumNormLoss needs strength >= 0, bins >= 1 and floor > 0")

    def __call__(self, task: Denoising) -> Tensor:
        process, t, f = task.process, task.t, task.process.spectrum.transform
        x_t, target = task.noised()
        output = task.predict(x_t, t).to(x_t.dtype)
        x_0_hat = task.parametrisation.to_x_0(process, output, task.counted(x_t), t)
        difference = self._log_power(x_0_hat, f) - self._log_power(task.counted(task.x_0), f)  # (B, C, b)
        weight = process.snr(t).clamp(max=1).to(difference.dtype)
        penalty = (weight[:, None, None] * difference.square()).mean()
        return (target - output).square().mean() + self.strength * penalty

    def _log_power(self, x: Tensor, f: Transform) -> Tensor:
        """ln(mean power + floor) in each bin, (B, C, H, W) → (B, C, b)."""
        average = bin_average(f, (x.shape[-2], x.shape[-1]), self.bins, x.device)
        power = f.forward(x).square().flatten(-2)
        with torch.autocast(x.device.type, enabled=False):
            return (power @ average.to(power.dtype) + self.floor).log()
