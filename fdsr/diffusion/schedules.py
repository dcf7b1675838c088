"""Noise schedules: tables of ᾱ_t for t = 0..T, from which everything else in the process follows."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Schedule:
    """The table ᾱ_0..ᾱ_T of a discrete diffusion, ᾱ_t = ∏_{s≤t} α_s and α_t = 1 − β_t (Ho et al. 2020, eq. 4).

    alphas_cumprod: float64 (T + 1,), on the CPU; ᾱ_0 = 1 exactly, then strictly decreasing and positive.

    Raises ValueError when the table is not such a sequence.
    """

    alphas_cumprod: Tensor

    def __post_init__(self) -> None:
        a = self.alphas_cumprod
        if a.ndim != 1 or a.numel() < 2 or a.dtype != torch.float64:
            raise ValueError(
                f"alphas_cumprod must be float64 of shape (T + 1,), T >= 1, not {a.dtype} {tuple(a.shape)}"
            )
        if a[0] != 1 or not bool((a[1:] < a[:-1]).all()) or not a[-1] > 0:
            raise ValueError("alphas_cumprod must start at 1 and decrease strictly to a positive number")

    @classmethod
    def from_betas(cls, betas: Tensor) -> Schedule:
        """The schedule of given β_1..β_T (T,), each in (0, 1)."""
        b = betas.detach().to("cpu", torch.float64)
        return cls(torch.cat([torch.ones(1, dtype=torch.float64), torch.cumprod(1 - b, 0)]))

    @property
    def T(self) -> int:
        """Number of steps."""
        return self.alphas_cumprod.numel() - 1

    @property
    def alphas(self) -> Tensor:
        """α_t = ᾱ_t / ᾱ_{t−1}, float64 (T + 1,), with α_0 = 1."""
        a = self.alphas_cumprod
        return torch.cat([a[:1], a[1:] / a[:-1]])

    @property
    def betas(self) -> Tensor:
        """β_t = 1 − α_t, float64 (T + 1,), with β_0 = 0."""
        return 1 - self.alphas


def vp_schedule(T: int, beta_min: float = 0.1, beta_max: float = 20.0) -> Schedule:
    """Variance-preserving schedule, ᾱ_t = exp(−½ s² (β_max − β_min) − s β_min) at s = t/T (Song et al. 2021, eq. 33).

    ᾱ_T does not depend on T (4.3e−5 by default), so few-step and many-step runs end at the same noise.
    Raises ValueError unless T >= 1 and 0 < beta_min <= beta_max.
    """
    _check_steps(T)
    if not 0 < beta_min <= beta_max:
        raise ValueError(f"vp_schedule needs 0 < beta_min <= beta_max, not {beta_min}, {beta_max}")
    s = torch.arange(T + 1, dtype=torch.float64) / T
    return Schedule(torch.exp(-0.5 * s**2 * (beta_max - beta_min) - s * beta_min))


def linear_schedule(T: int, beta_start: float = 1e-4, beta_end: float = 0.02) -> Schedule:
    """β_t linear in t from beta_start to beta_end (Ho et al. 2020, §4). The defaults are meant for T = 1000.

    They are not rescaled with T: at T = 100 the last state still holds ᾱ_T = 0.36 of the signal's variance.
    Raises ValueError unless T >= 1 and both lie in (0, 1).
    """
    _check_steps(T)
    if not (0 < beta_start < 1 and 0 < beta_end < 1):
        raise ValueError(f"linear_schedule needs beta_start and beta_end in (0, 1), not {beta_start}, {beta_end}")
    return Schedule.from_betas(torch.linspace(beta_start, beta_end, T, dtype=torch.float64))


def cosine_schedule(T: int, s: float = 0.008, max_beta: float = 0.999) -> Schedule:
    """ᾱ(u) = cos²(π/2 · (u + s)/(1 + s)) / ᾱ(0) at u = t/T, with β_t <= max_beta (Nichol & Dhariwal 2021, eq. 17).

    Raises ValueError unless T >= 1, s >= 0 and max_beta in (0, 1).
    """
    _check_steps(T)
    if s < 0 or not 0 < max_beta < 1:
        raise ValueError(f"cosine_schedule needs s >= 0 and max_beta in (0, 1), not {s}, {max_beta}")
    u = torch.arange(T + 1, dtype=torch.float64) / T
    level = torch.cos((u + s) / (1 + s) * math.pi / 2) ** 2
    return Schedule.from_betas((1 - level[1:] / level[:-1]).clamp(max=max_beta))


def _check_steps(T: int) -> None:
    if T < 1:
        raise ValueError(f"a schedule needs T >= 1 steps, not {T}")


SCHEDULES: dict[str, Callable[..., Schedule]] = {
    "vp": vp_schedule,
    "linear": linear_schedule,
    "cosine": cosine_schedule,
}
