"""One step of the integrating-factor Runge–Kutta method of fourth order."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor


def rk4_step(q: Tensor, dt: float, tendency: Callable[[Tensor], Tensor], half_decay: Tensor) -> Tensor:
    """q after a step of dq/dt = N(q) − D q, with `half_decay` = exp(−D dt/2).

    Classical RK4 of the variable e^{Dt} q, so that the linear damping is exact and sets no limit to the step (Canuto,
    Hussaini, Quarteroni & Zang 2006, appendix D).
    """
    full = half_decay * half_decay
    damped = half_decay * q
    k1 = tendency(q)
    k2 = tendency(damped + (dt / 2) * half_decay * k1)
    k3 = tendency(damped + (dt / 2) * k2)
    k4 = tendency(full * q + dt * half_decay * k3)
    return full * (q + (dt / 6) * k1) + (dt / 3) * half_decay * (k2 + k3) + (dt / 6) * k4
