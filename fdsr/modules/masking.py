"""Points without a truth: they count in no loss, and are 0 in every x_0 that a network sees.

`present` (B, C, H, W) is true where a batch has a value; None stands for everywhere.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fdsr.diffusion import GaussianDiffusion
from fdsr.diffusion.losses import Predictor
from fdsr.diffusion.parametrisation import Parametrisation


def neutral(x_0: Tensor, present: Tensor | None) -> Tensor:
    """x_0 with 0 in its gaps; no gradient flows from there."""
    return x_0 if present is None else torch.where(present, x_0, 0.0)


def mean_present(values: Tensor, present: Tensor | None) -> Tensor:
    """Mean of `values` (B, C, H, W) over the points present; 0 where there are none."""
    return values.mean() if present is None else neutral(values, present).sum() / present.sum().clamp(min=1)


def points_over_present(present: Tensor | None) -> Tensor | float:
    """All points over those present: what turns a mean over all, with no error in the gaps, into one over the present."""
    return 1.0 if present is None else present.numel() / present.sum().clamp(min=1)


def neutral_output(
    predict: Predictor, present: Tensor | None, process: GaussianDiffusion, parametrisation: Parametrisation
) -> Predictor:
    """`predict`, whose output in the gaps is replaced by the one that says x̂_0 = 0.

    There x_0 is 0 as well: a loss sees no error in the gaps, whatever its norm and parametrisation, and the network gets no
    gradient from them. Batches of several noisy copies are understood as in DDPMModule.predictor.
    """
    if present is None:
        return predict

    def held(x_t: Tensor, t: Tensor) -> Tensor:
        known = present.repeat(x_t.shape[0] // present.shape[0], 1, 1, 1)
        zero = torch.zeros_like(x_t)
        noise = process.eps_from_x_0(x_t, t, zero)
        output = predict(x_t, t)
        return torch.where(known, output, parametrisation.target(process, zero, noise, t).to(output.dtype))

    return held
