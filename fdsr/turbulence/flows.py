"""The family of flows: an active scalar and how the velocity follows from it.

q = −(−Δ)^{α/2} ψ on a doubly periodic plane, ∂q/∂t + u·∇q = forcing − damping, u = (−∂ψ/∂y, ∂ψ/∂x) (Pierrehumbert, Held &
Swanson 1994, eq. 1). α = 2 is the two-dimensional Euler equation, α = 1 the surface quasi-geostrophic one (Held, Pierrehumbert,
Garner & Swanson 1995).
"""

from __future__ import annotations

from dataclasses import dataclass

from fdsr.errors import choose


@dataclass(frozen=True)
class Flow:
    """One member of the family.

    In the forward cascade of the variance of q at a rate ε an eddy of wavenumber k has q_k² s_k = ε with the strain rate
    s_k = k^{2−α} q_k, hence the `spectral_slope` of q's spectrum and the rate at which eddies turn over.
    """

    name: str
    alpha: float
    scalar: str  # what q is called in a store
    scalar_name: str
    title: str

    @property
    def spectral_slope(self) -> float:
        """Slope of the spectrum of q in the forward cascade: −5/3 for α = 1; −1 for α = 2, where the energy's is −3."""
        return -(7 - 2 * self.alpha) / 3

    def strain_rate(self, k: float, rate: float = 1.0) -> float:
        """s_k = ε^{1/3} k^{2(2−α)/3}, the rate at which eddies of wavenumber `k` turn over."""
        return float(rate ** (1 / 3) * k ** (2 * (2 - self.alpha) / 3))


FLOWS = {
    flow.name: flow
    for flow in (
        Flow("sqg", 1.0, "buoyancy", "surface buoyancy", "surface quasi-geostrophic turbulence"),
        Flow("euler", 2.0, "vorticity", "vorticity", "two-dimensional turbulence"),
    )
}


def find_flow(name: str) -> Flow:
    """The flow called `name`. Raises FdsrError naming those there are."""
    return choose(FLOWS, name, "flow")
