"""Power on a grid of wavenumbers: carried to other grids and transforms, and gathered in wavenumber bins."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from fdsr.diffusion.axes import AxisTransform, CosineAxis
from fdsr.diffusion.transforms import Transform


def normalise_power(power: Tensor, floor: float) -> Tensor:
    """Power (C, Ky, Kx) floored at `floor` times its mean and scaled to mean 1, channel by channel, float64.

    Raises ValueError unless power has that shape and is finite and non-negative, each channel has some, and 0 < floor
    <= 1.
    """
    p = power.detach().double()
    if p.ndim != 3 or p.numel() == 0:
        raise ValueError(f"power must have shape (C, Ky, Kx), not {tuple(power.shape)}")
    if not bool(torch.isfinite(p).all()) or bool((p < 0).any()) or bool((p.amax((1, 2)) <= 0).any()):
        raise ValueError("power must be finite and non-negative, with some power in every channel")
    if not 0 < floor <= 1:
        raise ValueError(f"floor must lie in (0, 1], not {floor}")
    p = torch.maximum(p, floor * p.mean((1, 2), keepdim=True))
    return p / p.mean((1, 2), keepdim=True)


def interpolate_power(power: Tensor, transform: Transform, shape: tuple[int, int]) -> Tensor:
    """Power at each coefficient of `transform` on an (H, W) field: (C, Ky, Kx) → (C, H, W), both positive.

    Stored point (i, j) is at (i/(2 Ky), j/(2 Kx)) cycles per point, where a DCT-II of Ky × Kx points has its
    coefficients. Bilinear in the logarithm of power over (k_y, k_x), constant beyond the last stored wavenumber. A basis
    without definite wavenumbers (Haar) gets the power of its vectors: that of the waves they are made of, in their shares.
    """
    (ky, from_y), (kx, from_x) = (
        _waves(axis, n) for axis, n in zip((transform.lat_axis, transform.lon_axis), shape, strict=True)
    )
    log_power = power.log()
    log_power = _interpolate(log_power.mT, ky).mT
    out = _interpolate(log_power, kx).exp()
    out = out if from_y is None else from_y.to(out) @ out
    return out if from_x is None else out @ from_x.to(out).mT


def _waves(axis: AxisTransform, n: int) -> tuple[Tensor, Tensor | None]:
    """Wavenumbers at which to read power for `axis`, and the share of each in each coefficient (None: its own alone)."""
    shares = axis.spread(n)
    return (axis if shares is None else CosineAxis()).wavenumbers(n), shares


def _interpolate(values: Tensor, k: Tensor) -> Tensor:
    """Linear interpolation along the last axis (..., K), stored at k_j = j/(2K), at k (n,): (..., n)."""
    stored = values.shape[-1]
    position = (k.to(values) * 2 * stored).clamp(max=stored - 1)
    below = position.floor().long()
    above = (below + 1).clamp(max=stored - 1)
    return torch.lerp(values[..., below], values[..., above], position - below)


@lru_cache(maxsize=32)
def bin_average(transform: Transform, shape: tuple[int, int], bins: int, device: torch.device) -> Tensor:
    """Matrix (H·W, b) float32 whose product with flattened squared coefficients is mean power in each wavenumber bin.

    `bins` bins of equal width in isotropic wavenumber from 0 to the largest one; bins without a coefficient are left
    out, so b <= bins.
    """
    with torch.inference_mode(False):
        k = transform.wavenumber(shape).flatten()
        index = (k / k.max().clamp(min=1e-12) * bins).long().clamp(max=bins - 1)
        member = torch.nn.functional.one_hot(index, bins).double()
        count = member.sum(0)
        return (member / count.clamp(min=1))[:, count > 0].to(device, torch.float32)
