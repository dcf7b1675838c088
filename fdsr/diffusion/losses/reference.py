"""The joint loss in space and in coefficients, as Fourier diffusion was first proposed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fdsr.diffusion.losses.loss import Denoising, Loss


@dataclass(frozen=True)
class FourierReferenceLoss(Loss):
    """Fourier diffusion as first proposed: half the sum of a loss in space and one in coefficients, on two draws.

    With ε_x, ε_f ~ N(0, I), x^x = √ᾱ x_0 + √(1−ᾱ) ε_x and x^f = √ᾱ x_0 + √(1−ᾱ) f⁻¹(ε_f),

        L = ½ mean‖ε_x − ε_θ(x^x)‖² + ½ mean‖ε_f − f(ε_θ(x^f))‖².

    Parseval: f is orthogonal, so ‖ε_f − f(ε_θ)‖ = ‖f⁻¹(ε_f) − ε_θ‖, and f⁻¹(ε_f) ~ N(0, I). The second term is
    therefore `SimpleLoss` on the draw f⁻¹(ε_f), gradient included, and the whole is DDPM with two noise draws a
    sample: a less noisy gradient for twice the network evaluations. Compare it with DDPM at equal evaluations. Half
    the sum, so that learning rates mean the same. Other parametrisations replace ε and ε_θ by target and output.

    Both terms share one call of `predict`, on a batch of 2B: first the B of space, then the B of coefficients.
    """

    def __call__(self, task: Denoising) -> Tensor:
        f = task.process.spectrum.transform
        in_space = task.noised()
        in_coefficients = task.noised(f.inverse(task.draw()))
        output = task.predict(torch.cat([in_space.x_t, in_coefficients.x_t]), task.t.repeat(2))
        output_x, output_f = output.chunk(2)
        loss_x = (in_space.target - output_x).square().mean()
        loss_f = (f.forward(in_coefficients.target) - f.forward(output_f)).square().mean()
        return 0.5 * (loss_x + loss_f)
