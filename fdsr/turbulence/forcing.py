"""A force that is white in time and acts on a ring of wavenumbers."""

from __future__ import annotations

import torch
from torch import Tensor

from fdsr.errors import FdsrError
from fdsr.turbulence.plane import SpectralPlane


class RingForcing:
    """Independent complex Gaussian increments of the coefficients with |k − k_f| ≤ width.

    Being white in time, the force adds to ½⟨q²⟩ at the mean rate ε whatever the flow does (Novikov 1965): all modes of the
    ring share it evenly.

    Args:
        plane: where the coefficients live.
        wavenumber, width: k_f and the ring's half width.
        rate: ε, half the variance of q per unit of time.

    Raises FdsrError if the ring holds no mode, or one that is not kept.
    """

    def __init__(self, plane: SpectralPlane, wavenumber: float, width: float = 1.0, rate: float = 1.0) -> None:
        self.plane, self.rate = plane, rate
        k, kx, ky = plane.k, plane.kx.expand_as(plane.k), plane.ky.expand_as(plane.k)
        ring = (k > 0) & ((k - wavenumber).abs() <= width + 1e-6)
        if not ring.any() or wavenumber + width > plane.largest:
            raise FdsrError(
                f"a force at wavenumbers {wavenumber:g} ± {width:g} acts on none of a plane of {plane.n} points, or on some it "
                f"has not; choose between 1 and {plane.largest - 1}"
            )
        own = (ring & ((kx > 0) | (ky > 0))).nonzero()  # one of each pair k, −k
        self.rows, self.columns = own[:, 0], own[:, 1]
        self.paired = self.columns == 0  # where the other of the pair is in the half plane too
        # ½⟨q²⟩ = Σ |c_k|² over one of each pair
        self.amplitude = (rate / len(own)) ** 0.5

    def increment(self, members: int, dt: float, generator: torch.Generator) -> Tensor:
        """Coefficients (members, n, n/2 + 1) to add after a step of length dt."""
        plane = self.plane
        out = torch.zeros(members, plane.n, plane.n // 2 + 1, dtype=torch.complex64, device=plane.device)
        out = out.to(torch.complex128) if plane.dtype == torch.float64 else out
        noise = torch.randn(members, len(self.rows), dtype=out.dtype, device=plane.device, generator=generator)
        noise = noise * (self.amplitude * dt**0.5)
        out[:, self.rows, self.columns] = noise
        out[:, -self.rows[self.paired], 0] = noise[:, self.paired].conj()
        return out
