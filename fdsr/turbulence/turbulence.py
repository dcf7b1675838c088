"""Forced and dissipated turbulence: tendency, damping, and steps that keep to a Courant number."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from fdsr.errors import FdsrError
from fdsr.turbulence.flows import Flow
from fdsr.turbulence.forcing import RingForcing
from fdsr.turbulence.plane import SpectralPlane


def rk4_step(q: Tensor, dt: float, tendency: Callable[[Tensor], Tensor], half_decay: Tensor) -> Tensor:
    """q after a Runge–Kutta step of fourth order of dq/dt = N(q) − D q, with `half_decay` = exp(−D dt/2).

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


@dataclass(frozen=True)
class Damping:
    """D(k) = ν k^{2p} + μ k^{−2}: hyperviscosity at the small scales, hypofriction at the large ones.

    viscosity: ν in units of s(k_max) / k_max^{2p}, the rate at which eddies of the largest wavenumber turn over
    order: p
    friction: μ in units of s(k_f) k_f², k_f the wavenumber of the force
    """

    viscosity: float = 1.0
    order: int = 4
    friction: float = 0.2

    def __post_init__(self) -> None:
        if self.order < 1 or not (self.viscosity >= 0 and self.friction >= 0):
            raise FdsrError(
                f"damping: order {self.order}, viscosity {self.viscosity}, friction {self.friction}; "
                "the order must be at least 1, the others not negative"
            )

    def rates(self, plane: SpectralPlane, flow: Flow, wavenumber: float, rate: float) -> Tensor:
        """D of every coefficient (n, n/2 + 1); 0 of the mean."""
        k = plane.k.double().clamp(min=1.0)
        top = float(plane.largest)
        viscous = self.viscosity * flow.strain_rate(top, rate) * (k / top) ** (2 * self.order)
        slow = self.friction * flow.strain_rate(wavenumber, rate) * (wavenumber / k) ** 2
        return torch.where(plane.k > 0, viscous + slow, 0.0)


class Turbulence:
    """Runs (B, n, n/2 + 1) of one flow on a doubly periodic plane, each driven by its own force.

    Units are set by the side of the plane, 2π, and by the rate ε at which the force feeds half the variance of q, ½⟨q²⟩.

    Args:
        flow: α-turbulence, see `FLOWS`.
        plane: where it runs.
        damping: see `Damping`.
        wavenumber, rate: of the force; a rate of 0 lets the flow decay.
    """

    COURANT = 2.0  # of k_max (|u| + |v|) dt, of which RK4 is stable up to 2√2

    def __init__(
        self,
        flow: Flow,
        plane: SpectralPlane,
        damping: Damping | None = None,
        wavenumber: float = 4.0,
        rate: float = 1.0,
    ) -> None:
        self.flow, self.plane, self.wavenumber, self.rate = flow, plane, wavenumber, rate
        self.forcing = RingForcing(plane, wavenumber, rate=rate) if rate else None
        self.damping = (damping or Damping()).rates(plane, flow, wavenumber, rate or 1.0)
        inverse = torch.where(plane.k > 0, plane.k.clamp(min=1.0) ** -flow.alpha, 0.0) * plane.kept
        # ψ, u = −∂ψ/∂y, v = ∂ψ/∂x and q itself, all from q
        self._streamfunction = -inverse
        self._fields = torch.stack([1j * plane.ky * inverse, -1j * plane.kx * inverse, plane.kept + 0j])
        self._gradient = torch.stack([(1j * plane.kx).expand_as(plane.k), (1j * plane.ky).expand_as(plane.k)])

    @property
    def turnover_time(self) -> float:
        """2π / s(k_f): about how long an eddy of the force's size takes to turn."""
        return 2 * math.pi / self.flow.strain_rate(self.wavenumber, self.rate or 1.0)

    def initial(self, members: int, generator: torch.Generator) -> Tensor:
        """Gaussian fields with about the spectrum of the cascade down from the force's wavenumber, so that spin-up is short."""
        plane = self.plane
        white = torch.randn(members, plane.n, plane.n, dtype=plane.dtype, device=plane.device, generator=generator)
        k = plane.k.clamp(min=1.0)
        shape = torch.where(k < self.wavenumber, k / self.wavenumber, (k / self.wavenumber) ** self.flow.spectral_slope)
        q = plane.analyse(white) * (shape / k).sqrt() * (plane.k > 0)
        scale = self.flow.strain_rate(self.wavenumber, self.rate or 1.0) * self.wavenumber ** (self.flow.alpha - 2)
        return q * (scale / plane.mean_product(q, q).sqrt())[:, None, None]

    def tendency(self, q: Tensor) -> Tensor:
        """−∇·(u q), whose exact form conserves the means of q², and of q ψ, that is of the energy (n, n/2 + 1 kept)."""
        plane = self.plane
        grid = plane.synthesise(q[..., None, :, :] * self._fields, plane.fine)
        fluxes = plane.analyse(grid[..., :2, :, :] * grid[..., 2:, :, :])
        return -(fluxes * self._gradient).sum(-3)

    def streamfunction(self, q: Tensor) -> Tensor:
        """Coefficients of ψ."""
        return q * self._streamfunction

    def fields(self, q: Tensor) -> Tensor:
        """q, u, v and ψ on the plane's points: (B, 4, n, n); row j is y = 2πj/n."""
        u, v, scalar = (q[..., None, :, :] * self._fields).unbind(-3)
        return self.plane.synthesise(torch.stack([scalar, u, v, self.streamfunction(q)], dim=-3))

    def speed(self, q: Tensor) -> float:
        """The largest |u| + |v| of all runs."""
        wind = self.plane.synthesise(q[..., None, :, :] * self._fields[:2])
        return float(wind.abs().sum(-3).amax())

    def step(self, q: Tensor, dt: float, generator: torch.Generator | None = None) -> Tensor:
        """q after a step of length dt; forced if there is a force."""
        q = rk4_step(q, dt, self.tendency, torch.exp(-self.damping * (dt / 2)).to(self.plane.dtype))
        if self.forcing is not None and generator is not None:
            q = q + self.forcing.increment(q.shape[0], dt, generator)
        return q

    def advance(self, q: Tensor, duration: float, generator: torch.Generator | None = None) -> Tensor:
        """q after `duration`, in steps that keep k_max (|u| + |v|) dt below `COURANT` and dt below 1/20 turnover time.

        The step is the same for all runs, and chosen anew each time. Raises FdsrError if the flow is not finite.
        """
        left = duration
        while left > 0:
            speed = self.speed(q)
            if not math.isfinite(speed):
                raise FdsrError("the flow is not finite any more: give it more friction or viscosity")
            rate = max(self.plane.largest * speed / self.COURANT, 20 / self.turnover_time)
            steps = math.ceil(left * rate)
            q = self.step(q, left / steps, generator)
            left = left * (steps - 1) / steps
        return q
