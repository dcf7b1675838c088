"""Where the steps of a sampler lie in 1..T."""

from __future__ import annotations

from collections.abc import Callable

import torch

from fdsr.diffusion.schedules import Schedule

Spacing = Callable[[int, int, Schedule | None], list[float]]


def _uniform(T: int, steps: int, schedule: Schedule | None) -> list[float]:
    """Equal steps in t."""
    return [T * (steps - i) / steps for i in range(steps)]


def _quadratic(T: int, steps: int, schedule: Schedule | None) -> list[float]:
    """Equal steps in √t: finer towards the data (Song et al. 2020, DDIM, appendix D.2)."""
    return [T * ((steps - i) / steps) ** 2 for i in range(steps)]


def _log_snr(T: int, steps: int, schedule: Schedule | None) -> list[float]:
    """Equal steps in ln(ᾱ/(1 − ᾱ)) from T to 1 (Lu et al. 2022)."""
    if schedule is None:
        raise ValueError("spacing 'logsnr' needs the schedule")
    log_snr = torch.logit(schedule.alphas_cumprod[1:])
    wanted = torch.linspace(float(log_snr[-1]), float(log_snr[0]), steps, dtype=torch.float64)
    return [1.0 + int((log_snr - w).abs().argmin()) for w in wanted]


SPACINGS: dict[str, Spacing] = {"uniform": _uniform, "quadratic": _quadratic, "logsnr": _log_snr}


def timesteps(T: int, steps: int, spacing: str = "uniform", schedule: Schedule | None = None) -> list[int]:
    """The `steps` times of a sampler's calls of the denoiser: strictly decreasing from T, >= 1; the last goes to 0.

    spacing: a name in SPACINGS. schedule: needed by "logsnr" alone. Where rounding makes two times meet, they are
    moved apart. Raises ValueError for steps outside 1..T, an unknown spacing, or a schedule that is missing or not of
    length T.

    >>> timesteps(1000, 4)
    [1000, 750, 500, 250]
    """
    if not 1 <= steps <= T:
        raise ValueError(f"steps must lie in 1..T = {T}, not {steps}")
    if spacing not in SPACINGS:
        raise ValueError(f"spacing must be one of {sorted(SPACINGS)}, not {spacing!r}")
    if schedule is not None and schedule.T != T:
        raise ValueError(f"the schedule has {schedule.T} steps, not {T}")
    times = [round(t) for t in SPACINGS[spacing](T, steps, schedule)]
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
