"""Where the steps of a sampler lie in 1..T."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch

from fdsr.diffusion.schedules import Schedule

Spacing = Callable[[Schedule, int], list[float]]
SpacingName = Literal["uniform", "quadratic", "logsnr"]


def _uniform(schedule: Schedule, steps: int) -> list[float]:
    """Equal steps in t."""
    return [schedule.T * (steps - i) / steps for i in range(steps)]


def _quadratic(schedule: Schedule, steps: int) -> list[float]:
    """Equal steps in √t: finer towards the data (Song et al. 2020, DDIM, appendix D.2)."""
    return [schedule.T * ((steps - i) / steps) ** 2 for i in range(steps)]


def _log_snr(schedule: Schedule, steps: int) -> list[float]:
    """Equal steps in ln(ᾱ/(1 − ᾱ)) from T to 1 (Lu et al. 2022)."""
    log_snr = torch.logit(schedule.alphas_cumprod[1:])
    wanted = torch.linspace(float(log_snr[-1]), float(log_snr[0]), steps, dtype=torch.float64)
    return [1.0 + int((log_snr - w).abs().argmin()) for w in wanted]


SPACINGS: dict[str, Spacing] = {"uniform": _uniform, "quadratic": _quadratic, "logsnr": _log_snr}


def timesteps(schedule: Schedule, steps: int, spacing: str = "logsnr") -> list[int]:
    """The `steps` times of a sampler's calls of the denoiser: strictly decreasing from T, >= 1; the last goes to 0.

    spacing: a name in SPACINGS. Where rounding makes two times meet, they are moved apart. Raises ValueError for steps
    outside 1..T or an unknown spacing.

    >>> from fdsr.diffusion import vp_schedule
    >>> timesteps(vp_schedule(1000), 4)
    [1000, 604, 75, 1]
    >>> timesteps(vp_schedule(1000), 4, "uniform")
    [1000, 750, 500, 250]
    """
    T = schedule.T
    if not 1 <= steps <= T:
        raise ValueError(f"steps must lie in 1..T = {T}, not {steps}")
    if spacing not in SPACINGS:
        raise ValueError(f"spacing must be one of {', '.join(SPACINGS)}, not {spacing!r}")
    times = [round(t) for t in SPACINGS[spacing](schedule, steps)]
    floor = 1
    for i in reversed(range(steps)):
        times[i] = floor = max(times[i], floor)
        floor += 1
    ceiling = T
    times[0] = T
    for i in range(steps):
        times[i] = ceiling = min(times[i], ceiling)
        ceiling -= 1
    return times
